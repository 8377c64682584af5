import { inspect } from 'node:util'
import type { ReadListener } from './read-listener.ts'
import { isPrintedByConsole } from './reader.ts'

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
  // `util.inspect` does not use a proxy but its target: this one has nothing of the logger.
  const target = Object.create(Object.getPrototypeOf(log) as object | null) as Log
  Object.defineProperty(target, inspect.custom, { value: () => inspected(log, tracker), configurable: true })
  return new Proxy(target, new TrackedLog(log as Log, tracker))
}

/** The logger, to be inspected: a read of all its bindings, unless the console prints it. */
function inspected (log: object, tracker: ReadListener): object {
  if (!tracker.isPaused && !isPrintedByConsole()) tracker.note('request.log all properties')
  return log
}

class TrackedLog implements ProxyHandler<Log> {
  readonly #log: Log
  readonly #tracker: ReadListener

  constructor (log: Log, tracker: ReadListener) {
    this.#log = log
    this.#tracker = tracker
  }

  get (target: Log, key: PropertyKey): unknown {
    if (key === inspect.custom) return target[key]
    const value = this.#log[key]
    if (typeof value === 'function') return (...given: unknown[]) => this.#call(key, value as (...given: unknown[]) => unknown, given)
    if (value !== undefined && !freeProperties.has(key) && !isWellKnown(key)) this.#note(key)
    return value
  }

  has (_target: Log, key: PropertyKey): boolean {
    return key in this.#log
  }

  set (_target: Log, key: PropertyKey, value: unknown): boolean {
    return Reflect.set(this.#log, key, value)
  }

  defineProperty (_target: Log, key: PropertyKey, descriptor: PropertyDescriptor): boolean {
    return Reflect.defineProperty(this.#log, key, { configurable: true, ...descriptor })
  }

  deleteProperty (_target: Log, key: PropertyKey): boolean {
    return Reflect.deleteProperty(this.#log, key)
  }

  ownKeys (): (string | symbol)[] {
    this.#note('all properties')
    return Reflect.ownKeys(this.#log)
  }

  getOwnPropertyDescriptor (_target: Log, key: PropertyKey): PropertyDescriptor | undefined {
    if (!freeProperties.has(key)) this.#note(key)
    const descriptor = Reflect.getOwnPropertyDescriptor(this.#log, key)
    // The target does not have it.
    return descriptor && { ...descriptor, configurable: true }
  }

  #call (key: PropertyKey, method: (...given: unknown[]) => unknown, given: unknown[]): unknown {
    const result = this.#tracker.withoutTracking(() => Reflect.apply(method, this.#log, given) as unknown)
    if (key === 'child') return trackedLog(result as Log, this.#tracker)
    if (result === this.#log) return trackedLog(this.#log, this.#tracker)
    if (result !== undefined && !free.has(key)) this.#note(`${String(key)}()`)
    return result
  }

  #note (key: PropertyKey): void {
    if (!this.#tracker.isPaused) this.#tracker.note(`request.log ${String(key)}`)
  }
}

function isWellKnown (key: PropertyKey): boolean {
  return typeof key === 'symbol' && (key.description ?? '').startsWith('Symbol.')
}
