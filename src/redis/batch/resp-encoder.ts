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

/**
 * A command that is already encoded. ioredis copies, checks and measures every argument; measured for a call with the operations of fifty requests,
 * that was a third of the cost of the batch. Its reply is bytes.
 */
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
 * Encodes a command in RESP, as an array of bulk strings.
 *
 * @param fill adds the command's name and its arguments. It runs a second time when an argument is not ASCII, which is rare: measuring the bytes of each
 * argument costs as much as writing it
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export function encodeCommand (fill: (writer: RespWriter) => void): string | Buffer {
  const plain = new RespWriter((text) => text.length)
  fill(plain)
  const bytes = plain.end()
  if (typeof bytes === 'string' && Buffer.byteLength(bytes) === bytes.length) return bytes
  const exact = new RespWriter(Buffer.byteLength)
  fill(exact)
  return exact.end()
}

/** The RESP header of a bulk string, by its length in bytes. */
const heads = Array.from({ length: 256 }, (_, bytes) => headOf(bytes))

function headOf (bytes: number): string {
  return `\r\n$${bytes}\r\n`
}

/** Writes one command, argument by argument. */
export class RespWriter {
  readonly #bytesOf: (text: string) => number
  #text = ''
  #count = 0
  /** output before `#text`; defined once an argument was a Buffer */
  #chunks: Buffer[] | undefined

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

  /** The whole command. */
  end (): string | Buffer {
    const head = `*${this.#count}`
    if (this.#chunks === undefined) return `${head}${this.#text}\r\n`
    return Buffer.concat([Buffer.from(head), ...this.#chunks, Buffer.from(`${this.#text}\r\n`)])
  }

  #addText (text: string, bytes: number): void {
    this.#count += 1
    this.#text += (heads[bytes] ?? headOf(bytes)) + text
  }

  #addBytes (bytes: Buffer): void {
    this.#count += 1
    this.#chunks ??= []
    this.#chunks.push(Buffer.from(this.#text + headOf(bytes.length)), bytes)
    this.#text = ''
  }
}
