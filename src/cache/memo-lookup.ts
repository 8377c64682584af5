import type { Lookup, LookupResult, StoredMeta } from './lookup/lookup.ts'
import type { CacheStore } from './storage/cache-store.ts'

/**
 * The record in Redis under `api:cache:wrap:<name>:{<hash>}`, as JSON, so that other services can read it.
 * `expiresAt` is in milliseconds since 1970, `key` holds the parameters, whose hash is in the Redis key; `sequence` and `tags` are compared with purges.
 * Variable fields come first, because store.lua detects a concurrent write by comparing the first 48 bytes; `value` comes last.
 */
export interface MemoRecord extends StoredMeta {
  readonly version: 1
  readonly expiresAt: number
  readonly key: string
  readonly value: unknown
}

const recordStart = '{"version":1,"expiresAt":'
/** In a JSON text, quotes within a string are escaped: this occurs only where a member begins. */
const valueMember = ',"value":'

/**
 * One look-up of a memoized value for all calls of one tick with the same key and tags.
 *
 * Values that cannot be changed (strings, numbers, booleans, null) are shared by the calls. Each call gets its own copy of an object or array, as if it had read it alone.
 */
export class SharedLookup {
  readonly lookup: Lookup<MemoRecord>
  /** resolves once, and never rejects */
  readonly settled: Promise<LookupResult<MemoRecord>>
  readonly #tick: number
  readonly #key: string
  readonly #tags: readonly string[]
  #text = ''
  #value: unknown
  #isGiven = false

  /** @param key the parameters, which the record must name */
  constructor (store: CacheStore, redisKey: string, key: string, tags: readonly string[]) {
    this.#tick = store.tick
    this.#key = key
    this.#tags = tags
    this.lookup = store.look(redisKey, tags, (packed) => this.#read(packed))
    this.settled = this.lookup.settled()
  }

  /** Whether a call of this tick may use it: another record may have the same hash, and other tags would not be compared. */
  isFor (tick: number, key: string, tags: readonly string[]): boolean {
    return tick === this.#tick && key === this.#key && hasSameItems(tags, this.#tags)
  }

  /** The value of a found record, for one call. */
  value (): unknown {
    const value = this.#value
    if (typeof value !== 'object' || value === null) return value
    if (!this.#isGiven) {
      this.#isGiven = true
      return value
    }
    return copyOf(this.#text)
  }

  #read (packed: Buffer): MemoRecord | undefined {
    const text = packed.toString()
    const record = readMemoRecord(text, this.#key)
    this.#text = text
    this.#value = record?.value
    return record
  }
}

function readMemoRecord (text: string, key: string): MemoRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<MemoRecord> | null
    const isValid = record?.version === 1 && record.key === key && Array.isArray(record.tags) &&
      typeof record.sequence === 'number' && typeof record.expiresAt === 'number'
    return isValid ? record as MemoRecord : undefined
  } catch {
    return undefined // not JSON: not written by this package
  }
}

/** In a record as `Memoizer` writes it, no object precedes the value: the first member of this name is the value, and the last of the record. */
function copyOf (text: string): unknown {
  if (!text.startsWith(recordStart)) return (JSON.parse(text) as MemoRecord).value
  return JSON.parse(text.slice(text.indexOf(valueMember) + valueMember.length, -1))
}

function hasSameItems (some: readonly string[], others: readonly string[]): boolean {
  return some === others || (some.length === others.length && some.every((item, index) => item === others[index]))
}
