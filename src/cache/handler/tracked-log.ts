import { inspect } from 'node:util'
import type { ReadListener } from './read-listener.ts'

type Log = Record<PropertyKey, unknown>

/** Methods whose result says nothing of the request. */
const free = new Set<PropertyKey>(['isLevelEnabled', 'flush', 'setBindings'])
/** Properties that a route sets for all of its requests. */
const freeProperties = new Set<PropertyKey>(['level', 'levelVal', 'levels', 'customLevels', 'useLevelLabels', 'useOnlyCustomLevels', 'then', 'toJSON', 'constructor'])

/**
 * `request.log` and `reply.log` while a request is tracked. What their serializers read is not reported: it goes into the log, not into the response.
 * What they give back is: the bindings of a logger are what hooks know of the request.
 */
export function trackedLog (log: object, tracker: ReadListener): object {
  return new Proxy(log as Log, new TrackedLog(tracker))
}

class TrackedLog implements ProxyHandler<Log> {
  readonly #tracker: ReadListener

  constructor (tracker: ReadListener) {
    this.#tracker = tracker
  }

  get (target: Log, key: PropertyKey): unknown {
    const value = Reflect.get(target, key) as unknown
    if (typeof value !== 'function') {
      if (value !== undefined && !freeProperties.has(key) && !isWellKnown(key)) this.#note(key)
      return value
    }
    // Properties that a proxy must show as they are.
    if (Object.getOwnPropertyDescriptor(target, key)?.configurable === false) return value
    return (...given: unknown[]) => this.#call(target, key, value as (...given: unknown[]) => unknown, given)
  }

  ownKeys (target: Log): (string | symbol)[] {
    this.#note('all properties')
    return Reflect.ownKeys(target)
  }

  getOwnPropertyDescriptor (target: Log, key: PropertyKey): PropertyDescriptor | undefined {
    if (!freeProperties.has(key)) this.#note(key)
    return Reflect.getOwnPropertyDescriptor(target, key)
  }

  #call (target: Log, key: PropertyKey, method: (...given: unknown[]) => unknown, given: unknown[]): unknown {
    const result = this.#tracker.withoutTracking(() => Reflect.apply(method, target, given) as unknown)
    if (key === 'child') return trackedLog(result as Log, this.#tracker)
    if (result === target) return trackedLog(target, this.#tracker)
    if (result !== undefined && !free.has(key)) this.#note(`${String(key)}()`)
    return result
  }

  #note (key: PropertyKey): void {
    if (!this.#tracker.isPaused) this.#tracker.note(`request.log ${String(key)}`)
  }
}

function isWellKnown (key: PropertyKey): boolean {
  return typeof key === 'symbol' && (key === inspect.custom || (key.description ?? '').startsWith('Symbol.'))
}
