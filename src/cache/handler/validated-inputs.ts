import { isDeepStrictEqual, types } from 'node:util'
import type { CacheRequest } from '../http-message.ts'

/** A request's query, parameters or headers. */
export type Input = Readonly<Record<string, unknown>>

type Part = 'query' | 'params' | 'headers'

/** What validation makes of an input. */
interface ValidatedInput {
  readonly value: unknown
  readonly isValid: boolean
}

/** The part of a compiled validator that is used, as Fastify calls it. */
type Validator = ((data: unknown, context?: object) => unknown) & { readonly schemaEnv?: unknown }

/**
 * What the route's validation makes of an input: coercion, defaults, transforms and removals. Validation is a function of its input, so it is repeated
 * on a copy to know it without the changes of hooks, whichever validator the route uses.
 *
 * @param input may be changed
 * @returns undefined if it cannot be told: the validator is asynchronous or throws
 */
export function validate (request: CacheRequest, part: Part, input: Input): ValidatedInput | undefined {
  const validator = request.getValidationFunction?.(part === 'query' ? 'querystring' : part) as Validator | undefined
  if (validator == null) return { value: input, isValid: true }
  const holder: Record<string, unknown> = { [part]: input }
  try {
    // As Fastify does: Ajv replaces a value in its parent.
    const result = validator.schemaEnv === undefined ? validator(input) : validator(input, { parentData: holder, parentDataProperty: part })
    return outcomeOf(result, holder[part])
  } catch {
    return undefined
  }
}

/** Whether the route validates a part of the request. */
export function hasValidator (request: CacheRequest, part: Part): boolean {
  return request.getValidationFunction?.(part === 'query' ? 'querystring' : part) != null
}

/** Whether the query is validated by Ajv. */
export function isAjv (request: CacheRequest): boolean {
  const validator = request.getValidationFunction?.('querystring') as Validator | null | undefined
  return validator?.schemaEnv !== undefined
}

function outcomeOf (result: unknown, input: unknown): ValidatedInput | undefined {
  if (typeof result !== 'object' || result === null) return { value: input, isValid: result !== false }
  if (result instanceof Promise || 'then' in result) {
    Promise.resolve(result).catch(() => {})
    return undefined
  }
  if ('error' in result && Boolean(result.error)) return { value: input, isValid: false }
  return { value: 'value' in result ? result.value : input, isValid: true }
}

/** Copies records and arrays deeply: hooks and validators change them in place. */
export function copyOf<Value> (value: Value): Value {
  if (Array.isArray(value)) return value.map(copyOf) as Value
  return isRecord(value) ? copyRecord(value) as Value : value
}

/** Copies the properties of an object deeply; an empty record for no object. */
export function copyRecord (value: Input | null | undefined): Record<string, unknown> {
  const copy: Record<string, unknown> = { ...value }
  for (const name in copy) if (typeof copy[name] === 'object') copy[name] = copyOf(copy[name])
  return copy
}

/** Deep equality of what validators make. Objects that may hold more than they show are equal only to themselves, and a proxy to nothing. */
export function isSame (a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || types.isProxy(b)) return false
  if (isRecord(a) || Array.isArray(a)) return Array.isArray(a) === Array.isArray(b) && (isRecord(b) || Array.isArray(b)) && isSameRecord(a as Input, b as Input)
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
  if (a instanceof Set || a instanceof Map) return isSame([...a], [...b as Set<unknown>])
  return isOpen(a) && isDeepStrictEqual(a, b)
}

function isSameRecord (a: Input, b: Input): boolean {
  const names = Reflect.ownKeys(a) as string[]
  return names.length === Reflect.ownKeys(b).length && names.every((name) => Object.hasOwn(b, name) && isSame(a[name], b[name]))
}

/** A plain object. Query parsers make objects whose prototype is an empty object; another prototype may hold what a hook has put there. */
export function isRecord (value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || prototype === Object.prototype || (Object.getPrototypeOf(prototype) === null && Reflect.ownKeys(prototype).length === 0)
}

/** Whether `isDeepStrictEqual` compares everything that an object holds. */
function isOpen (value: object): boolean {
  return value instanceof Date || value instanceof RegExp || value instanceof URL || ArrayBuffer.isView(value)
}
