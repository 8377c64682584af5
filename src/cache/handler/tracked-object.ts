import { MissingProperties } from './missing-properties.ts'
import type { Kind, ReadListener, Target, View } from './read-listener.ts'

/** Symbol properties of a tracked object: its listener, and the values of its own properties. */
export const tracking = Symbol('prism.tracking')
const holding = Symbol('prism.holding')
export type Tracked = Target & { [tracking]?: ReadListener | undefined, [holding]?: Target | undefined }

/**
 * Reports reads of an object to a listener.
 *
 * Inherited getters are tracked by a prototype that is inserted before the original one and made once; own properties are replaced one by one.
 * A proxy before that prototype reports properties that are missing.
 * The object stays the same object: comparisons by `===` and WeakMaps work as before.
 *
 * @returns restores the object
 */
export function trackObject (target: Tracked, tracker: ReadListener, kind: Kind): () => void {
  const prototype = Object.getPrototypeOf(target) as Target
  const held: Target = {}
  const undo = trackOwnProperties(target, tracker, kind, held)
  target[tracking] = tracker
  target[holding] = held
  Object.setPrototypeOf(target, new Proxy(trackingPrototypeOf(prototype, kind), new MissingProperties(target, tracker, kind)))
  return () => {
    Object.setPrototypeOf(target, prototype)
    target[tracking] = target[holding] = undefined
    // Preserve values that were written during tracking. A property that was deleted stays deleted.
    for (const key of Reflect.ownKeys(held)) if (Object.hasOwn(target, key)) Object.defineProperty(target, key, { value: held[key], writable: true })
    for (const restore of undo) restore()
  }
}

/** @param held receives the values of plain properties */
function trackOwnProperties (target: Target, tracker: ReadListener, kind: Kind, held: Target): (() => void)[] {
  const undo: (() => void)[] = []
  for (const key of Reflect.ownKeys(target)) {
    if (kind.isFree(key, target)) continue
    const descriptor = Object.getOwnPropertyDescriptor(target, key)
    if (descriptor?.configurable === true && descriptor.writable === true) replaceWithAccessor(target, key, kind, held)
    else trackOther(target, key, descriptor, tracker, undo, () => report(kind, tracker, key))
  }
  return undo
}

function report (kind: Kind, tracker: ReadListener, key: PropertyKey, name = `${kind.name}.${String(key)}`): void {
  if (kind.report === undefined) tracker.noteProperty(key, name)
  else kind.report(tracker, key, name)
}

/** Replaces a plain property by an accessor. The accessor is shared by all requests; the value is stored on the request. */
function replaceWithAccessor (target: Target, key: PropertyKey, kind: Kind, held: Target): void {
  held[key] = target[key]
  Object.defineProperty(target, key, kind.accessors.get(key) ?? accessorOf(key, kind))
}

function accessorOf (key: PropertyKey, kind: Kind): PropertyDescriptor {
  const text = `${kind.name}.${String(key)}`
  const view = kind.views.get(key)
  const made: PropertyDescriptor = {
    get (this: Tracked) {
      const tracker = this[tracking]
      if (tracker !== undefined && view !== undefined) return view(tracker, () => this[holding]?.[key], this)
      if (tracker !== undefined) report(kind, tracker, key, text)
      return this[holding]?.[key]
    },
    set (this: Tracked, value: unknown) {
      const held = this[holding]
      if (held !== undefined) held[key] = value
    }
  }
  // Bounded, because an app may use a new property name for each request.
  if (kind.accessors.size < maxRemembered) kind.accessors.set(key, made)
  return made
}

function trackOther (target: Target, key: PropertyKey, descriptor: PropertyDescriptor | undefined, tracker: ReadListener, undo: (() => void)[], note: () => void): void {
  // A property that cannot be replaced counts as read.
  if (descriptor?.configurable !== true) note()
  else undo.push('value' in descriptor ? trackValue(target, key, descriptor, note) : trackAccessor(target, key, descriptor, tracker, note))
}

function trackAccessor (target: Target, key: PropertyKey, descriptor: PropertyDescriptor, tracker: ReadListener, note: () => void): () => void {
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

function trackingPrototypeOf (prototype: Target, kind: Kind): object {
  const before = kind.prototypes.get(prototype)
  if (before !== undefined) return before
  const cover = Object.create(prototype) as Target
  for (const key of gettersOf(prototype)) {
    const view = kind.views.get(key)
    if (view !== undefined || !kind.isFree(key, prototype)) replaceGetter(cover, key, kind, view)
  }
  kind.addMethods?.(cover, prototype)
  kind.prototypes.set(prototype, cover)
  return cover
}

function replaceGetter (cover: Target, key: PropertyKey, kind: Kind, view: View | undefined): void {
  const prototype = Object.getPrototypeOf(cover) as object
  const name = `${kind.name}.${String(key)}`
  Object.defineProperty(cover, key, {
    get (this: Tracked) {
      const tracker = this[tracking]
      const read = () => Reflect.get(prototype, key, this) as unknown
      if (tracker === undefined) return read()
      if (view !== undefined) return view(tracker, read, this)
      report(kind, tracker, key, name)
      return tracker.withoutTracking(read)
    },
    set (this: Tracked, value: unknown) { Reflect.set(prototype, key, value, this) }
  })
}

/** Names of the inherited getters: of Fastify or Node, and of decorators. */
export function gettersOf (prototype: object): Set<PropertyKey> {
  const names = new Set<PropertyKey>()
  for (let level: object | null = prototype; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as object | null) {
    for (const key of Reflect.ownKeys(level)) if (Object.getOwnPropertyDescriptor(level, key)?.get !== undefined) names.add(key)
  }
  return names
}

/** Limit for names that an app may choose for each request. */
export const maxRemembered = 1000
