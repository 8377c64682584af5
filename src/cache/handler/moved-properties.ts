import { noteMissing } from './missing-properties.ts'
import { report } from './read-listener.ts'
import type { Kind, ReadListener } from './read-listener.ts'
import { slotKey } from './slot.ts'
import type { Tracked } from './slot.ts'

/** The prototype of one tracked object: it has the properties that were moved from the object, and reports reads of what is missing. */
export class MovedProperties implements ProxyHandler<object> {
  readonly #tracker: ReadListener
  readonly #kind: Kind
  readonly #target: Tracked

  constructor (target: Tracked, tracker: ReadListener, kind: Kind) {
    this.#target = target
    this.#tracker = tracker
    this.#kind = kind
  }

  get (prototype: object, key: PropertyKey, receiver: unknown): unknown {
    const moved = this.#moved(key)
    if (moved !== undefined) {
      report(this.#kind, this.#tracker, key)
      return 'value' in moved ? moved.value as unknown : this.#tracker.withoutTracking(() => moved.get?.call(receiver) as unknown)
    }
    if (!(key in prototype)) noteMissing(this.#tracker, this.#kind, key, this.#target)
    return Reflect.get(prototype, key, receiver)
  }

  set (prototype: object, key: PropertyKey, value: unknown, receiver: unknown): boolean {
    const moved = receiver === this.#target ? this.#moved(key) : undefined
    if (moved === undefined) return Reflect.set(prototype, key, value, receiver)
    if (moved.writable === true) moved.value = value
    else if (moved.set === undefined) return false
    else moved.set.call(receiver, value)
    return true
  }

  has (prototype: object, key: PropertyKey): boolean {
    const isMoved = this.#moved(key) !== undefined
    if (isMoved) report(this.#kind, this.#tracker, key)
    else if (!(key in prototype)) noteMissing(this.#tracker, this.#kind, key, this.#target)
    return isMoved || key in prototype
  }

  /** Called by `for … in`. */
  ownKeys (prototype: object): (string | symbol)[] {
    const moved = [...this.#target[slotKey]?.moved?.keys() ?? []] as (string | symbol)[]
    for (const key of moved) report(this.#kind, this.#tracker, key)
    return [...new Set([...Reflect.ownKeys(prototype), ...moved])]
  }

  getOwnPropertyDescriptor (prototype: object, key: PropertyKey): PropertyDescriptor | undefined {
    const moved = this.#moved(key)
    if (moved !== undefined) report(this.#kind, this.#tracker, key)
    return moved ?? Reflect.getOwnPropertyDescriptor(prototype, key)
  }

  #moved (key: PropertyKey): PropertyDescriptor | undefined {
    return this.#target[slotKey]?.moved?.get(key)
  }
}
