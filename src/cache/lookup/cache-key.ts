import { hash } from 'node:crypto'
import { parseNoVarySearch, simplifySearch } from '../../http/no-vary-search.ts'
import type { SearchVariance } from '../../http/no-vary-search.ts'
import { normaliseField } from '../../http/vary.ts'
import { TwoGenerationLru } from '../../shared/lru.ts'
import type { RoutePolicy } from '../options.ts'

/** What names one stored answer of a route. */
export interface CacheKey {
  /** the Redis key */
  readonly name: string
  /** everything the answer may depend on; stored with it and compared when it is read */
  readonly text: string
  /** path and query as the handler shall see them */
  readonly url: string
  /** what the text begins with: everything but path and query */
  readonly prefix: string
  /** how answers of this path differ by query, where that is not by the whole of it */
  readonly search?: SearchVariance | undefined
}

/** What a key depends on beside the request. */
type KeyPolicy = Pick<RoutePolicy, 'version' | 'constraints' | 'trackInputs' | 'query' | 'ttlMs' | 'vary'>

/** URLs are remembered up to this length: one-off floods of long ones shall not fill the memory. */
const longestRemembered = 512

/** The longest URL, in characters, that is brought into one form. */
const longestNormalised = 4096

/**
 * Names the answers of one route: by constraints, build, path, query, the fields it varies on, and partition.
 *
 * Length-prefixed parts cannot run into each other; 128 bits of SHA-256 name them in Redis.
 */
export class CacheKeyBuilder {
  readonly #policy: KeyPolicy
  readonly #toRedisKey: (hash: string) => string
  /** whether URL, origin and partition are all that splits a key */
  readonly #isPlain: boolean
  /** keys without origin and partition, by the URL as it came: most are found so, and nothing is spelled */
  readonly #plain = new TwoGenerationLru<string, CacheKey>(1000)
  readonly #urls = new TwoGenerationLru<string, string>(1000)
  readonly #keys = new TwoGenerationLru<string, CacheKey>(1000)
  /** by key's head and path: how the answer that was kept last differs by query; forgotten, it costs a run of the handler */
  readonly #searches = new TwoGenerationLru<string, SearchVariance>(1000)

  /** @param spell from a hash to its Redis key */
  constructor (policy: KeyPolicy, spell: (hash: string) => string) {
    this.#policy = policy
    this.#toRedisKey = spell
    this.#isPlain = policy.vary.length === 0 && policy.ttlMs !== undefined
  }

  /**
   * @param rawUrl path and query as they came
   * @param fields the request's, for those that the route varies on
   * @param origin scheme and host, where they split the key
   * @param partition whose answer it is, where that splits the key
   */
  make (rawUrl: string, fields: Readonly<Record<string, string | string[] | undefined>>, origin: string, partition: string): CacheKey {
    if (!this.#isPlain || origin !== '' || partition !== '') return this.#make(rawUrl, fields, origin, partition)
    const known = this.#plain.get(rawUrl)
    if (known !== undefined) return known
    const key = this.#make(rawUrl, fields, origin, partition)
    if (rawUrl.length <= longestRemembered) this.#plain.set(rawUrl, key)
    return key
  }

  #make (rawUrl: string, fields: Readonly<Record<string, string | string[] | undefined>>, origin: string, partition: string): CacheKey {
    const url = this.#normalised(rawUrl)
    let head = part(this.#policy.constraints) + part(this.#policy.version) + part(origin) + part(partition)
    for (const name of this.#policy.vary) head += varied(name, fields[name])
    const search = this.#searches.size === 0 ? undefined : this.#searches.get(head + pathOf(url))
    const text = search === undefined ? head + part(url) : searchText(head, url, search)
    return this.#known(text, url) ?? this.#named(text, { url, prefix: head, search })
  }

  /** Names an answer beside others of one key. */
  variantOf (key: CacheKey, parts: readonly string[]): CacheKey {
    const text = key.text + parts.map(part).join('')
    return this.#known(text, key.url) ?? this.#named(text, key)
  }

  /**
   * Names an answer as it asks for itself (`No-Vary-Search`), and remembers that for its path.
   *
   * @returns the key itself where nothing changes, and where the route's author and not the answer says what the handler may read
   */
  searched (key: CacheKey, field: Parameters<typeof parseNoVarySearch>[0]): CacheKey {
    if (this.#policy.ttlMs !== undefined || this.#policy.trackInputs) return key
    const place = key.prefix + pathOf(key.url)
    const search = place.length > longestRemembered ? undefined : parseNoVarySearch(field)
    if (search === undefined) {
      this.#searches.delete(place)
      return key.search === undefined ? key : this.#named(key.prefix + part(key.url), { ...key, search })
    }
    this.#searches.set(place, search)
    const text = searchText(key.prefix, key.url, search)
    return text === key.text ? key : this.#named(text, { ...key, search })
  }

  /** The key with this text; one text may stand for several URLs. */
  #known (text: string, url: string): CacheKey | undefined {
    const key = this.#keys.get(text)
    return key?.url === url ? key : undefined
  }

  #named (text: string, { url, prefix, search }: Pick<CacheKey, 'url' | 'prefix' | 'search'>): CacheKey {
    const key = { name: this.#toRedisKey(hash('sha256', text, 'hex').slice(0, 32)), text, url, prefix, search }
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

function pathOf (url: string): string {
  const end = url.indexOf('?')
  return end < 0 ? url : url.slice(0, end)
}

/** The parts of a key that stands for all queries of a path that are equivalent; the mark is none that a request field can make. */
function searchText (head: string, url: string, search: SearchVariance): string {
  const mark = `?${search.by}${search.isOrdered ? '' : ',any order'}${[...search.names].sort().map((name) => part(encodeURIComponent(name))).join('')}`
  const path = pathOf(url)
  return head + part(path) + part(mark) + part(simplifySearch(url.slice(path.length), search))
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
 * and so do values and the order of a key that comes twice. A URL that is longer than any of use stays as it came: that costs a hit at most.
 */
export function normaliseUrl (rawUrl: string, listed: ReadonlySet<string> | undefined): string {
  const start = rawUrl.indexOf('?')
  if (start < 0) return rawUrl
  // To a router that may begin the query at a semicolon, the question mark is part of a value.
  if (/[;#]/.test(rawUrl.slice(0, start))) return rawUrl
  if (rawUrl.length > longestNormalised) return rawUrl
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
