const LINE_FEED = 0x0a
const ARRAY = 0x2a
const BULK = 0x24

/**
 * Reads a client's bytes to Redis, in chunks cut anywhere, and counts its commands by name.
 *
 * Bytes that are not RESP (TLS, for example) end the reading without an error.
 */
export class CommandReader {
  readonly #counts: Map<string, number>
  #rest: Buffer = Buffer.alloc(0)
  #argumentsLeft = 0
  #nameFollows = false
  #isName = false
  #skipBytes = 0
  #isLost = false

  /** @param counts where commands are counted, by their name in capitals */
  constructor (counts: Map<string, number>) {
    this.#counts = counts
  }

  /** The names of the commands that this chunk completes the name of. */
  push (chunk: Buffer): string[] {
    const names: string[] = []
    if (this.#isLost) return names
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    for (;;) {
      const taken = this.#take(bytes, names)
      if (taken === 0) break
      bytes = bytes.subarray(taken)
    }
    this.#rest = Buffer.from(bytes)
    return names
  }

  /** Takes one step; returns the consumed bytes, or 0 if it needs more. */
  #take (bytes: Buffer, names: string[]): number {
    if (this.#skipBytes > 0) return this.#skip(bytes)
    const end = bytes.indexOf(LINE_FEED)
    if (end < 0) return 0
    if (this.#isName) return this.#takeName(bytes, end, names)
    const count = Number(bytes.toString('latin1', 1, end))
    if (Number.isNaN(count)) return this.#lose(bytes)
    if (bytes[0] === ARRAY && this.#argumentsLeft === 0) this.#startCommand(count)
    else if (bytes[0] === BULK && this.#argumentsLeft > 0) this.#startArgument(count)
    else return this.#lose(bytes)
    return end + 1
  }

  #startCommand (length: number): void {
    this.#argumentsLeft = length
    this.#nameFollows = true
  }

  #startArgument (length: number): void {
    this.#argumentsLeft--
    if (this.#nameFollows) this.#isName = true
    else this.#skipBytes = length + 2
    this.#nameFollows = false
  }

  #takeName (bytes: Buffer, end: number, names: string[]): number {
    const name = bytes.toString('latin1', 0, end).trim().toUpperCase()
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
    this.#isName = false
    names.push(name)
    return end + 1
  }

  #skip (bytes: Buffer): number {
    const skipped = Math.min(bytes.length, this.#skipBytes)
    this.#skipBytes -= skipped
    return skipped
  }

  #lose (bytes: Buffer): number {
    this.#isLost = true
    return bytes.length
  }
}
