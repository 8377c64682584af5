import { isProxy } from 'node:util/types'

type Clone = (...given: unknown[]) => unknown

const views = new WeakSet()
let isReplaced = false

/**
 * Lets `structuredClone` copy a view, so that a handler that clones what it works with does so on a cached route, too. V8 refuses every proxy, and an
 * object that is no proxy cannot report that its own properties are looked for.
 *
 * The global function is replaced when the first view is made. The replacement passes each call on as it is, and does more only where that has failed and
 * the value contains a view. `postMessage` and `v8.serialize` refuse views.
 */
export function makeCloneable (view: object): void {
  views.add(view)
  if (isReplaced) return
  isReplaced = true
  const before = Object.getOwnPropertyDescriptor(globalThis, 'structuredClone')
  // False where the globals are frozen: cloning a view throws then, as for every proxy.
  if (typeof before?.value === 'function') Reflect.defineProperty(globalThis, 'structuredClone', { ...before, value: cloningViews(before.value as Clone) })
}

function cloningViews (original: Clone): Clone {
  // A method: as the original, it is no constructor, and has its name and length.
  const { structuredClone } = {
    structuredClone (this: unknown, ...given: unknown[]): unknown {
      try {
        return Reflect.apply(original, this, given)
      } catch (error) {
        const copy = isDataCloneError(error) ? copyWithoutViews(given[0]) : undefined
        if (copy === undefined) throw error
        return Reflect.apply(original, this, [copy.value, ...given.slice(1)])
      }
    }
  }
  return structuredClone
}

function isDataCloneError (error: unknown): boolean {
  return error instanceof Error && error.name === 'DataCloneError'
}

/** Copies the records and arrays of a value, and its views. Runs no code of the app but getters behind a view. @returns undefined if the value contains no view, or is too deep */
function copyWithoutViews (value: unknown): { readonly value: unknown } | undefined {
  const copier = new Copier()
  try {
    const copy = copier.copyOf(value)
    return copier.hasView ? { value: copy } : undefined
  } catch {
    return undefined
  }
}

class Copier {
  hasView = false
  /** each object is copied once, so that cycles end and what is the same stays the same */
  readonly #copies = new Map<object, object>()

  copyOf (value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value
    return this.#copies.get(value) ?? this.#copy(value)
  }

  #copy (value: object): object {
    const isView = views.has(value)
    // Other proxies would run their traps.
    if (!isView && (isProxy(value) || !isPlain(value))) return value
    if (isView) this.hasView = true
    const copy: object = isView ? { ...value } : Array.isArray(value) ? [] : {}
    this.#copies.set(value, copy)
    if (isView) return copy
    for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
      Object.defineProperty(copy, key, 'value' in descriptor ? { ...descriptor, value: this.copyOf(descriptor.value) } : descriptor)
    }
    return copy
  }
}

function isPlain (value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as unknown
  return Array.isArray(value) || prototype === Object.prototype || prototype === null
}
