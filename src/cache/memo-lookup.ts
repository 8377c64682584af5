import type { Lookup, LookupResult } from './lookup/lookup.ts'
import { readMemoRecord, readValue } from './memo-record.ts'
import type { MemoKey, MemoRecord } from './memo-record.ts'
import type { CacheStore } from './storage/cache-store.ts'

/**
 * One look-up of a memoized value for all calls of one tick with the same key and tags: the same write would read the same.
 *
 * Values that cannot be changed (strings, numbers, booleans, null) are shared by the calls. Each call gets its own copy of an object or array, as if it had read it alone.
 */
export class SharedLookup {
  readonly lookup: Lookup<MemoRecord>
  /** resolves once, and never rejects */
  readonly settled: Promise<LookupResult<MemoRecord>>
  readonly #key: string
  readonly #tags: readonly string[]
  #text = ''
  #value: unknown
  #isGiven = false

  constructor (store: CacheStore, { redisKey, key }: MemoKey, tags: readonly string[]) {
    this.#key = key
    this.#tags = tags
    this.lookup = store.look(redisKey, tags, (packed) => this.#read(packed))
    this.settled = this.lookup.settled()
  }

  /** Whether another call of its tick may use it: another record may have the same hash, and other tags would not be compared. */
  isFor (key: string, tags: readonly string[]): boolean {
    return key === this.#key && hasSameItems(tags, this.#tags)
  }

  /** The value of a found record, for one call. */
  value (): unknown {
    const value = this.#value
    if (typeof value !== 'object' || value === null) return value
    if (this.#isGiven) return readValue(this.#text)
    this.#isGiven = true
    return value
  }

  #read (packed: Buffer): MemoRecord | undefined {
    this.#text = packed.toString()
    const record = readMemoRecord(this.#text, this.#key)
    this.#value = record?.value
    return record
  }
}

/** The look-ups of the current tick. */
export class SharedLookups {
  readonly #store: CacheStore
  /** a new Map each tick: one that lives long, with additions and deletions while calls wait for Redis, keeps what it held until the next major collection */
  #byKey = new Map<string, SharedLookup>()
  #tick = -1

  constructor (store: CacheStore) {
    this.#store = store
  }

  /** Reads in the current batch, or uses a look-up that does. */
  look (memoKey: MemoKey, tags: readonly string[]): SharedLookup {
    if (this.#tick !== this.#store.tick) {
      this.#tick = this.#store.tick
      this.#byKey = new Map()
    }
    const shared = this.#byKey.get(memoKey.redisKey)
    if (shared !== undefined && shared.isFor(memoKey.key, tags)) return shared
    const lookup = new SharedLookup(this.#store, memoKey, tags)
    this.#byKey.set(memoKey.redisKey, lookup)
    return lookup
  }

  /** Call once a look-up has settled: the values of its tick stay in memory until then. */
  forget (): void {
    if (this.#byKey.size > 0 && this.#tick !== this.#store.tick) this.#byKey = new Map()
  }
}

function hasSameItems (some: readonly string[], others: readonly string[]): boolean {
  return some === others || (some.length === others.length && some.every((item, index) => item === others[index]))
}
