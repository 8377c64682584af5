import { hash } from 'node:crypto'
import type { Keys } from '../redis/keys.ts'
import { TwoGenerationLru } from '../shared/lru.ts'
import { readString } from '../shared/option-readers.ts'
import { encodeText } from './lookup/encode-text.ts'
import type { StoredMeta } from './lookup/lookup.ts'
import { stableJson } from './stable-json.ts'

/** What identifies a value of `cache.wrap`. */
export interface MemoKey {
  readonly redisKey: string
  /** the parameters as JSON, compared on read */
  readonly key: string
  /** the tag that `delete` and `refresh` purge: see {@link memoKeyOf} */
  readonly fence: string
}

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

/**
 * The key of a value, and its fence: a tag that up to 1/65536 of all values share, so that fences need little memory however many values there are.
 * A fence that is purged rejects the values of runs that began before. Where its other values are being computed, they are computed again.
 */
function memoKeyOf (keys: Keys, name: string, key: string): MemoKey {
  // The lock key contains only the hash, so the hash must include the name.
  const digest = hash('sha256', wellFormed(`${name}\n${key}`), 'hex').slice(0, 32)
  // The tags of an app do not begin with "=".
  return { redisKey: keys.cacheWrap(name, digest), key, fence: `=wrap:${digest.slice(0, 4)}` }
}

/** A hash reads UTF-8, in which all lone surrogates are the same character. */
function wellFormed (text: string): string {
  return text.isWellFormed() ? text : encodeText(text)
}

const rememberedKeys = 1000
const longestRemembered = 300

/** Remembers the keys of names and parameters that were used last: their hash costs more than the rest of a hit. */
export class MemoKeys {
  readonly #keys: Keys
  readonly #known = new TwoGenerationLru<string, MemoKey>(rememberedKeys)

  constructor (keys: Keys) {
    this.#keys = keys
  }

  /**
   * The key of a value: see {@link memoKeyOf}.
   *
   * @throws {OptionError} PRISM_ERR_OPTION for a name that is empty, and for parameters that JSON cannot represent
   */
  of (name: string, params: unknown): MemoKey {
    const key = stableJson('wrap params', params)
    const text = `${readString('wrap name', name)}\n${key}`
    const known = this.#known.get(text)
    if (known !== undefined) return known
    const memoKey = memoKeyOf(this.#keys, name, key)
    if (text.length <= longestRemembered) this.#known.set(text, memoKey)
    return memoKey
  }
}

/** Packs a record. */
export function packMemoRecord (meta: Pick<MemoRecord, 'expiresAt' | 'sequence' | 'key' | 'tags'>, json: string): string {
  const { expiresAt, sequence, key, tags } = meta
  const head = JSON.stringify({ version: 1, expiresAt, sequence, key, tags })
  return `${head.slice(0, -1)},"value":${json}}`
}

/** Reads a record; undefined if it is not one of this key. */
export function readMemoRecord (text: string, key: string): MemoRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<MemoRecord> | null
    const isValid = record?.version === 1 && record.key === key && Array.isArray(record.tags) &&
      typeof record.sequence === 'number' && typeof record.expiresAt === 'number'
    return isValid ? record as MemoRecord : undefined
  } catch {
    return undefined // not JSON: not written by this package
  }
}

const recordStart = '{"version":1,"expiresAt":'
/** In a JSON text, quotes within a string are escaped: this occurs only where a member begins. */
const valueMember = ',"value":'

/** The value of a record that was read before. As {@link packMemoRecord} packs it, no object precedes the value: the first member of this name is the value, and the last of the record. */
export function readValue (text: string): unknown {
  if (!text.startsWith(recordStart)) return (JSON.parse(text) as MemoRecord).value
  return JSON.parse(text.slice(text.indexOf(valueMember) + valueMember.length, -1))
}
