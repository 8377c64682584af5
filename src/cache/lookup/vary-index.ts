import { LRUCache } from 'lru-cache'
import { normaliseField, parseVary } from '../../http/vary.ts'
import { decodeEntry } from '../storage/entry-codec.ts'
import type { Entry } from '../storage/entry-codec.ts'
import type { CacheKey, CacheKeyBuilder } from './cache-key.ts'
import type { Unpacked } from './lookup.ts'
import type { CacheRequest } from '../http-message.ts'
import type { CacheStore } from '../storage/cache-store.ts'

/** So many answers of one URL are told apart; the oldest goes when there is one more. */
const mostVariants = 12

/** What stands under a URL whose answers vary: by which fields, and the Redis keys of the answers, the newest last. */
export interface VaryRecord {
  readonly vary: readonly string[]
  readonly names: readonly string[]
}

/** A branch and the bytes that it was read from. */
interface Seen {
  readonly text: string
  readonly varyRecord: VaryRecord
}

const mark = 'vary:'
const firstOfMark = mark.charCodeAt(0)
/** Characters of branches that one route remembers, and of the longest of them; what is forgotten costs a round trip. */
const mostRemembered = 2_000_000
const longestRemembered = 4096

/** Answers of one URL that are told apart by request fields which a response named (RFC 9111 section 4.1). */
export class VaryIndex {
  readonly #keys: CacheKeyBuilder
  readonly #store: CacheStore
  /** by the URL's Redis key: how its answers were told apart when it was looked at last */
  readonly #seen = new LRUCache<string, Seen>({ max: 5000, maxSize: mostRemembered, sizeCalculation: ({ text }) => text.length })

  constructor (keys: CacheKeyBuilder, store: CacheStore) {
    this.#keys = keys
    this.#store = store
  }

  /**
   * Where the answer for this request stands, if the answers of its URL are still told apart as they were last seen: to be read along with what
   * stands under the URL, which decides.
   */
  predictVariant (key: CacheKey, request: CacheRequest): string | undefined {
    const seen = this.#seen.size === 0 ? undefined : this.#seen.get(key.name)
    return seen && this.keyOf(key, seen.varyRecord.vary, request).name
  }

  /** Reads what stands under a URL: an answer, or where the one for this request stands; `onBranch` hears of the latter. */
  unpack (packed: Buffer, key: CacheKey, request: CacheRequest, onBranch: (varyRecord: VaryRecord) => void): Unpacked<Entry> {
    const varyRecord = this.#readBranch(packed, key)
    if (varyRecord === undefined) return decodeEntry(packed, key.text)
    onBranch(varyRecord)
    const variant = this.keyOf(key, varyRecord.vary, request)
    return { name: variant.name, unpack: (other) => decodeEntry(other, variant.text) }
  }

  /** Names the answer that a request selects. */
  keyOf (key: CacheKey, vary: readonly string[], { headers }: Pick<CacheRequest, 'headers'>): CacheKey {
    const selected = vary.map((name) => {
      const value = headers[name]
      return value === undefined ? `${name}-` : `${name}=${normaliseField(name, value)}`
    })
    return this.#keys.variantOf(key, selected)
  }

  /** The key that an answer asks for by its `No-Vary-Search`; see {@link CacheKeyBuilder.searched}. */
  storageKeyOf (key: CacheKey, field: Parameters<CacheKeyBuilder['searched']>[1]): CacheKey {
    return this.#keys.searched(key, field)
  }

  /** Notes under the URL that one more answer stands beside the others. */
  async add (key: CacheKey, variant: CacheKey, vary: readonly string[], before: VaryRecord | undefined, lifetimeMs: number): Promise<void> {
    const isSame = before !== undefined && before.vary.join() === vary.join()
    const others = isSame ? before.names.filter((name) => name !== variant.name) : []
    const names = [...others, variant.name].slice(-mostVariants)
    const dropped = (before?.names ?? []).filter((name) => name !== variant.name && !names.includes(name))
    const text = mark + JSON.stringify({ key: key.text, vary, names })
    this.#remember(key.name, Buffer.from(text).toString('latin1'), { vary, names })
    await this.#store.keepPointer(key.name, text, lifetimeMs, dropped)
  }

  #readBranch (packed: Buffer, key: CacheKey): VaryRecord | undefined {
    const isBranch = packed[0] === firstOfMark && packed.toString('latin1', 0, mark.length) === mark
    const seen = this.#seen.size === 0 && !isBranch ? undefined : this.#seen.get(key.name)
    const text = isBranch ? packed.toString('latin1') : ''
    if (seen !== undefined && seen.text === text) return seen.varyRecord
    const varyRecord = isBranch ? parseVaryRecord(packed, key.text) : undefined
    if (varyRecord !== undefined) this.#remember(key.name, text, varyRecord)
    else if (seen !== undefined) this.#seen.delete(key.name)
    return varyRecord
  }

  #remember (name: string, text: string, varyRecord: VaryRecord): void {
    if (text.length <= longestRemembered) this.#seen.set(name, { text, varyRecord })
  }
}

function parseVaryRecord (packed: Buffer, key: string): VaryRecord | undefined {
  try {
    const branch = JSON.parse(packed.toString('utf8', mark.length)) as Partial<VaryRecord> & { key?: unknown }
    const isOurs = branch.key === key && Array.isArray(branch.vary) && parseVary(branch.vary.join()) !== '*' && Array.isArray(branch.names)
    return isOurs ? branch as VaryRecord : undefined
  } catch {
    return undefined // was changed by somebody
  }
}
