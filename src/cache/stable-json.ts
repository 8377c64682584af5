import { rejectOption } from '../shared/option-readers.ts'

/** In place of the null that JSON makes of an undefined element: a number in a form in which JSON writes none. */
const undefinedElement = (JSON as unknown as { rawJSON (text: string): object }).rawJSON('0e0')

/**
 * Serializes a value as JSON with sorted object keys.
 *
 * Rejects values that JSON omits or changes, because two different values would have the same key.
 *
 * @param option name of the value in the error
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function stableJson (option: string, value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  // An object with `toJSON`, such as a Date, arrives as the result of that method.
  const sorted = function (this: unknown, _name: string, each: unknown) {
    if (each === undefined && Array.isArray(this)) return undefinedElement
    if (!isJsonValue(each)) return rejectOption(option, 'made of JSON values: strings, finite numbers, booleans, null, arrays and plain objects', kindOf(each))
    return typeof each === 'object' && each !== null && !Array.isArray(each) ? withSortedKeys(each) : each
  }
  return JSON.stringify(value, sorted) ?? 'undefined'
}

function isJsonValue (value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || value === null) return !['bigint', 'function', 'symbol'].includes(typeof value)
  return Array.isArray(value) || isPlain(value)
}

/** A Map, a Set or another class instance would be serialized incompletely. */
function isPlain (value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function withSortedKeys (value: object): object {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
}

function kindOf (value: unknown): string {
  return typeof value === 'object' ? value?.constructor.name ?? 'null' : typeof value
}
