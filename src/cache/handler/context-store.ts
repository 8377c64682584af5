import { isInternalSymbol } from './agent-marks.ts'
import { trackObject } from './tracked-object.ts'
import type { Kind, ReadListener, Target, View } from './read-listener.ts'

const stores: Kind = {
  name: 'requestContext',
  isFree: isInternalSymbol,
  // The key is chosen by the app, and may be the name of a request's property.
  report: (tracker, _key, name) => tracker.noteProperty(name, name),
  views: new Map<PropertyKey, View>(),
  prototypes: new WeakMap(),
  accessors: new Map()
}

/**
 * Tracks the store of @fastify/request-context of the current request. `requestContext.get`, `getStore` and the package's AsyncLocalStorage all give this object.
 *
 * @returns restores the store; undefined if there is none
 */
export function trackContextStore (request: object, tracker: ReadListener): (() => void) | undefined {
  const { requestContext } = (request as { server: { requestContext?: { getStore?: () => unknown } } }).server
  const store = requestContext?.getStore?.()
  if (typeof store !== 'object' || store === null) return undefined
  const prototype = Object.getPrototypeOf(store) as object | null
  const undo = trackObject(store as Target, tracker, stores)
  // A value that no hook has set for this client may be set for another.
  Object.setPrototypeOf(store, new Proxy(prototype ?? Object.prototype, new MissingValues(tracker)))
  return undo
}

/** Reports reads of what a store does not have. As the store's prototype it sees only those. */
class MissingValues implements ProxyHandler<object> {
  readonly #tracker: ReadListener

  constructor (tracker: ReadListener) {
    this.#tracker = tracker
  }

  get (target: object, key: PropertyKey, receiver: unknown): unknown {
    if (!(key in target)) this.#note(key)
    return Reflect.get(target, key, receiver)
  }

  has (target: object, key: PropertyKey): boolean {
    if (!(key in target)) this.#note(key)
    return key in target
  }

  set (_target: object, key: PropertyKey, value: unknown, receiver: object): boolean {
    return Reflect.defineProperty(receiver, key, { value, configurable: true, enumerable: true, writable: true })
  }

  #note (key: PropertyKey): void {
    const name = `requestContext.${String(key)}`
    this.#tracker.noteProperty(name, name)
  }
}
