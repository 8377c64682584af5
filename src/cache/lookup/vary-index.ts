import { LRUCache } from 'lru-cache'
import { normaliseField, parseVary } from '../../http/vary.ts'
import type { Entry } from '../storage/entry-codec.ts'
import type { CacheKey, CacheKeyBuilder } from './cache-key.ts'
import type { Unpacked } from './lookup.ts'
import type { RequestHeaders } from '../http-message.ts'
import type { CacheStore } from '../storage/cache-store.ts'

/** Maximum number of variants of one URL; the oldest is dropped when another is added. */
const maxVariants = 12

/** Stored under a URL whose responses vary: the header names, and the Redis keys of the variants, newest last. */
export interface VaryRecord {
  readonly vary: readonly string[]
  readonly names: readonly string[]
}

/** A Vary record and its stored form. */
interface Seen {
  readonly text: string
  readonly varyRecord: VaryRecord
}

const mark = 'vary:'
const firstOfMark = mark.charCodeAt(0)
/** Total characters of the Vary records that one route memoizes, and of the longest one. A forgotten record costs a round trip. */
const maxMemoizedSize = 2_000_000
const maxMemoizedLength = 4096

/** Selects among the variants of a URL by the request headers that `Vary` names (RFC 9111 section 4.1). */
export class VaryIndex {
  readonly #keys: CacheKeyBuilder
  readonly #store: CacheStore
  /** last seen Vary records, by the URL's Redis key; created by the first of them: it allocates for all at once, and most routes have none */
  #seen: LRUCache<string, Seen> | undefined

  constructor (keys: CacheKeyBuilder, store: CacheStore) {
    this.#keys = keys
    this.#store = store
  }

  /**
   * Redis key of the variant for this request, predicted from the last seen Vary record. It is read in the same round trip as the URL's own key,
   * whose current record decides whether the prediction is used.
   */
  predictVariant (key: CacheKey, fields: RequestHeaders): string | undefined {
    const seen = this.#seen?.get(key.name)
    return seen && this.keyOf(key, seen.varyRecord.vary, fields).name
  }

  /** Decodes the value stored under a URL: an entry, or a Vary record, which is noted in `state`. */
  unpack (packed: Buffer, key: CacheKey, fields: RequestHeaders, state?: { varyRecord: VaryRecord | undefined }): Unpacked<Entry> {
    const varyRecord = this.#readVaryRecord(packed, key)
    if (varyRecord === undefined) return this.#store.knownEntries.decode(packed, key.name, key.text)
    if (state !== undefined) state.varyRecord = varyRecord
    const variant = this.keyOf(key, varyRecord.vary, fields)
    return { name: variant.name, unpack: (other) => this.#store.knownEntries.decode(other, variant.name, variant.text) }
  }

  /** The key of the variant that a request's headers select. */
  keyOf (key: CacheKey, vary: readonly string[], fields: RequestHeaders): CacheKey {
    const selected = vary.map((name) => {
      const value = fields[name]
      return value === undefined ? `${name}-` : `${name}=${normaliseField(name, value)}`
    })
    return this.#keys.variantOf(key, selected)
  }

  /** Writes a Vary record that includes a new variant. */
  async add (key: CacheKey, variant: CacheKey, vary: readonly string[], before: VaryRecord | undefined, lifetimeMs: number): Promise<void> {
    const isSame = before !== undefined && before.vary.join() === vary.join()
    const others = isSame ? before.names.filter((name) => name !== variant.name) : []
    const names = [...others, variant.name].slice(-maxVariants)
    const dropped = (before?.names ?? []).filter((name) => name !== variant.name && !names.includes(name))
    const text = mark + JSON.stringify({ key: key.text, vary, names })
    this.#remember(key.name, Buffer.from(text).toString('latin1'), { vary, names })
    await this.#store.storePointer(key.name, text, lifetimeMs, dropped)
  }

  #readVaryRecord (packed: Buffer, key: CacheKey): VaryRecord | undefined {
    const isVaryRecord = packed[0] === firstOfMark && packed.toString('latin1', 0, mark.length) === mark
    const seen = this.#seen?.get(key.name)
    const text = isVaryRecord ? packed.toString('latin1') : ''
    if (seen !== undefined && seen.text === text) return seen.varyRecord
    const varyRecord = isVaryRecord ? parseVaryRecord(packed, key.text) : undefined
    if (varyRecord !== undefined) this.#remember(key.name, text, varyRecord)
    else if (seen !== undefined) this.#seen?.delete(key.name)
    return varyRecord
  }

  #remember (name: string, text: string, varyRecord: VaryRecord): void {
    if (text.length > maxMemoizedLength) return
    this.#seen ??= new LRUCache({ max: 5000, maxSize: maxMemoizedSize, sizeCalculation: ({ text }) => text.length })
    this.#seen.set(name, { text, varyRecord })
  }
}

function parseVaryRecord (packed: Buffer, key: string): VaryRecord | undefined {
  try {
    const record = JSON.parse(packed.toString('utf8', mark.length)) as Partial<VaryRecord> & { key?: unknown }
    const isValid = record.key === key && Array.isArray(record.vary) && parseVary(record.vary.join()) !== '*' && Array.isArray(record.names)
    return isValid ? record as VaryRecord : undefined
  } catch {
    return undefined // not a Vary record of this package
  }
}
