import { makeCover } from './cover.ts'
import { MovedProperties } from './moved-properties.ts'
import { maxRemembered, report } from './read-listener.ts'
import type { Kind, ReadListener, Target } from './read-listener.ts'
import { slotKey, slotOf } from './slot.ts'
import type { Slot, Tracked } from './slot.ts'
import { classOf, enterTrackedClass, isOfTrackedClass } from './tracked-class.ts'

/**
 * Reports reads of an object to a listener.
 *
 * Objects of a tracked class get the listener, and accessors in place of what Node has set on a message. Of other objects, and of what hooks have added,
 * own properties are replaced one by one, and a prototype is put before the original one. The object stays the same object: comparisons by `===` and
 * WeakMaps work as before.
 *
 * @returns restores the object; undefined if {@link untrack} is enough
 */
export function trackObject (target: Tracked, tracker: ReadListener, kind: Kind): (() => void) | undefined {
  const slot = slotOf(target)
  const ofClass = classOf(target) ?? (kind.hasClass?.(target) === true ? enterTrackedClass(target, kind) : undefined)
  if (ofClass !== undefined) for (const [key, accessor] of ofClass.listed) Object.defineProperty(target, key, accessor)
  const keys = Reflect.ownKeys(target)
  const isKnown = ofClass !== undefined && hasKeys(target, keys, ofClass.plainKeys, kind)
  const undo = isKnown ? replaceKnown(target, ofClass.stayingKeys, kind, slot) : trackOwnProperties(target, keys, tracker, kind, slot)
  slot.tracker = tracker
  const prototype = Object.getPrototypeOf(target) as Target
  const isOfClass = isOfTrackedClass(prototype)
  if (ofClass !== undefined && isOfClass && undo === undefined) {
    if (!isKnown) ofClass.learn(keys, kind)
    return undefined
  }
  const isCovered = !isOfClass || slot.moved !== undefined
  if (isCovered) Object.setPrototypeOf(target, new Proxy(isOfClass ? prototype : coverOf(prototype, kind), new MovedProperties(target, tracker, kind)))
  return () => {
    if (isCovered) Object.setPrototypeOf(target, prototype)
    restore(target, slot, kind)
    for (const each of undo ?? []) each()
  }
}

/** Whether an object has the same own properties as one before, of which none had to be restored. */
function hasKeys (target: Target, keys: readonly PropertyKey[], plain: readonly PropertyKey[], kind: Kind): boolean {
  if (keys.length !== plain.length) return false
  for (let index = 0; index < keys.length; index++) if (keys[index] !== plain[index]) return false
  for (const key of kind.freeByValue) if (Object.hasOwn(target, key) && !kind.isFree(key, target)) return false
  return true
}

function replaceKnown (target: Tracked, keys: readonly PropertyKey[], kind: Kind, slot: Slot): undefined {
  for (const key of keys) replaceWithAccessor(target, key, kind, slot)
}

/** Ends the tracking of an object. */
export function untrack (target: object): void {
  const slot = (target as Tracked)[slotKey]
  if (slot !== undefined) slot.tracker = undefined
}

/** Preserves values that were written during tracking. A replaced property that was deleted stays deleted. */
function restore (target: Tracked, slot: Slot, { staysReplaced }: Kind): void {
  const { held, moved } = slot
  slot.tracker = slot.moved = undefined
  if (staysReplaced === undefined) slot.held = undefined
  if (held !== undefined) for (const key of Reflect.ownKeys(held)) if (staysReplaced?.has(key) !== true && Object.hasOwn(target, key)) Object.defineProperty(target, key, { value: held[key], writable: true })
  if (moved !== undefined) for (const [key, descriptor] of moved) if (!Object.hasOwn(target, key)) Object.defineProperty(target, key, descriptor)
}

/** @returns restores properties that cannot be accessors of the kind; undefined if nothing has to be restored */
function trackOwnProperties (target: Tracked, keys: readonly PropertyKey[], tracker: ReadListener, kind: Kind, slot: Slot): (() => void)[] | undefined {
  const isOfClass = classOf(target) !== undefined
  let undo: (() => void)[] | undefined
  for (const key of keys) {
    if (key === slotKey || (kind.isFree(key, target) && !hidesGetter(target, key, kind)) || (isOfClass && kind.accessors?.has(key) === true)) continue
    const descriptor = Object.getOwnPropertyDescriptor(target, key)
    const isReplaced = descriptor?.get !== undefined && descriptor.get === kind.replaced.get(key)?.get
    if (kind.staysReplaced?.has(key) === true && (isReplaced || descriptor?.writable === true)) {
      replaceWithAccessor(target, key, kind, slot)
      continue
    }
    undo ??= []
    // A property that cannot be replaced counts as read, unless its getter reads what is tracked.
    if (descriptor?.configurable !== true) {
      if (descriptor?.get === undefined || !tracker.isReported(() => descriptor.get?.call(target))) report(kind, tracker, key)
    } else if (kind.movesOthers && !kind.constructed(target).includes(key)) move(target, key, descriptor, slot)
    else if (descriptor.writable === true) replaceWithAccessor(target, key, kind, slot)
    else undo.push(replaceFixed(target, key, descriptor, tracker, () => report(kind, tracker, key)))
  }
  return undo
}

/** Whether a hook has defined an own property in place of a getter of Fastify, such as `request.server`. */
function hidesGetter (target: Target, key: PropertyKey, kind: Kind): boolean {
  if (!kind.movesOthers || typeof key === 'symbol' || kind.missing?.includes(key) === true || kind.constructed(target).includes(key)) return false
  for (let level = Object.getPrototypeOf(target) as object | null; level !== null; level = Object.getPrototypeOf(level) as object | null) {
    const descriptor = Object.getOwnPropertyDescriptor(level, key)
    if (descriptor !== undefined) return descriptor.get !== undefined
  }
  return false
}

function move (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, slot: Slot): void {
  slot.moved ??= new Map()
  slot.moved.set(key, descriptor)
  Reflect.deleteProperty(target, key)
}

/** Replaces a plain property by an accessor. The accessor is shared by all requests; the value is in the slot. */
function replaceWithAccessor (target: Target, key: PropertyKey, kind: Kind, slot: Slot): void {
  slot.held ??= {}
  slot.held[key] = target[key]
  Object.defineProperty(target, key, kind.replaced.get(key) ?? accessorOf(key, kind))
}

function accessorOf (key: PropertyKey, kind: Kind): PropertyDescriptor {
  const text = `${kind.name}.${String(key)}`
  const view = kind.views.get(key)
  const made: PropertyDescriptor = {
    get (this: Tracked) {
      const slot = this[slotKey]
      const tracker = slot?.tracker
      if (tracker !== undefined && view !== undefined) return view(tracker, () => slot?.held?.[key], this)
      if (tracker !== undefined) report(kind, tracker, key, text)
      return slot?.held?.[key]
    },
    set (this: Tracked, value: unknown) {
      const held = this[slotKey]?.held
      if (held !== undefined) held[key] = value
    }
  }
  // Bounded, because an app may use a new property name for each request.
  if (kind.replaced.size < maxRemembered) kind.replaced.set(key, made)
  return made
}

function replaceFixed (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, tracker: ReadListener, note: () => void): () => void {
  if ('value' in descriptor) return trackValue(target, key, descriptor, note)
  const get = () => {
    note()
    return tracker.withoutTracking(() => descriptor.get?.call(target) as unknown)
  }
  Object.defineProperty(target, key, { ...descriptor, get })
  return () => { if (Object.hasOwn(target, key)) Object.defineProperty(target, key, descriptor) }
}

/** Tracks a data property; values written during tracking are preserved. */
export function trackValue (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, note: () => void): () => void {
  let value = descriptor.value as unknown
  Object.defineProperty(target, key, {
    get: () => {
      note()
      return value
    },
    set: (next: unknown) => { value = next }
  })
  return () => { if (Object.hasOwn(target, key)) Object.defineProperty(target, key, { value, writable: descriptor.writable ?? true }) }
}

function coverOf (prototype: Target, kind: Kind): Target {
  const before = kind.covers.get(prototype) as Target | undefined
  if (before !== undefined) return before
  const cover = makeCover(prototype, kind)
  kind.covers.set(prototype, cover)
  return cover
}
