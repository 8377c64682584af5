import { isUtf8 } from 'node:buffer'
import { LRUCache } from 'lru-cache'
import type { Entry } from '../storage/entry-codec.ts'
import { memoizeText } from '../storage/entry-codec.ts'
import { decompress } from './compression.ts'

/** A stored body and what it decompresses to. */
interface Decompressed {
  readonly coded: Buffer
  readonly plain: Buffer
}

/** Bytes of all remembered bodies, stored and decompressed. */
const maxBytes = 16_777_216
/** Bytes of one body. */
const maxBodyBytes = 2_097_152
/** Bytes. Smaller bodies are remembered as text as well: see `asText`. */
const maxTextBytes = 16_384

/** By the entry's key. The stored bytes are compared at each use: another response has been stored under the key when they differ. */
const remembered = new LRUCache<string, Decompressed>({ max: 5000, maxSize: maxBytes, sizeCalculation: ({ coded, plain }) => coded.length + plain.length })
/** Decompressions in progress, by the entry's key. */
const pending = new Map<string, { readonly coded: Buffer, readonly plain: Promise<Buffer> }>()

/** The body of an entry without its coding, if this process has decompressed it before and still remembers it. */
export function plainBodyOf ({ key, coding, body }: Entry): Buffer | undefined {
  if (coding === 'identity') return body
  const found = remembered.get(key)
  return found !== undefined && isSame(found.coded, body) ? found.plain : undefined
}

/** Decompresses the body of an entry and remembers the result. Concurrent calls for the same bytes share one decompression. Rejects for a corrupt body. */
export function decompressBody ({ key, coding, body }: Entry): Promise<Buffer> {
  if (coding === 'identity') return Promise.resolve(body)
  const other = pending.get(key)
  if (other !== undefined && isSame(other.coded, body)) return other.plain
  // A copy: the body is a slice of the socket's read buffer, which it would keep alive.
  const coded = Buffer.from(body)
  const plain = decompress(coded, coding).then((plain) => remember(key, { coded, plain }))
  const entry = { coded, plain }
  pending.set(key, entry)
  return plain.finally(() => { if (pending.get(key) === entry) pending.delete(key) })
}

function remember (key: string, decompressed: Decompressed): Buffer {
  const { coded, plain } = decompressed
  if (coded.length + plain.length > maxBodyBytes) return plain
  if (plain.length <= maxTextBytes && isUtf8(plain)) memoizeText(plain)
  remembered.set(key, decompressed)
  return plain
}

function isSame (one: Buffer, other: Buffer): boolean {
  return one === other || one.equals(other)
}
