import { isUtf8 } from 'node:buffer'
import { LRUCache } from 'lru-cache'
import { decodeEntry, headBytes, memoizeText } from './entry-codec.ts'
import type { Entry } from './entry-codec.ts'

interface Known {
  readonly head: Buffer
  readonly entry: Entry
  readonly bytes: number
}

/** Bytes. Reading a smaller entry whole costs no more than reading its head. */
const fewestBytes = 4096
/** Bytes of all entries that a process remembers. */
const maxBytes = 16_777_216
/** Bytes of one entry. */
const maxEntryBytes = 2_097_152
/** Bytes. Smaller bodies are remembered as text as well: see `asText`. */
const maxTextBytes = 16_384

/**
 * Large entries that this process has read. A lookup of one of them reads only its head from Redis, and its body is the remembered one if the head is
 * the same: each write of an entry has a random ID in its head. Redis therefore decides at each lookup which entry is stored, as for small entries.
 */
export class KnownEntries {
  /** Created with the first large entry: it allocates all of its entries at once. */
  #known: LRUCache<string, Known> | undefined

  /** Whether a lookup of this key needs only the head. */
  has (name: string): boolean {
    return this.#known?.has(name) === true
  }

  /** The entry with this head; undefined if another one is stored now, or none. */
  find (name: string, head: Buffer): Entry | undefined {
    const known = this.#known?.get(name)
    if (known?.head.equals(head) === true) return known.entry
    this.#known?.delete(name)
    return undefined
  }

  /** Decodes a stored value, and remembers a large entry. @returns undefined if it is not an entry of this key */
  decode (packed: Buffer, name: string, text: string): Entry | undefined {
    if (packed.length <= fewestBytes || packed.length > maxEntryBytes) return decodeEntry(packed, text)
    // A copy: the value may be a slice of a larger read buffer, which it would keep alive.
    const copy = Buffer.from(packed)
    const entry = decodeEntry(copy, text)
    if (entry === undefined) return undefined
    if (entry.coding === 'identity' && entry.body.length <= maxTextBytes && isUtf8(entry.body)) memoizeText(entry.body)
    this.#known ??= new LRUCache({ max: 5000, maxSize: maxBytes, maxEntrySize: maxEntryBytes, sizeCalculation: ({ bytes }) => bytes })
    this.#known.set(name, { head: copy.subarray(0, headBytes), entry, bytes: copy.length })
    return entry
  }
}
