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
  const encoded = encodeWith(fills, (text) => text.length)
  if (typeof encoded === 'string' && Buffer.byteLength(encoded) === encoded.length) return encoded
  return Buffer.from(encodeWith(fills, Buffer.byteLength))
}

function encodeWith (fills: readonly FillCommand[], bytesOf: (text: string) => number): string | Buffer {
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
  /** the complete commands */
  #done = ''
  /** the current command, without its head */
  #text = ''
  #count = 0
  /** output before `#done`; defined once an argument was a Buffer */
  #chunks: Buffer[] | undefined
  /** where in `#chunks` the head of the current command is missing; -1 if no argument of it was a Buffer */
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
      this.#chunks?.splice(this.#headAt, 0, Buffer.from(head))
      this.#done = `${this.#text}\r\n`
    }
  }

  /** All commands. */
  end (): string | Buffer {
    return this.#chunks === undefined ? this.#done : Buffer.concat([...this.#chunks, Buffer.from(this.#done)])
  }

  #addText (text: string, bytes: number): void {
    this.#count += 1
    this.#text += (heads[bytes] ?? headOf(bytes)) + text
  }

  #addBytes (bytes: Buffer): void {
    this.#count += 1
    this.#chunks ??= []
    if (this.#headAt < 0) {
      this.#chunks.push(Buffer.from(this.#done))
      this.#done = ''
      this.#headAt = this.#chunks.length
    }
    this.#chunks.push(Buffer.from(this.#text + headOf(bytes.length)), bytes)
    this.#text = ''
  }
}
