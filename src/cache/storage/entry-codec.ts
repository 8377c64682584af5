import { isUtf8 } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { TwoGenerationLru } from '../../shared/lru.ts'

/** Codings that a stored body may have; a position is the number that is stored. */
export const codings = ['identity', 'gzip', 'br'] as const

/** A content coding of stored bodies. */
export type Coding = typeof codings[number]

/** How long an answer may be used. */
export interface Lifetime {
  /** milliseconds since 1970: when the answer was made, its own `Age` taken off */
  readonly bornAt: number
  /** how long it is fresh, from then on */
  readonly freshMs: number
  /** seconds after that in which it may be served while it is made anew (RFC 5861) */
  readonly staleWhileSeconds: number
  /** seconds after that in which it may stand in for an error (RFC 5861) */
  readonly staleErrorSeconds: number
  /** never served stale, whoever asks for it (RFC 9111 section 4.2.4) */
  readonly mustRevalidate: boolean
}

/** What is kept of an answer beside its body. */
export interface Head extends Lifetime {
  readonly status: number
  /** the purge sequence that the fill read before the handler ran: older than a marker of one of `tags`, it is gone */
  readonly sequence: number
  /** the whole key: two texts may have one hash, and only one of them may be answered with this */
  readonly key: string
  readonly tags: readonly string[]
  readonly coding: Coding
  /** names in lower case, each once; several values of one are joined, except those of `set-cookie`, which stands as often as it came */
  readonly fields: readonly (readonly [name: string, value: string])[]
}

/** One stored answer. */
export interface Entry extends Head {
  readonly body: Buffer
}

// Layout, little-endian: version u8, flags u8 (2 bits of coding, 1 for mustRevalidate), status u16, bytes of text u32, bytes of body u32,
// stale while u32, sequence f64, born at f64, fresh for ms f64, stale if error u32, CRC-32 of the head u32, text, body.
// The text is lines: key, count of tags, tags, then names and values in turn; none of them can hold a line break.
const version = 1
const fixedBytes = 48
const checksumAt = 44
const mustRevalidateFlag = 4

/** Packs an answer into one string of bytes. */
export function encodeEntry (head: Head, body: Buffer): Buffer {
  const lines = [head.key, String(head.tags.length), ...head.tags.map((tag) => encodeURIComponent(tag.toWellFormed())), ...head.fields.flat()]
  const text = Buffer.from(lines.join('\n'), 'latin1')
  const packed = Buffer.allocUnsafe(fixedBytes + text.length + body.length)
  packed[0] = version
  packed[1] = codings.indexOf(head.coding) + (head.mustRevalidate ? mustRevalidateFlag : 0)
  packed.writeUInt16LE(head.status, 2)
  packed.writeUInt32LE(text.length, 4)
  packed.writeUInt32LE(body.length, 8)
  packed.writeUInt32LE(head.staleWhileSeconds, 12)
  packed.writeDoubleLE(head.sequence, 16)
  packed.writeDoubleLE(head.bornAt, 24)
  packed.writeDoubleLE(head.freshMs, 32)
  packed.writeUInt32LE(head.staleErrorSeconds, 40)
  text.copy(packed, fixedBytes)
  body.copy(packed, fixedBytes + text.length)
  packed.writeUInt32LE(checksumOf(packed, fixedBytes + text.length), checksumAt)
  return packed
}

/** Where the bytes stand that tell one fill of a key from the next: its sequence, and when the answer was made. */
export const identityAt = { first: 16, last: 31 } as const

/** Those bytes of a packed answer. */
export function identityOf ({ sequence, bornAt }: Pick<Head, 'bornAt' | 'sequence'>): Buffer {
  const bytes = Buffer.allocUnsafe(16)
  bytes.writeDoubleLE(sequence, 0)
  bytes.writeDoubleLE(bornAt, 8)
  return bytes
}

function checksumOf (packed: Buffer, textEnd: number): number {
  return crc32(packed.subarray(fixedBytes, textEnd), crc32(packed.subarray(0, checksumAt)))
}

/** Heads that were read before, by their bytes: a hot entry's head is checked and taken apart once. */
const decodedHeads = new TwoGenerationLru<string, Head>(1000)

/** Up to this length an entry is remembered whole. */
const mostWhole = 4096
/** Small entries that were read before, by their keys: as long as Redis says the same bytes, they are taken apart once. */
const decodedEntries = new TwoGenerationLru<string, { readonly packed: Buffer, readonly entry: Entry }>(1000)
/** Of their bodies, those that text says too. */
const bodyStrings = new WeakMap<Buffer, string>()

/** The text that says the same bytes as a body, where it was read before. */
export function textOf (body: Buffer): string | undefined {
  return bodyStrings.get(body)
}

/**
 * Unpacks what was stored under a key.
 *
 * @returns undefined for what is not an entry of this key: another version, cut short, changed in its head, or another key with the same hash
 */
export function decodeEntry (packed: Buffer, key: string): Entry | undefined {
  if (packed.length > mostWhole) return decode(packed, key)
  const whole = decodedEntries.get(key)
  return whole !== undefined && whole.packed.equals(packed) ? whole.entry : decodeWhole(packed, key)
}

/** What came is a part of all that was read from the socket at once: kept is a copy. */
function decodeWhole (packed: Buffer, key: string): Entry | undefined {
  const copy = Buffer.from(packed)
  const entry = decode(copy, key)
  if (entry === undefined) return undefined
  decodedEntries.set(key, { packed: copy, entry })
  if (entry.coding === 'identity' && isUtf8(entry.body)) bodyStrings.set(entry.body, entry.body.toString())
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
  const head = {
    status: packed.readUInt16LE(2),
    sequence: packed.readDoubleLE(16),
    bornAt: packed.readDoubleLE(24),
    freshMs: packed.readDoubleLE(32),
    staleWhileSeconds: packed.readUInt32LE(12),
    staleErrorSeconds: packed.readUInt32LE(40),
    mustRevalidate: (flags & mustRevalidateFlag) !== 0,
    coding,
    key: lines[0] ?? '',
    tags: lines.slice(2, fieldsAt).map(decodeURIComponent),
    fields: pairs(lines, fieldsAt)
  }
  decodedHeads.set(bytes, head)
  return head
}

function pairs (lines: readonly string[], start: number): [string, string][] {
  const fields: [string, string][] = []
  for (let index = start; index < lines.length; index += 2) fields.push([lines[index] ?? '', lines[index + 1] ?? ''])
  return fields
}

/** One field of an entry, by its name in lower case. */
export function fieldOf ({ fields }: Pick<Head, 'fields'>, name: string): string | undefined {
  for (const field of fields) if (field[0] === name) return field[1]
  return undefined
}
