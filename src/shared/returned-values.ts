import { OptionError } from './errors.ts'

/** Whether a function of the app has returned a promise, of whatever make. */
export function isPromise (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** What becomes of a promise that the app has returned. A request may end before it is looked at: then its rejection is no unhandled one. */
export function later<Value, Other> (promise: PromiseLike<Value>, change: (value: Value) => Other): Promise<Other> {
  const changed = Promise.resolve(promise).then(change)
  changed.catch(() => {})
  return changed
}

/**
 * Refuses what a function of the app has returned: throws, naming the function, what is wanted and the kind of what came.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function invalidReturn (option: string, wanted: string, came: unknown): never {
  if (isPromise(came)) later(came, () => {})
  throw new OptionError(option, wanted, kindOf(came))
}

function kindOf (value: unknown): string {
  if (isPromise(value)) return 'a promise'
  if (Array.isArray(value)) return 'a list'
  return value === null || typeof value === 'number' || typeof value === 'boolean' ? String(value) : `of type ${typeof value}`
}
