import { OptionError } from './errors.ts'

type Unit = 'ms' | 's' | 'm' | 'h' | 'd'

/** A length of time as callers write it: a number and one unit, `'30s'`, `'1.5h'`, `'250ms'`. */
export type Duration = `${number}${Unit}`

const unitMs: Record<Unit, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const durationPattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/

/** Shows what came in a refusal; long values are cut, functions and objects are named by kind. */
export function shown (value: unknown): string {
  if (typeof value === 'function') return 'a function'
  const text = typeof value === 'bigint' ? `${value}n` : JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** Refuses an option: throws, naming it, what is wanted and what came. */
export function refuse (option: string, wanted: string, came: unknown): never {
  throw new OptionError(option, wanted, shown(came))
}

/**
 * Reads a duration.
 *
 * @returns milliseconds, a positive whole number
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readDuration (option: string, value: unknown): number {
  const [, amount, unit] = typeof value === 'string' ? durationPattern.exec(value) ?? [] : []
  const ms = Math.round(Number(amount) * (unitMs[unit as Unit] ?? NaN))
  return ms > 0 && Number.isSafeInteger(ms) ? ms : refuse(option, "a duration such as '250ms', '30s', '5m' or '1h'", value)
}

/**
 * Reads a whole number.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readCount (option: string, value: unknown, { min = 1, max = Number.MAX_SAFE_INTEGER } = {}): number {
  const wanted = max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max ? value : refuse(option, wanted, value)
}

/**
 * Reads true or false.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readSwitch (option: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : refuse(option, 'true or false', value)
}

/**
 * Reads a text that is not empty.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readText (option: string, value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : refuse(option, 'a text that is not empty', value)
}

/**
 * Reads one of several words.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readChoice<Choice extends string> (option: string, value: unknown, choices: readonly Choice[]): Choice {
  return choices.find((choice) => choice === value) ?? refuse(option, `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`, value)
}

/**
 * Reads a list of texts, none empty.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readTexts (option: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) return refuse(option, 'a list of texts', value)
  return Object.freeze(value.map((text, index) => readText(`${option}[${index}]`, text)))
}

/**
 * Checks that something is a plain record of options, and that it names only known ones.
 *
 * @throws {OptionError} PRISM_ERR_OPTION for the first unknown name, saying which are known
 */
export function readRecord (option: string, value: unknown, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse(option, `an object of ${known.join(', ')}`, value)
  const unknown = Object.keys(value).find((name) => !known.includes(name))
  if (unknown !== undefined) throw new OptionError(`${option}.${unknown}`, `left out, for it is unknown; known are ${known.join(', ')}`, shown((value as Record<string, unknown>)[unknown]))
  return value as Readonly<Record<string, unknown>>
}
