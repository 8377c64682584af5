import { hash } from 'node:crypto'
import { normaliseField } from '../../http/vary.ts'
import { encodeText } from './encode-text.ts'
import { TwoGenerationLru } from '../../shared/lru.ts'
import type { RoutePolicy } from '../options.ts'

/** The cache key of one stored response. */
export interface CacheKey {
  /** the Redis key */
  readonly name: string
  /** all inputs of the key as text; stored with the entry and compared on read, to detect hash collisions */
  readonly text: string
  /** path and query that the handler sees */
  readonly url: string
}

/** The options of a route that affect its keys. */
type KeyPolicy = Pick<RoutePolicy, 'version' | 'constraints' | 'trackInputs' | 'query' | 'ttlMs' | 'vary'>

/** Longest URL, in characters, that is memoized: a flood of long unique URLs must not fill the memory. */
export const maxMemoizedLength = 512

/** Longest URL, in characters, that is normalized. */
const maxNormalizedLength = 4096

/**
 * Builds the cache keys of one route from constraints, version, origin, partition, `vary` headers, path and query.
 *
 * Parts are length-prefixed, so that the concatenation is unambiguous. The Redis key contains 128 bits of its SHA-256.
 */
export class CacheKeyBuilder {
  readonly #policy: KeyPolicy
  /** what the texts of all keys have in common: constraints and version */
  readonly #prefix: string
  readonly #toRedisKey: (hash: string) => string
  /** whether a key depends only on URL, origin and partition */
  readonly #isPlain: boolean
  /** keys without origin and partition, by raw URL: the fast path for most requests */
  readonly #plain = new TwoGenerationLru<string, CacheKey>(1000)
  readonly #urls = new TwoGenerationLru<string, string>(1000)
  readonly #keys = new TwoGenerationLru<string, CacheKey>(1000)

  /** @param toRedisKey makes the Redis key of a hash */
  constructor (policy: KeyPolicy, toRedisKey: (hash: string) => string) {
    this.#policy = policy
    // Encoded, because an entry stores the text of its key as Latin-1 lines.
    this.#prefix = part(policy.constraints) + part(encodeText(policy.version))
    this.#toRedisKey = toRedisKey
    this.#isPlain = policy.vary.length === 0 && policy.ttlMs !== undefined
  }

  /**
   * @param rawUrl path and query as received
   * @param fields request headers, for those in `vary`
   * @param origin scheme and host; '' if not part of the key
   * @param partition user, session or value of the partition function; '' if not part of the key
   * @param isExact the URL is not normalized
   */
  make (rawUrl: string, fields: Readonly<Record<string, string | string[] | undefined>>, origin: string, partition: string, isExact = false): CacheKey {
    if (isExact) return this.#make(rawUrl, fields, origin, partition, true)
    if (!this.#isPlain || origin !== '' || partition !== '') return this.#make(rawUrl, fields, origin, partition)
    const known = this.#plain.get(rawUrl)
    if (known !== undefined) return known
    const url = this.#normalize(rawUrl)
    const key = this.#create(this.#textOf(url, fields, '', ''), url)
    if (rawUrl.length <= maxMemoizedLength) this.#plain.set(rawUrl, key)
    return key
  }

  #make (rawUrl: string, fields: Readonly<Record<string, string | string[] | undefined>>, origin: string, partition: string, isExact = false): CacheKey {
    const url = isExact ? rawUrl : this.#normalize(rawUrl)
    const text = `${isExact ? 'exact' : ''}${this.#textOf(url, fields, origin, partition)}`
    return this.#keys.get(text) ?? this.#remember(this.#create(text, url))
  }

  #textOf (url: string, fields: Readonly<Record<string, string | string[] | undefined>>, origin: string, partition: string): string {
    let text = this.#prefix + part(origin) + part(partition)
    for (const name of this.#policy.vary) text += varied(name, fields[name])
    return text + part(url)
  }

  /** The key of a variant (RFC 9111 section 4.1). */
  variantOf (key: CacheKey, parts: readonly string[]): CacheKey {
    const text = key.text + parts.map(part).join('')
    return this.#keys.get(text) ?? this.#remember(this.#create(text, key.url))
  }

  #create (text: string, url: string): CacheKey {
    return { name: this.#toRedisKey(hash('sha256', text, 'hex').slice(0, 32)), text, url }
  }

  #remember (key: CacheKey): CacheKey {
    if (key.text.length <= maxMemoizedLength) this.#keys.set(key.text, key)
    return key
  }

  #normalize (rawUrl: string): string {
    if (!rawUrl.includes('?')) return rawUrl
    // A proxy route forwards the URL, and its origin may depend on the order of parameters.
    if (this.#policy.ttlMs === undefined && this.#policy.query === undefined) return rawUrl
    const before = this.#urls.get(rawUrl)
    if (before !== undefined) return before
    const url = normalizeUrl(rawUrl, this.#policy.query)
    if (rawUrl.length <= maxMemoizedLength) this.#urls.set(rawUrl, url)
    return url
  }
}

function part (text: string): string {
  return `${text.length}:${text}`
}

/** An absent header is distinct from an empty one. */
function varied (name: string, value: string | string[] | undefined): string {
  return value === undefined ? '-' : part(normaliseField(name, value))
}

/**
 * Sorts query parameters by name and removes those that the route does not list. The path, the values and the order of repeated parameters
 * are unchanged. A URL longer than 4096 characters is not normalized; that only lowers the hit ratio.
 */
export function normalizeUrl (rawUrl: string, allowed: ReadonlySet<string> | undefined): string {
  const start = rawUrl.indexOf('?')
  if (start < 0) return rawUrl
  // A router may treat a semicolon as the start of the query; the question mark is then part of a value.
  if (/[;#]/.test(rawUrl.slice(0, start))) return rawUrl
  if (rawUrl.length > maxNormalizedLength) return rawUrl
  const pairs = rawUrl.slice(start + 1).split('&').filter((text) => text !== '').map((text) => ({ name: nameOf(text), text }))
  // Custom query parsers give brackets and semicolons a meaning, so reordering could change the result.
  if (allowed === undefined && pairs.some(({ name, text }) => /[[\];]/.test(name) || text.includes(';'))) return rawUrl
  const selected = allowed === undefined ? pairs : pairs.filter(({ name }) => allowed.has(name))
  if (selected.length === 0) return rawUrl.slice(0, start)
  selected.sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  return rawUrl.slice(0, start + 1) + selected.map(({ text }) => text).join('&')
}

function nameOf (pair: string): string {
  const end = pair.indexOf('=')
  const name = (end < 0 ? pair : pair.slice(0, end)).replaceAll('+', ' ')
  if (!name.includes('%')) return name
  try {
    return decodeURIComponent(name)
  } catch {
    return name // query parsers leave an invalid escape as it is
  }
}
