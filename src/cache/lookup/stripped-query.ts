import { TwoGenerationLru } from '../../shared/lru.ts'
import { copyOf, isRecord, isSame, validate } from '../handler/validated-inputs.ts'
import type { Input } from '../handler/validated-inputs.ts'
import type { CacheRequest } from '../http-message.ts'
import { maxMemoizedLength, normalizeUrl } from './cache-key.ts'

/**
 * Finds query parameters that a route's validation removes and that do not change the rest of its result: the handler cannot see them, so they are not part
 * of the key. Without that, each `utm_source` would be a response of its own.
 */
export class StrippedQuery {
  /** URLs without such parameters, by URL as received */
  readonly #urls = new TwoGenerationLru<string, string>(1000)

  /** @returns path and query for the key */
  urlOf (request: CacheRequest, rawUrl: string, query: Input): string {
    if (!rawUrl.includes('?') || request.getValidationFunction?.('querystring') == null) return rawUrl
    const before = this.#urls.get(rawUrl)
    if (before !== undefined) return before
    const url = strip(request, rawUrl, query)
    if (rawUrl.length <= maxMemoizedLength) this.#urls.set(rawUrl, url)
    return url
  }
}

/** A validator that removes more names than this at once is not tried with each of them. */
const maxTried = 8

function strip (request: CacheRequest, rawUrl: string, query: Input): string {
  const full = validate(request, 'query', copyOf(query))
  if (full?.isValid !== true || !isRecord(full.value)) return rawUrl
  const { value } = full
  const removed = Object.keys(query).filter((name) => !(name in value))
  if (removed.length === 0) return rawUrl
  // A validator may compute its result from a parameter that it removes, as one that renames it does.
  const isFree = (names: readonly string[]) => {
    const again = validate(request, 'query', copyOf(without(query, names)))
    return again?.isValid === true && isSame(value, again.value)
  }
  const free = isFree(removed) ? removed : freeOf(removed, isFree)
  return free.length === 0 ? rawUrl : normalizeUrl(rawUrl, new Set(Object.keys(without(query, free))))
}

function freeOf (removed: readonly string[], isFree: (names: readonly string[]) => boolean): readonly string[] {
  const free: string[] = []
  if (removed.length > maxTried) return free
  for (const name of removed) if (isFree([...free, name])) free.push(name)
  return free
}

function without (query: Input, names: readonly string[]): Input {
  return Object.fromEntries(Object.entries(query).filter(([name]) => !names.includes(name)))
}
