import { Command } from 'ioredis'

/** An argument of a command. */
export type Argument = string | number | Buffer

/** Members of a command that ioredis's types hide. */
interface HiddenMembers { _clearTimers: () => void }

/**
 * A command of a batch. ioredis assigns a function expression to each command's `reject`. V8 allocates such a function in the old generation, where it
 * keeps the command, its write and all requests of the tick in memory until the next full collection. This class has the same members without it.
 */
export class BatchCommand extends Command {}

// Not a method: the name is private in ioredis's types.
Object.defineProperty(BatchCommand.prototype, 'initPromise', {
  value: function initPromise (this: BatchCommand): void {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const clearTimers = (): void => (this as unknown as HiddenMembers)._clearTimers()
    const fulfill = (reply: Buffer) => {
      try {
        clearTimers()
        resolve(this.transformReply(reply))
        this.isResolved = this.isSettled = true
      } catch (error) {
        this.reject(error as Error)
      }
    }
    const fail = (error: Error) => {
      clearTimers()
      this.isSettled = true
      reject(error)
    }
    this.stringifyArguments()
    this.promise = promise
    this.resolve = fulfill
    this.reject = fail
  }
})

/** Adds the name and the arguments of one command. */
export type FillCommand = (writer: RespWriter) => void

/** A command that is already encoded, for a Cluster client, which sends each command to the node of its slot. Its reply is bytes. */
export class EncodedCommand extends BatchCommand {
  readonly #bytes: string | Buffer
  readonly #key: string

  /** @param key one of its keys, from which a Cluster client computes the slot */
  constructor (name: string, key: string, bytes: string | Buffer) {
    super(name, [], { replyEncoding: null })
    this.#bytes = bytes
    this.#key = key
  }

  override getKeys (): string[] {
    return [this.#key]
  }

  override toWritable (): string | Buffer {
    return this.#bytes
  }
}

/**
 * Encodes commands in RESP, each as an array of bulk strings.
 *
 * @param fills one for each command. They run a second time when an argument is not ASCII, which is rare: measuring the bytes of each argument costs as
 * much as writing it
 * @returns a string of ASCII characters only, or bytes
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export function encodeCommands (fills: readonly FillCommand[]): string | Buffer {
  return encodeWith(fills, (text) => text.length) ?? Buffer.from(encodeWith(fills, Buffer.byteLength) as string)
}

function encodeWith (fills: readonly FillCommand[], bytesOf: (text: string) => number): string | Buffer | undefined {
  const writer = new RespWriter(bytesOf)
  for (const fill of fills) writer.addCommand(fill)
  return writer.end()
}

/** The RESP header of a bulk string, by its length in bytes. */
const heads = Array.from({ length: 256 }, (_, bytes) => headOf(bytes))

function headOf (bytes: number): string {
  return `\r\n$${bytes}\r\n`
}

/** Writes commands, argument by argument. */
export class RespWriter {
  readonly #bytesOf: (text: string) => number
  /** the complete commands since the last piece */
  #done = ''
  /** the current command since its last piece, without its head */
  #text = ''
  #count = 0
  /** what precedes `#done`: text and the arguments that are Buffers; empty until one was */
  readonly #pieces: (string | Buffer)[] = []
  /** the piece that ends with the head of the current command, once that is known; -1 if no argument of the command was a Buffer */
  #headAt = -1

  constructor (bytesOf: (text: string) => number) {
    this.#bytesOf = bytesOf
  }

  add (argument: Argument): void {
    if (typeof argument === 'string') this.#addText(argument, this.#bytesOf(argument))
    else if (typeof argument === 'number') this.addNumber(argument)
    else this.#addBytes(argument)
  }

  addNumber (number: number): void {
    // As ioredis: an integer beyond the safe range is written without an exponent.
    const text = Number.isInteger(number) && !Number.isSafeInteger(number) ? String(BigInt(number)) : String(number)
    this.#addText(text, text.length)
  }

  addCommand (fill: FillCommand): void {
    this.#text = ''
    this.#count = 0
    this.#headAt = -1
    fill(this)
    const head = `*${this.#count}`
    if (this.#headAt < 0) {
      this.#done += `${head}${this.#text}\r\n`
    } else {
      this.#pieces[this.#headAt] += head
      this.#done = `${this.#text}\r\n`
    }
  }

  /** All commands: a string if no argument was a Buffer. Undefined if `bytesOf` has miscounted a text. */
  end (): string | Buffer | undefined {
    const pieces = this.#pieces
    pieces.push(this.#done)
    let size = 0
    for (const piece of pieces) {
      size += piece.length
      if (typeof piece !== 'string') continue
      const bytes = Buffer.byteLength(piece)
      if (bytes !== this.#bytesOf(piece)) return undefined
      size += bytes - piece.length
    }
    return pieces.length === 1 ? this.#done : join(pieces, size)
  }

  #addText (text: string, bytes: number): void {
    this.#count += 1
    this.#text += (heads[bytes] ?? headOf(bytes)) + text
  }

  #addBytes (bytes: Buffer): void {
    if (bytes.length === 0) return this.#addText('', 0)
    this.#count += 1
    if (this.#headAt < 0) {
      this.#headAt = this.#pieces.push(this.#done) - 1
      this.#done = ''
    }
    this.#pieces.push(this.#text + (heads[bytes.length] ?? headOf(bytes.length)), bytes)
    this.#text = ''
  }
}

function join (pieces: readonly (string | Buffer)[], size: number): Buffer {
  const joined = Buffer.allocUnsafe(size)
  let at = 0
  for (const piece of pieces) at += typeof piece === 'string' ? joined.write(piece, at) : piece.copy(joined, at)
  return joined
}
