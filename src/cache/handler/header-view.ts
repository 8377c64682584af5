import { inspect } from 'node:util'
import type { RequestFields } from './read-listener.ts'

/** Decides what a handler sees of the request headers. */
interface HeaderReader {
  /** A header is read, or whether it is there. @returns what the handler sees of it */
  read (name: string, fields: RequestFields): string | string[] | undefined
  /** All headers are read. @returns the names that the handler sees */
  list (fields: RequestFields): string[]
}

const views = new WeakSet()

/** The request headers that a handler sees. Each way to read or list them is reported; what is written goes to the headers themselves. */
export function viewHeaders (fields: RequestFields, reader: HeaderReader): RequestFields {
  makeViewsCloneable()
  // `util.inspect` does not use a proxy but its target: this one holds no headers.
  const target = Object.create(Object.getPrototypeOf(fields) as object | null) as RequestFields
  Object.defineProperty(target, inspect.custom, { value: copyView, configurable: true })
  const view = new Proxy(target, new HeaderView(fields, reader))
  views.add(view)
  return view
}

/** Called by `util.inspect`, with the proxy as `this`. */
function copyView (this: RequestFields): RequestFields {
  return { ...this }
}

class HeaderView implements ProxyHandler<RequestFields> {
  readonly #fields: RequestFields
  readonly #reader: HeaderReader

  constructor (fields: RequestFields, reader: HeaderReader) {
    this.#fields = fields
    this.#reader = reader
  }

  get (target: RequestFields, name: string | symbol): unknown {
    return typeof name === 'symbol' || this.#isOfObjects(name) ? Reflect.get(target, name) as unknown : this.#reader.read(name, this.#fields)
  }

  has (target: RequestFields, name: string | symbol): boolean {
    return typeof name === 'symbol' || this.#isOfObjects(name) ? Reflect.has(target, name) : this.#reader.read(name, this.#fields) !== undefined
  }

  ownKeys (): string[] {
    return this.#reader.list(this.#fields)
  }

  getOwnPropertyDescriptor (target: RequestFields, name: string | symbol): PropertyDescriptor | undefined {
    if (typeof name === 'symbol') return Reflect.getOwnPropertyDescriptor(target, name)
    const value = this.#reader.read(name, this.#fields)
    return value === undefined ? undefined : { value, writable: true, enumerable: true, configurable: true }
  }

  set (_target: RequestFields, name: string, value: string): boolean {
    this.#fields[name] = value
    return true
  }

  defineProperty (_target: RequestFields, name: string, descriptor: PropertyDescriptor): boolean {
    return Reflect.defineProperty(this.#fields, name, { configurable: true, ...descriptor })
  }

  deleteProperty (_target: RequestFields, name: string): boolean {
    return Reflect.deleteProperty(this.#fields, name)
  }

  /** Methods that all objects have are no headers. */
  #isOfObjects (name: string): boolean {
    return (name in Object.prototype || name === 'toJSON') && !Object.hasOwn(this.#fields, name)
  }
}

let isCloneable = false

/** `structuredClone` throws for every proxy. A handler that clones the headers works without the cache, so it gets a copy that is read through the view. */
function makeViewsCloneable (): void {
  if (isCloneable) return
  isCloneable = true
  const original = globalThis.structuredClone as <Value>(value: Value, options?: { transfer?: unknown[] }) => Value
  const cloneWithViews = function structuredClone<Value> (value: Value, options?: { transfer?: unknown[] }): Value {
    try {
      return original(value, options)
    } catch (error) {
      const copy = error instanceof DOMException && error.name === 'DataCloneError' ? withoutViews(value, new Map()) : value
      if (copy === value) throw error
      return original(copy, options)
    }
  }
  // Where the globals are frozen, cloning a view throws as for every proxy.
  Reflect.set(globalThis, 'structuredClone', cloneWithViews)
}

/** Copies records and arrays that contain a view. */
function withoutViews<Value> (value: Value, seen: Map<object, unknown>): Value {
  if (typeof value !== 'object' || value === null) return value
  if (views.has(value)) return { ...value }
  if (seen.has(value)) return seen.get(value) as Value
  const prototype = Object.getPrototypeOf(value) as unknown
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return value
  seen.set(value, value)
  const entries = Object.entries(value).map(([key, each]) => [key, withoutViews(each, seen)] as const)
  if (entries.every(([key, each]) => each === (value as Record<string, unknown>)[key])) return value
  return (Array.isArray(value) ? entries.map(([, each]) => each) : Object.fromEntries(entries)) as Value
}
