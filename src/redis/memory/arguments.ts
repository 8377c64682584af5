import { ErrorReply } from './reply.ts'

export const syntaxError = 'ERR syntax error'
const notInteger = 'ERR value is not an integer or out of range'

/** The bytes of an argument as characters. */
export function latin1 (arg: Buffer | undefined): string {
  return arg === undefined ? '' : arg.toString('latin1')
}

/** An option or a subcommand. */
export function word (arg: Buffer | undefined): string {
  return latin1(arg).toUpperCase()
}

/** An integer of 64 bits. @throws {ErrorReply} */
export function bigIntegerOf (arg: Buffer | undefined, message = notInteger): bigint {
  const text = latin1(arg)
  const value = /^(?:0|-?[1-9]\d{0,18})$/.test(text) ? BigInt(text) : undefined
  if (value === undefined || BigInt.asIntN(64, value) !== value) throw new ErrorReply(message)
  return value
}

/** As {@link bigIntegerOf}. Beyond 2^53 it loses precision: use it for lengths, positions and times. */
export function integerOf (arg: Buffer | undefined, message?: string): number {
  return Number(bigIntegerOf(arg, message))
}

/** A floating-point number. @throws {ErrorReply} */
export function floatOf (text: string, message = 'ERR value is not a valid float'): number {
  const infinite = /^([+-]?)inf(?:inity)?$/i.exec(text)
  if (infinite !== null) return infinite[1] === '-' ? -Infinity : Infinity
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) throw new ErrorReply(message)
  return Number(text)
}

/** Reads options after fixed arguments. */
export class OptionReader {
  readonly #args: readonly Buffer[]
  #index: number

  constructor (args: readonly Buffer[], index: number) {
    this.#args = args
    this.#index = index
  }

  get isAtEnd (): boolean {
    return this.#index >= this.#args.length
  }

  /** The next option, in upper case. */
  next (): string {
    return word(this.value())
  }

  /** The value of an option. @throws {ErrorReply} */
  value (): Buffer {
    const value = this.#args[this.#index++]
    if (value === undefined) throw new ErrorReply(syntaxError)
    return value
  }

  /** Reads a word if it is the next argument. */
  accept (text: string): boolean {
    const isNext = word(this.#args[this.#index]) === text
    if (isNext) this.#index += 1
    return isNext
  }
}
