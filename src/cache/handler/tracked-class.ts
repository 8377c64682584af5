import { makeCover, trackerOf } from './cover.ts'
import { noteMissing } from './missing-properties.ts'
import { report } from './read-listener.ts'
import type { Kind, Target } from './read-listener.ts'
import { runningTracker } from './running-tracker.ts'
import { slotKey, slotOf } from './slot.ts'
import type { Slot, Tracked } from './slot.ts'

/** Descriptions of the symbols that Node looks for on each message. */
const symbolsOfNode = new Set(['SkipPendingData', 'ServerResponseStatistics'])

/** by the prototype that it is put before */
const trackedPrototypes = new WeakMap<object, Target>()

/** What the objects of a tracked class have in common. */
export class ClassState {
  /** the own properties of an object of which none had to be restored */
  plainKeys: readonly PropertyKey[] = []
  /** those of them that are replaced for good */
  stayingKeys: readonly PropertyKey[] = []
  /** accessors that become own properties of a tracked object */
  readonly listed: readonly (readonly [key: PropertyKey, accessor: PropertyDescriptor])[]

  constructor (prototype: Target, { accessors = new Set() }: Kind) {
    this.listed = [...accessors].map((key) => [key, Object.getOwnPropertyDescriptor(prototype, key) ?? {}])
  }

  /** @param keys own properties of an object that was just tracked */
  learn (keys: readonly PropertyKey[], { staysReplaced, replaced }: Kind): void {
    this.plainKeys = keys
    this.stayingKeys = keys.filter((key) => staysReplaced?.has(key) === true && replaced.has(key))
  }
}

const classKey = Symbol('prism.class')

/** The state of the tracked class of an object; undefined for an object of another class. */
export function classOf (target: object): ClassState | undefined {
  return (target as { [classKey]?: ClassState })[classKey]
}

/** Whether a prototype is that of a tracked class itself. One that code has put before it has properties that the class does not track. */
export function isOfTrackedClass (prototype: object): boolean {
  return Object.hasOwn(prototype, classKey)
}

/**
 * Gives an object the tracked class of its class. It stays of that class when tracking ends. Objects that will not be tracked keep the class that Fastify
 * or Node has made them of, which is faster.
 *
 * @returns the state of the class; undefined if the object stays what it is: it has a prototype of its own, or a hook has replaced what the class replaces
 */
export function enterTrackedClass (target: Tracked, kind: Kind): ClassState | undefined {
  const original = Object.getPrototypeOf(target) as Target
  const { constructor } = original
  if (typeof constructor !== 'function' || constructor.prototype !== original) return undefined
  for (const key of kind.accessors ?? []) if (!isPlain(Object.getOwnPropertyDescriptor(target, key))) return undefined
  Object.setPrototypeOf(target, trackedPrototypeOf(original, kind, target))
  const state = classOf(target)
  for (const [key, accessor] of state?.listed ?? []) accessor.set?.call(target, target[key])
  return state
}

function isPlain (descriptor: PropertyDescriptor | undefined): boolean {
  return descriptor?.writable === true && descriptor.configurable === true
}

/** The prototype of a tracked class: what other objects get for each run is defined once. */
function trackedPrototypeOf (original: Target, kind: Kind, sample: object): Target {
  const before = trackedPrototypes.get(original)
  if (before !== undefined) return before
  const prototype = Object.create(original) as Target
  const cover = makeCover(original, kind, true)
  for (const key of Reflect.ownKeys(cover)) Object.defineProperty(prototype, key, Object.getOwnPropertyDescriptor(cover, key) ?? {})
  // What some objects of the class have is found before the proxy, which is slow, on those that lack it.
  let accessors = 0
  for (const key of kind.constructed(sample as Target)) {
    if (kind.accessors?.has(key) === true) addAccessor(prototype, key, kind, accessors++)
    else if (!(key in original)) define(prototype, key)
  }
  for (const key of kind.missing ?? []) if (!(key in prototype)) addMissing(prototype, key, kind)
  define(prototype, slotKey)
  Object.defineProperty(prototype, classKey, { value: new ClassState(prototype, kind) })
  Object.setPrototypeOf(prototype, new Proxy(Object.create(original) as object, new ClassProperties(prototype, kind)))
  trackedPrototypes.set(original, prototype)
  return prototype
}

function define (prototype: Target, key: PropertyKey): void {
  Object.defineProperty(prototype, key, { value: undefined, configurable: true, writable: true })
}

/** The property's values are in the slots of the objects. */
function addAccessor (prototype: Target, key: PropertyKey, kind: Kind, index: number): void {
  const name = `${kind.name}.${String(key)}`
  const view = kind.views.get(key)
  // A function of its own: the getter creates no closure, and so no context, for objects that are not tracked.
  const valueIn = (slot: Slot) => () => slot.value(index)
  Object.defineProperty(prototype, key, {
    configurable: true,
    enumerable: true,
    get (this: Tracked) {
      const slot = this[slotKey]
      if (slot === undefined) return undefined
      const { tracker } = slot
      if (tracker === undefined) return slot.value(index)
      if (view !== undefined) return view(tracker, valueIn(slot), this)
      report(kind, tracker, key, name)
      return slot.value(index)
    },
    set (this: Tracked, value: unknown) { slotOf(this).setValue(index, value) }
  })
}

/** A missing property that is looked for on each object: an accessor is faster than a proxy, and reports the same. */
function addMissing (prototype: Target, key: PropertyKey, kind: Kind): void {
  Object.defineProperty(prototype, key, {
    configurable: true,
    get (this: Tracked) {
      const tracker = this[slotKey]?.tracker
      if (tracker !== undefined) noteMissing(tracker, kind, key, this)
    },
    set (this: Tracked, value: unknown) { Object.defineProperty(this, key, { value, configurable: true, enumerable: true, writable: true }) }
  })
}

/** The end of the prototype chain of a tracked class: it is read only for what is missing. */
class ClassProperties implements ProxyHandler<object> {
  readonly #prototype: Target
  readonly #kind: Kind

  constructor (prototype: Target, kind: Kind) {
    this.#prototype = prototype
    this.#kind = kind
  }

  get (prototype: object, key: PropertyKey, receiver: unknown): unknown {
    if (key in prototype) return Reflect.get(prototype, key, receiver)
    const tracker = trackerOf(receiver)
    if (tracker !== undefined) noteMissing(tracker, this.#kind, key, receiver as Target)
    else this.#learn(key)
    return undefined
  }

  /** A proxy is not told on which object `in` is used: it is that of the run that looks. */
  has (prototype: object, key: PropertyKey): boolean {
    const isPresent = key in prototype
    const tracker = isPresent ? undefined : runningTracker()
    if (tracker !== undefined) noteMissing(tracker, this.#kind, key, this.#prototype)
    return isPresent
  }

  set (prototype: object, key: PropertyKey, value: unknown, receiver: unknown): boolean {
    this.#learn(key)
    return Reflect.set(prototype, key, value, receiver)
  }

  /** State of Fastify, of Node and of agents is found on the class from now on, which is faster. */
  #learn (key: PropertyKey): void {
    if (typeof key !== 'symbol' || Object.hasOwn(this.#prototype, key)) return
    if (this.#kind.isFree(key, this.#prototype)) define(this.#prototype, key)
    else if (symbolsOfNode.has(key.description ?? '')) addMissing(this.#prototype, key, this.#kind)
  }
}
