import { ForeignOptionError, OptionError, UnknownOptionError } from './errors.ts'
import { foreignOption } from './foreign-options.ts'
import { renamedOptions } from './renamed-options.ts'

type Unit = 'ms' | 's' | 'm' | 'h' | 'd'

/** A duration: a number and one unit, such as `'30s'`, `'1.5h'` or `'250ms'`. */
export type Duration = `${number}${Unit}`

const unitMs: Record<Unit, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const durationPattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/

/** Options below these contain secrets, credentials and addresses: errors show only the type of their values. */
const secretive = /^(?:redis|session)(?![^.[])/
/** Every choice that an option accepts is shorter than this. */
const longestChoice = 24
/** Form of an option's name. A name of another form may be a secret written in place of a name, and is not shown. */
const plausibleName = /^(?=.{1,30}$)[A-Za-z]+(?:[_-][A-Za-z]+)*\d?$/

/**
 * Formats a rejected value for an error message, which ends up in logs and error trackers: numbers and booleans literally, other values by type,
 * because any string may be a secret (OWASP Logging Cheat Sheet, CWE-532).
 *
 * @param option full name; values under `redis` and `session` are shown by type only
 */
function formatValue (option: string, value: unknown): string {
  const isPlain = (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') && !secretive.test(option)
  return isPlain ? String(value) : kindOf(value)
}

/** Describes the type of a value without showing the value. */
function kindOf (value: unknown): string {
  if (value === undefined || value === null) return String(value)
  if (value === '') return 'an empty text'
  if (Array.isArray(value)) return `a list of ${value.length}`
  return kinds[typeof value] ?? `a ${typeof value}`
}

const kinds: Readonly<Record<string, string>> = { string: 'a text', object: 'an object' }

/** Throws for an invalid option, with its name, the accepted values and the given value as {@link formatValue} shows it. @throws {OptionError} PRISM_ERR_OPTION */
export function invalidOption (option: string, wanted: string, came: unknown): never {
  return rejectOption(option, wanted, formatValue(option, came))
}

/** Throws for an invalid option with a description in place of the value. @throws {OptionError} PRISM_ERR_OPTION */
export function rejectOption (option: string, wanted: string, description: string): never {
  throw new OptionError(option, wanted, description)
}

/** A leap year. A longer duration is a mistake, and would exceed 32 bits of seconds in stored data. */
const longestDays = 366

/**
 * Reads a duration.
 *
 * @param maxDays longest duration that is accepted
 * @returns milliseconds, a positive whole number
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readDuration (option: string, value: unknown, maxDays = longestDays): number {
  const [, amount, unit] = typeof value === 'string' ? durationPattern.exec(value) ?? [] : []
  const ms = Math.round(Number(amount) * (unitMs[unit as Unit] ?? NaN))
  if (ms > maxDays * unitMs.d) rejectOption(option, `a duration of at most ${maxDays} days`, 'longer')
  return ms > 0 ? ms : invalidOption(option, "a duration such as '250ms', '30s', '5m' or '1h'", value)
}

/**
 * Reads an integer.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readCount (option: string, value: unknown, { min = 1, max = Number.MAX_SAFE_INTEGER } = {}): number {
  const wanted = max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max ? value : invalidOption(option, wanted, value)
}

/**
 * Reads a boolean.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readBoolean (option: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : invalidOption(option, 'true or false', value)
}

/**
 * Reads a non-empty string.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readString (option: string, value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : invalidOption(option, 'a text that is not empty', value)
}

/**
 * Reads one of several choices.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readChoice<Choice extends string> (option: string, value: unknown, choices: readonly Choice[]): Choice {
  const isWord = typeof value === 'string' && value.length <= longestChoice && /^[\w-]+$/.test(value) && !secretive.test(option)
  return choices.find((choice) => choice === value) ?? rejectOption(option, `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`, isWord ? `'${value}'` : formatValue(option, value))
}

/**
 * Reads an array of non-empty strings.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readStrings (option: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) return invalidOption(option, 'a list of texts', value)
  return Object.freeze(value.map((text, index) => readString(`${option}[${index}]`, text)))
}

/**
 * Reads the path of a route: without parameters, wildcards and query.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readPath (option: string, value: unknown): string {
  return typeof value === 'string' && /^\/[\w.~!$&'()+,;=@/-]*$/.test(value) ? value : invalidOption(option, "a path such as '/live', without parameters and query", value)
}

/**
 * Checks that a value is an object and that it has only known options.
 *
 * @throws {OptionError} PRISM_ERR_OPTION for the first unknown or renamed option
 */
export function readRecord (option: string, value: unknown, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return invalidOption(option, `an object of ${known.join(', ')}`, value)
  const unknown = Object.keys(value).find((name) => !known.includes(name))
  const renamed = unknown === undefined ? undefined : renamedOptions[`${option.replace(/\[\d+\]/g, '')}.${unknown}`]
  if (renamed !== undefined) rejectOption(`${option}.${unknown}`, `written as ${option}.${renamed}, its name since version 0.1.0`, kindOf((value as Record<string, unknown>)[unknown as string]))
  const foreign = unknown === undefined ? undefined : foreignOption(option, unknown)
  if (foreign !== undefined) throw new ForeignOptionError(`${option}.${unknown}`, foreign.package, foreign.instead)
  if (unknown !== undefined) throw new UnknownOptionError(`${option}.${plausibleName.test(unknown) ? unknown : '(name not shown)'}`, known.join(', '))
  return value as Readonly<Record<string, unknown>>
}
