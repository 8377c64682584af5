/** Bytes that are not a command of RESP. */
export class ProtocolError extends Error {
}

/**
 * Parses commands from the bytes that a client sends: arrays of bulk strings. Inline commands are not supported.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export class CommandParser {
  #bytes: Buffer = Buffer.alloc(0)
  #chunks: Buffer[] = []
  #offset = 0

  push (chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  /** The next whole command, or undefined. @throws {ProtocolError} */
  next (): Buffer[] | undefined {
    if (this.#chunks.length > 0) this.#join()
    const start = this.#offset
    const args = this.#readCommand()
    if (args === undefined) this.#offset = start
    return args
  }

  #join (): void {
    const rest = this.#bytes.subarray(this.#offset)
    const chunks = this.#chunks.splice(0)
    this.#bytes = rest.length === 0 && chunks.length === 1 ? chunks[0] as Buffer : Buffer.concat([rest, ...chunks])
    this.#offset = 0
  }

  #readCommand (): Buffer[] | undefined {
    const count = this.#readLength('*')
    if (count === undefined) return undefined
    const args: Buffer[] = []
    for (let index = 0; index < count; index++) {
      const length = this.#readLength('$')
      if (length === undefined || this.#bytes.length < this.#offset + length + 2) return undefined
      args.push(this.#bytes.subarray(this.#offset, this.#offset + length))
      this.#offset += length + 2
    }
    return args
  }

  #readLength (type: '*' | '$'): number | undefined {
    const end = this.#bytes.indexOf('\r\n', this.#offset, 'latin1')
    if (end < 0) return undefined
    const line = this.#bytes.toString('latin1', this.#offset, end)
    if (line[0] !== type || !/^\d{1,9}$/.test(line.slice(1))) throw new ProtocolError(`Protocol error: expected '${type}', got '${line[0] ?? ''}'`)
    this.#offset = end + 2
    return Number(line.slice(1))
  }
}
