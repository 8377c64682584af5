/** An entry of a stream: its ID, and fields and values in turn. */
export interface StreamEntry { readonly id: bigint, readonly fields: readonly Buffer[] }

/** Entries that Redis stores together. Approximate trimming removes whole nodes. */
interface Node { readonly firstId: bigint, readonly fields: readonly Buffer[], entries: StreamEntry[], added: number, bytes: number }

/** Defaults of stream-node-max-entries and stream-node-max-bytes. */
const nodeEntries = 100
const nodeBytes = 4096
/** Approximate trimming removes at most this many entries at once. */
const trimmedAtOnce = 100 * nodeEntries

export const maxStreamId = (1n << 128n) - 1n

/** How a stream is trimmed: to a number of entries, or to IDs from one on. */
export interface Trim { readonly by: 'MAXLEN' | 'MINID', readonly limit: bigint, readonly isApproximate: boolean, readonly most?: number | undefined }

/** A log of entries by growing ID. An ID is its milliseconds and its sequence as one number of 128 bits. */
export class Stream {
  lastId = 0n
  #nodes: Node[] = []
  #size = 0

  get size (): number {
    return this.#size
  }

  add (entry: StreamEntry): void {
    const last = this.#nodes.at(-1)
    const length = entry.fields.reduce((sum, part) => sum + part.length, 0)
    const isFull = last === undefined || last.bytes + length >= nodeBytes || last.added >= nodeEntries
    const node = isFull ? newNode(entry) : last
    if (isFull) this.#nodes.push(node)
    node.entries.push(entry)
    node.added += 1
    node.bytes += entryBytes(entry, node)
    this.lastId = entry.id
    this.#size += 1
  }

  delete (id: bigint): boolean {
    const node = this.#nodes.find(({ entries }) => entries.some((entry) => entry.id === id))
    if (node === undefined) return false
    node.entries = node.entries.filter((entry) => entry.id !== id)
    this.#size -= 1
    if (node.entries.length === 0) this.#nodes = this.#nodes.filter((other) => other !== node)
    return true
  }

  /** @returns the number of removed entries */
  trim ({ by, limit, isApproximate, most = isApproximate ? trimmedAtOnce : 0 }: Trim): number {
    const before = this.#size
    for (let node = this.#nodes[0]; node !== undefined; node = this.#nodes[0]) {
      const count = node.entries.length
      if (by === 'MAXLEN' && BigInt(this.#size) <= limit) break
      if (most > 0 && before - this.#size + count > most) break
      const isWhole = by === 'MAXLEN' ? BigInt(this.#size - count) >= limit : (node.entries.at(-1)?.id ?? 0n) < limit
      if (!isWhole && isApproximate) break
      const removed = isWhole ? count : excess(node.entries, by, limit, this.#size)
      node.entries.splice(0, removed)
      this.#size -= removed
      if (!isWhole) break
      this.#nodes.shift()
    }
    return before - this.#size
  }

  /** Entries between two IDs, both included. */
  range (from: bigint, to: bigint, { count = Infinity, isReversed = false } = {}): StreamEntry[] {
    const found: StreamEntry[] = []
    const nodes = isReversed ? this.#nodes.toReversed() : this.#nodes
    for (const { entries } of nodes) {
      for (const entry of isReversed ? entries.toReversed() : entries) {
        if (found.length >= count) return found
        if (entry.id >= from && entry.id <= to) found.push(entry)
      }
    }
    return found
  }
}

function excess (entries: readonly StreamEntry[], by: Trim['by'], limit: bigint, size: number): number {
  return by === 'MAXLEN' ? Number(BigInt(size) - limit) : entries.filter(({ id }) => id < limit).length
}

function newNode (entry: StreamEntry): Node {
  const names = namesOf(entry)
  // The header and the end of a listpack; the counts of entries, deleted entries and fields; the fields; a zero.
  const bytes = 7 + 2 + 2 + elementBytes(BigInt(names.length)) + names.reduce((sum, name) => sum + elementBytes(name), 0) + 2
  return { firstId: entry.id, fields: names, entries: [], added: 0, bytes }
}

function namesOf ({ fields }: StreamEntry): Buffer[] {
  return fields.filter((_, index) => index % 2 === 0)
}

const sequenceMask = (1n << 64n) - 1n

/** The bytes that an entry takes in a node. @see https://github.com/redis/redis/blob/7.0/src/t_stream.c */
function entryBytes (entry: StreamEntry, { firstId, fields }: Node): number {
  const names = namesOf(entry)
  const hasSameFields = names.length === fields.length && names.every((name, index) => name.equals(fields[index] as Buffer))
  const parts = hasSameFields ? entry.fields.filter((_, index) => index % 2 === 1) : entry.fields
  const counts = hasSameFields ? 0 : elementBytes(BigInt(names.length))
  const id = elementBytes((entry.id >> 64n) - (firstId >> 64n)) + elementBytes((entry.id & sequenceMask) - (firstId & sequenceMask))
  const elements = names.length + 3 + (hasSameFields ? 0 : names.length + 1)
  return elementBytes(0n) + id + counts + parts.reduce((sum, part) => sum + elementBytes(part), 0) + elementBytes(BigInt(elements))
}

/** The bytes of one element of a listpack: its encoding, and its length for reading backwards. @see https://github.com/redis/redis/blob/7.0/src/listpack.c */
function elementBytes (value: bigint | Buffer): number {
  const integer = typeof value === 'bigint' ? value : integerOf(value)
  const encoded = integer === undefined ? textBytes((value as Buffer).length) : integerBytes(integer)
  return encoded + (encoded <= 127 ? 1 : encoded < 16_383 ? 2 : encoded < 2_097_151 ? 3 : encoded < 268_435_455 ? 4 : 5)
}

function integerOf (bytes: Buffer): bigint | undefined {
  const text = bytes.length > 20 ? '' : bytes.toString('latin1')
  const value = /^(?:0|-?[1-9]\d*)$/.test(text) ? BigInt(text) : undefined
  return value !== undefined && BigInt.asIntN(64, value) === value ? value : undefined
}

function integerBytes (given: bigint): number {
  const value = BigInt.asIntN(64, given)
  if (value >= 0n && value <= 127n) return 1
  const fits = (bits: number) => BigInt.asIntN(bits, value) === value
  return fits(13) ? 2 : fits(16) ? 3 : fits(24) ? 4 : fits(32) ? 5 : 9
}

function textBytes (length: number): number {
  return length < 64 ? 1 + length : length < 4096 ? 2 + length : 5 + length
}
