import { isUtf8 } from 'node:buffer'
import { randomFillSync } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { TwoGenerationLru } from '../../shared/lru.ts'

/** Codings of stored bodies. The index is stored in the entry: only append. */
const codings = ['identity', 'gzip', 'br'] as const

/** Types of payload that a handler produces. The index is stored in the entry: only append. `unknown`: stored by a version that did not record it. */
const payloadTypes = ['unknown', 'text', 'bytes', 'stream', 'none', 'null'] as const

/** The type of the payload that a response was stored from. */
export type PayloadType = typeof payloadTypes[number]

/** A content coding of stored bodies. */
export type Coding = typeof codings[number]

/** How long a response may be used. */
export interface Lifetime {
  /** milliseconds since 1970: when the response was made, minus its `Age` */
  readonly bornAt: number
  /** freshness lifetime from `bornAt` */
  readonly freshMs: number
  /** stale-while-revalidate, seconds after `freshMs` (RFC 5861) */
  readonly staleWhileSeconds: number
  /** stale-if-error, seconds after `freshMs` (RFC 5861) */
  readonly staleErrorSeconds: number
  /** never served stale, even if the request permits it (RFC 9111 section 4.2.4) */
  readonly mustRevalidate: boolean
}

/** Everything of an entry except its body. */
export interface Head extends Lifetime {
  readonly status: number
  /** the purge sequence read before the handler ran; the entry is unusable if the version of one of `tags` is higher */
  readonly sequence: number
  /** the full cache key, compared at lookup because two keys may have the same hash */
  readonly key: string
  readonly tags: readonly string[]
  readonly coding: Coding
  readonly payloadType: PayloadType
  /** the entity tag was made by the cache, from the body */
  readonly hasOwnTag: boolean
  /** names in lower case, each once, with several values joined; only `set-cookie` is repeated */
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** names of headers that hooks had set before the handler, and that it removed; undefined for none */
  readonly removed?: readonly string[] | undefined
}

/** A stored response. */
export interface Entry extends Head {
  readonly body: Buffer
}

// Layout, little-endian: version u8, flags u8 (2 bits of coding, 1 for mustRevalidate, 3 of payload type, 1 for hasOwnTag, 1 for removed headers), status u16, bytes of text u32, bytes of body u32,
// stale while u32, random ID 8 bytes, sequence f64, born at f64, fresh for ms f64, stale if error u32, CRC-32 of the head u32, text, body.
// The text is lines: key, count of tags, tags, then names and values in turn, then the names of removed headers where there are some; none of them can hold
// a line break.
const version = 2
const fixedBytes = 56
const idAt = 16
const checksumAt = 52
const mustRevalidateFlag = 4
const payloadTypeShift = 3
const ownTagFlag = 64
const removedFlag = 128

/** Encodes an entry. */
export function encodeEntry (head: Head, body: Buffer): Buffer {
  const lines = [head.key, String(head.tags.length), ...head.tags.map((tag) => encodeURIComponent(tag.toWellFormed())), ...head.fields.flat()]
  if (head.removed !== undefined) lines.push(head.removed.join(','))
  const text = lines.join('\n')
  const packed = Buffer.allocUnsafe(fixedBytes + text.length + body.length)
  packed[0] = version
  packed[1] = codings.indexOf(head.coding) + (head.mustRevalidate ? mustRevalidateFlag : 0) + (payloadTypes.indexOf(head.payloadType) << payloadTypeShift) + (head.hasOwnTag ? ownTagFlag : 0) + (head.removed === undefined ? 0 : removedFlag)
  packed.writeUInt16LE(head.status, 2)
  packed.writeUInt32LE(text.length, 4)
  packed.writeUInt32LE(body.length, 8)
  packed.writeUInt32LE(head.staleWhileSeconds, 12)
  writeRandomId(packed, idAt)
  packed.writeDoubleLE(head.sequence, 24)
  packed.writeDoubleLE(head.bornAt, 32)
  packed.writeDoubleLE(head.freshMs, 40)
  packed.writeUInt32LE(head.staleErrorSeconds, 48)
  packed.write(text, fixedBytes, 'latin1')
  body.copy(packed, fixedBytes + text.length)
  packed.writeUInt32LE(checksumOf(packed, fixedBytes + text.length), checksumAt)
  return packed
}

/** Bytes from the start of an encoded entry that tell it from every other one: they include a random ID, which each {@link encodeEntry} makes. */
export const headBytes = fixedBytes

/** Random bytes for IDs: one call for many is much cheaper. */
const randomBytes = Buffer.allocUnsafe(4096)
let randomUsed = randomBytes.length

function writeRandomId (packed: Buffer, at: number): void {
  if (randomUsed === randomBytes.length) {
    randomFillSync(randomBytes)
    randomUsed = 0
  }
  randomUsed += randomBytes.copy(packed, at, randomUsed, randomUsed + 8)
}

/** Offsets of the bytes that identify one fill of a key: `sequence` and `bornAt`. */
export const identityAt = { first: 24, last: 39 } as const

/** The identity bytes of an encoded entry. */
export function identityOf ({ sequence, bornAt }: Pick<Head, 'bornAt' | 'sequence'>): Buffer {
  const bytes = Buffer.allocUnsafe(16)
  bytes.writeDoubleLE(sequence, 0)
  bytes.writeDoubleLE(bornAt, 8)
  return bytes
}

function checksumOf (packed: Buffer, textEnd: number): number {
  return crc32(packed.subarray(fixedBytes, textEnd), crc32(packed.subarray(0, checksumAt)))
}

/** Decoded heads by their bytes: the head of a hot entry is decoded once. */
const decodedHeads = new TwoGenerationLru<string, Head>(1000)

/** Bytes. Larger entries are not memoized with their body. */
const maxMemoBytes = 4096
/** Decoded small entries by key: reused while Redis returns the same bytes. */
const decodedEntries = new TwoGenerationLru<string, { readonly packed: Buffer, readonly entry: Entry }>(1000)
/** Bodies of memoized entries that are valid UTF-8, as strings. */
const bodyStrings = new WeakMap<Buffer, string>()

/** The memoized string of a body; undefined if there is none. */
export function textOf (body: Buffer): string | undefined {
  return bodyStrings.get(body)
}

/** Memoizes the string of a body that is valid UTF-8. */
export function memoizeText (body: Buffer): void {
  bodyStrings.set(body, body.toString())
}

/**
 * Decodes an entry.
 *
 * @returns undefined if the bytes are not an entry of this key: another format version, truncated, a corrupt head, or another key with the same hash
 */
export function decodeEntry (packed: Buffer, key: string): Entry | undefined {
  if (packed.length > maxMemoBytes) return decode(packed, key)
  const memo = decodedEntries.get(key)
  return memo !== undefined && memo.packed.equals(packed) ? memo.entry : decodeAndMemoize(packed, key)
}

/** Memoizes a copy: `packed` is a slice of the socket's read buffer, which it would keep alive. */
function decodeAndMemoize (packed: Buffer, key: string): Entry | undefined {
  const copy = Buffer.from(packed)
  const entry = decode(copy, key)
  if (entry === undefined) return undefined
  decodedEntries.set(key, { packed: copy, entry })
  if (entry.coding === 'identity' && isUtf8(entry.body)) memoizeText(entry.body)
  return entry
}

function decode (packed: Buffer, key: string): Entry | undefined {
  if (packed.length < fixedBytes || packed[0] !== version) return undefined
  const textEnd = fixedBytes + packed.readUInt32LE(4)
  if (textEnd + packed.readUInt32LE(8) !== packed.length) return undefined
  const bytes = packed.toString('latin1', 0, textEnd)
  const head = decodedHeads.get(bytes) ?? readHead(packed, bytes)
  return head?.key === key ? { ...head, body: packed.subarray(textEnd) } : undefined
}

function readHead (packed: Buffer, bytes: string): Head | undefined {
  if (checksumOf(packed, bytes.length) !== packed.readUInt32LE(checksumAt)) return undefined
  const lines = bytes.slice(fixedBytes).split('\n')
  const fieldsAt = 2 + Number(lines[1])
  const flags = packed.readUInt8(1)
  const coding = codings[flags & 3]
  if (coding === undefined) return undefined
  const removed = (flags & removedFlag) === 0 ? undefined : lines.pop()?.split(',')
  const head = {
    status: packed.readUInt16LE(2),
    sequence: packed.readDoubleLE(24),
    bornAt: packed.readDoubleLE(32),
    freshMs: packed.readDoubleLE(40),
    staleWhileSeconds: packed.readUInt32LE(12),
    staleErrorSeconds: packed.readUInt32LE(48),
    mustRevalidate: (flags & mustRevalidateFlag) !== 0,
    coding,
    payloadType: payloadTypes[(flags >> payloadTypeShift) & 7] ?? 'unknown',
    hasOwnTag: (flags & ownTagFlag) !== 0,
    key: lines[0] ?? '',
    tags: lines.slice(2, fieldsAt).map(decodeURIComponent),
    fields: pairs(lines, fieldsAt),
    removed
  }
  decodedHeads.set(bytes, head)
  return head
}

function pairs (lines: readonly string[], start: number): [string, string][] {
  const fields: [string, string][] = []
  for (let index = start; index < lines.length; index += 2) fields.push([lines[index] ?? '', lines[index + 1] ?? ''])
  return fields
}

/** A header of an entry. @param name in lower case */
export function fieldOf ({ fields }: Pick<Head, 'fields'>, name: string): string | undefined {
  for (const field of fields) if (field[0] === name) return field[1]
  return undefined
}
