import { inspect } from 'node:util'
import { makeCloneable } from './cloneable-views.ts'
import type { RequestFields } from './read-listener.ts'
import { isPrintedByConsole } from './reader.ts'

/** Decides what a handler sees of the request headers. */
interface HeaderReader {
  /** A header is read, or whether it is there. @returns what the handler sees of it */
  read (name: string, fields: RequestFields): string | string[] | undefined
  /** All headers are read. @returns the names that the handler sees */
  list (fields: RequestFields): string[]
  /** reads without reporting the reads */
  withoutTracking<Value> (read: () => Value): Value
}

/** The request headers that a handler sees. Each way to read or list them is reported; what is written goes to the headers themselves. */
export function viewHeaders (fields: RequestFields, reader: HeaderReader): RequestFields {
  // `util.inspect` does not use a proxy but its target: this one holds no headers.
  const target = Object.create(Object.getPrototypeOf(fields) as object | null) as RequestFields
  Object.defineProperty(target, inspect.custom, { value: () => copyForInspection(view, reader), configurable: true })
  const view = new Proxy(target, new HeaderView(fields, reader))
  makeCloneable(view)
  return view
}

/** What the console prints is not tracked. */
function copyForInspection (view: RequestFields, reader: HeaderReader): RequestFields {
  const copy = () => ({ ...view })
  return isPrintedByConsole() ? reader.withoutTracking(copy) : copy()
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
