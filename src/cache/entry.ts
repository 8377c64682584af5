/** What is kept of an answer beside its body. */
export interface Head {
  readonly status: number
  /** the purge sequence that the fill read before the handler ran: older than a marker of one of `tags`, it is gone */
  readonly sequence: number
  /** milliseconds since 1970: when the answer was made, its own `Age` taken off */
  readonly bornAt: number
  /** how long it is fresh, from then on */
  readonly freshMs: number
  /** the whole key, RFC-less but sure: a hash may collide, a text does not */
  readonly key: string
  readonly tags: readonly string[]
  /** names in lower case; a field that came twice stands twice */
  readonly fields: readonly (readonly [name: string, value: string])[]
}

/** One stored answer. */
export interface Entry extends Head {
  readonly body: Buffer
}

// Layout, little-endian: version u8, flags u8, status u16, bytes of text u32, bytes of body u32, 0 u32, sequence f64, born at f64,
// fresh for ms f64, text, body. The text is lines: key, count of tags, tags, then names and values in turn.
const version = 1
const fixedBytes = 40

/** Packs an answer into one string of bytes. */
export function packEntry (head: Head, body: Buffer): Buffer {
  const lines = [head.key, String(head.tags.length), ...head.tags.map(encodeURIComponent), ...head.fields.flat()]
  const text = Buffer.from(lines.join('\n'), 'latin1')
  const packed = Buffer.allocUnsafe(fixedBytes + text.length + body.length)
  packed[0] = version
  packed[1] = 0
  packed.writeUInt16LE(head.status, 2)
  packed.writeUInt32LE(text.length, 4)
  packed.writeUInt32LE(body.length, 8)
  packed.writeUInt32LE(0, 12)
  packed.writeDoubleLE(head.sequence, 16)
  packed.writeDoubleLE(head.bornAt, 24)
  packed.writeDoubleLE(head.freshMs, 32)
  text.copy(packed, fixedBytes)
  body.copy(packed, fixedBytes + text.length)
  return packed
}

/**
 * Unpacks what was stored under a key.
 *
 * @returns undefined for what is not an entry of this key: another version, cut short, changed, or another key with the same hash
 */
export function unpackEntry (packed: Buffer, key: string): Entry | undefined {
  if (packed.length < fixedBytes || packed[0] !== version || packed[1] !== 0) return undefined
  const textEnd = fixedBytes + packed.readUInt32LE(4)
  if (textEnd + packed.readUInt32LE(8) !== packed.length) return undefined
  const lines = packed.toString('latin1', fixedBytes, textEnd).split('\n')
  const tagCount = Number(lines[1])
  if (lines[0] !== key || !(tagCount <= lines.length - 2) || (lines.length - 2 - tagCount) % 2 !== 0) return undefined
  return {
    status: packed.readUInt16LE(2),
    sequence: packed.readDoubleLE(16),
    bornAt: packed.readDoubleLE(24),
    freshMs: packed.readDoubleLE(32),
    key,
    tags: tagCount === 0 ? noTags : lines.slice(2, 2 + tagCount).map(decodeURIComponent),
    fields: pairs(lines, 2 + tagCount),
    body: packed.subarray(textEnd)
  }
}

const noTags: readonly string[] = Object.freeze([])

function pairs (lines: readonly string[], start: number): [string, string][] {
  const fields: [string, string][] = []
  for (let index = start; index < lines.length; index += 2) fields.push([lines[index] ?? '', lines[index + 1] ?? ''])
  return fields
}
