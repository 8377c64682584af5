import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { normaliseField } from '../http/vary.ts'
import type { RoutePolicy } from './policy.ts'

/** What names one stored answer of a route. */
export interface Key {
  /** the Redis key */
  readonly name: string
  /** everything the answer may depend on; stored with it and compared when it is read */
  readonly text: string
  /** path and query as the handler shall see them */
  readonly url: string
}

/** URLs are remembered up to this length: one-off floods of long ones shall not fill the memory. */
const longestRemembered = 512

/**
 * Names the answers of one route: by build, path, query, the fields it varies on, and partition.
 *
 * Length-prefixed parts cannot run into each other; 128 bits of SHA-256 name them in Redis.
 */
export class KeyMaker {
  readonly #policy: Pick<RoutePolicy, 'build' | 'query' | 'ttlMs' | 'vary'>
  readonly #spell: (hash: string) => string
  readonly #urls = new LRUCache<string, string>({ max: 1000 })
  readonly #keys = new LRUCache<string, Key>({ max: 1000 })

  /** @param spell from a hash to its Redis key */
  constructor (policy: Pick<RoutePolicy, 'build' | 'query' | 'ttlMs' | 'vary'>, spell: (hash: string) => string) {
    this.#policy = policy
    this.#spell = spell
  }

  /**
   * @param rawUrl path and query as they came
   * @param fields the request's, for those that the route varies on
   * @param origin scheme and host, where they split the key
   * @param partition whose answer it is, where that splits the key
   */
  make (rawUrl: string, fields: Readonly<Record<string, string | string[] | undefined>>, origin: string, partition: string): Key {
    const url = this.#normalised(rawUrl)
    let text = part(this.#policy.build) + part(origin) + part(partition) + part(url)
    for (const name of this.#policy.vary) text += varied(name, fields[name])
    return this.#named(text, url)
  }

  /** Names an answer beside others of one key. */
  under (key: Key, parts: readonly string[]): Key {
    return this.#named(key.text + parts.map(part).join(''), key.url)
  }

  #named (text: string, url: string): Key {
    const before = this.#keys.get(text)
    if (before !== undefined) return before
    const key = { name: this.#spell(hash('sha256', text, 'hex').slice(0, 32)), text, url }
    if (text.length <= longestRemembered) this.#keys.set(text, key)
    return key
  }

  #normalised (rawUrl: string): string {
    if (!rawUrl.includes('?')) return rawUrl
    // A route that proxies hands the URL on: its origin may tell orders apart.
    if (this.#policy.ttlMs === undefined && this.#policy.query === undefined) return rawUrl
    const before = this.#urls.get(rawUrl)
    if (before !== undefined) return before
    const url = normaliseUrl(rawUrl, this.#policy.query)
    if (rawUrl.length <= longestRemembered) this.#urls.set(rawUrl, url)
    return url
  }
}

function part (text: string): string {
  return `${text.length}:${text}`
}

/** An absent field is not an empty one. */
function varied (name: string, value: string | string[] | undefined): string {
  return value === undefined ? '-' : part(normaliseField(name, value))
}

/**
 * Brings a query's keys into one order and takes those away that the route does not list; the path stays as it is,
 * and so do values and the order of a key that comes twice.
 */
export function normaliseUrl (rawUrl: string, listed: ReadonlySet<string> | undefined): string {
  const start = rawUrl.indexOf('?')
  if (start < 0) return rawUrl
  const pairs = rawUrl.slice(start + 1).split('&').filter((text) => text !== '').map((text) => ({ name: nameOf(text), text }))
  // Brackets and semicolons mean something to parsers that are not the default one: then only the order that came is sure.
  if (listed === undefined && pairs.some(({ name, text }) => /[[\];]/.test(name) || text.includes(';'))) return rawUrl
  const kept = listed === undefined ? pairs : pairs.filter(({ name }) => listed.has(name))
  if (kept.length === 0) return rawUrl.slice(0, start)
  kept.sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  return rawUrl.slice(0, start + 1) + kept.map(({ text }) => text).join('&')
}

function nameOf (pair: string): string {
  const end = pair.indexOf('=')
  const name = (end < 0 ? pair : pair.slice(0, end)).replaceAll('+', ' ')
  if (!name.includes('%')) return name
  try {
    return decodeURIComponent(name)
  } catch {
    return name // what cannot be decoded, parsers leave as it is
  }
}
