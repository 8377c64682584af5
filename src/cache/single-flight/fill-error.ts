import { types } from 'node:util'

/** Objects nested deeper than this are shared by the copies of an error. */
const maxDepth = 4

/**
 * The error of a fill, for the requests that waited for it. Each of them receives its own copy, because an error handler may change the error:
 * set `statusCode` or `headers`, or remove a detail.
 */
export class FillError {
  readonly #error: unknown

  private constructor (error: unknown) {
    this.#error = error
  }

  /**
   * @param owners the request and its reply
   * @returns undefined if the error belongs to its own request (an abort, a timeout, or an error that holds the request), or cannot be copied
   */
  static of (error: unknown, owners: readonly unknown[] = []): FillError | undefined {
    try {
      if (isAbort(error) || holds(error, owners)) return undefined
      return new FillError(copyOf(error))
    } catch {
      return undefined // a getter that reads a private field, or a property that is computed
    }
  }

  /** A copy of class, message, stack and own properties. Private fields are not copied; properties that hold instances of other classes are shared. */
  copy (): unknown {
    return copyOf(this.#error)
  }
}

/** Whether a run was ended by an AbortSignal or by Fastify's `handlerTimeout`: the time of another request ends later. */
function isAbort (error: unknown, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > maxDepth) return false
  const { name, code, cause } = error as { name?: unknown, code?: unknown, cause?: unknown }
  return name === 'AbortError' || name === 'TimeoutError' || abortCodes.has(code) || isAbort(cause, depth + 1)
}

/** Whether an error has a property that is one of the objects. */
function holds (error: unknown, owners: readonly unknown[], depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > maxDepth) return false
  if (owners.includes(error)) return true
  return (error instanceof Error || isPlain(error)) && Reflect.ownKeys(error).some((key) => holds(Object.getOwnPropertyDescriptor(error, key)?.value, owners, depth + 1))
}

const abortCodes = new Set<unknown>(['ABORT_ERR', 'ERR_CANCELED', 'FST_ERR_HANDLER_TIMEOUT'])

function copyOf (value: unknown, depth = 0, copies = new Map<object, object>()): unknown {
  if (typeof value !== 'object' || value === null || depth > maxDepth) return value
  const known = copies.get(value)
  if (known !== undefined) return known
  const isError = value instanceof Error || types.isNativeError(value)
  if (!isError && !isPlain(value)) return value
  const copy = emptyCopyOf(value)
  copies.set(value, copy)
  for (const key of Reflect.ownKeys(value)) copyProperty(value, key, copy, (inner) => copyOf(inner, depth + 1, copies))
  if (isError) checkGetters(copy)
  return copy
}

function emptyCopyOf (value: object): object {
  if (Array.isArray(value)) return []
  const prototype = Object.getPrototypeOf(value) as object | null
  // A native error has an internal slot, which `Error.isError` and `util.inspect` look for.
  return types.isNativeError(value) ? Object.setPrototypeOf(new Error(), prototype) as object : Object.create(prototype) as object
}

function copyProperty (value: object, key: PropertyKey, copy: object, copyInner: (inner: unknown) => unknown): void {
  const descriptor = Object.getOwnPropertyDescriptor(value, key)
  if (descriptor === undefined) return
  // `stack` is an accessor in some versions of V8, and works only on its own error.
  const isValue = 'value' in descriptor || key === 'stack'
  // It may read the failed request when another request's error handler reads it.
  if (!isValue || (key === 'toJSON' && typeof Reflect.get(value, key) === 'function')) throw new TypeError('The error computes a property')
  const own = { value: copyInner(Reflect.get(value, key)), writable: true, enumerable: descriptor.enumerable ?? false, configurable: descriptor.configurable ?? true }
  Object.defineProperty(copy, key, own)
}

/** Throws if a getter of the error's class does not work on a copy. */
function checkGetters (copy: object): void {
  for (let level = Object.getPrototypeOf(copy) as object | null; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as object | null) {
    for (const key of Reflect.ownKeys(level)) if (Object.getOwnPropertyDescriptor(level, key)?.get !== undefined) Reflect.get(copy, key)
  }
}

function isPlain (value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || prototype === Object.prototype || Array.isArray(value)
}
