import { refuseAs } from '../shared/option-readers.ts'

/**
 * Writes JSON with the names of every object in order.
 *
 * What JSON leaves out or writes as something else is refused: two values that differ would be one.
 *
 * @param option what the value is called, should it be refused
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function stableJson (option: string, value: unknown): string {
  // What has a `toJSON`, as a Date has, comes as what that gave.
  const sorted = (_name: string, each: unknown) => {
    if (!isTold(each)) return refuseAs(option, 'made of what JSON can say: texts, finite numbers, true, false, null, lists and plain objects', kindOf(each))
    return typeof each === 'object' && each !== null && !Array.isArray(each) ? inOrder(each) : each
  }
  return JSON.stringify(value, sorted) ?? 'undefined'
}

function isTold (value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || value === null) return !['bigint', 'function', 'symbol'].includes(typeof value)
  return Array.isArray(value) || isPlain(value)
}

/** A Map, a Set or another class would be written as what it is not. */
function isPlain (value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function inOrder (value: object): object {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
}

function kindOf (value: unknown): string {
  return typeof value === 'object' ? value?.constructor.name ?? 'null' : typeof value
}
