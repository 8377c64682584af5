import { Command } from 'ioredis'

/** An argument of a command. */
export type Argument = string | number | Buffer

/**
 * A command whose bytes are written in one go, for ioredis to send: it would copy, check and measure every argument by itself, which for a call
 * that carries the asks of fifty requests was a third of what the batch cost. Its answer is bytes.
 */
export class EncodedCommand extends Command {
  readonly #bytes: string | Buffer
  readonly #key: string

  /** @param key one of its keys, by which a Cluster finds its slot */
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
 * Writes a command as RESP, an array of bulk strings.
 *
 * @param fill adds the command's name and its arguments; it is run again where one is not plain ASCII, which nearly all are: to measure each costs as
 * much as to write it
 */
export function encodeCommand (fill: (packet: RespWriter) => void): string | Buffer {
  const plain = new RespWriter((text) => text.length)
  fill(plain)
  const bytes = plain.end()
  if (typeof bytes === 'string' && Buffer.byteLength(bytes) === bytes.length) return bytes
  const exact = new RespWriter(Buffer.byteLength)
  fill(exact)
  return exact.end()
}

/** What stands before an argument of so many bytes. */
const heads = Array.from({ length: 256 }, (_, bytes) => headOf(bytes))

function headOf (bytes: number): string {
  return `\r\n$${bytes}\r\n`
}

/** One command as it is written, argument for argument. */
export class RespWriter {
  readonly #bytesOf: (text: string) => number
  #text = ''
  #count = 0
  /** what came before the text; there once an argument was bytes */
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
    // As ioredis does it: beyond what a number holds exactly, without an exponent.
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
