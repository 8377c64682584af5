import { inspect } from 'node:util'
import { report } from './read-listener.ts'
import type { Kind, ReadListener, Target, View } from './read-listener.ts'
import { isPrintedByConsole } from './reader.ts'
import { slotKey } from './slot.ts'
import type { Tracked } from './slot.ts'

/**
 * The tracking prototype of objects with a prototype: its getters report reads to the tracker in the object's slot. It is made once.
 *
 * @param isFlat copies what is not tracked, too, so that the original prototype is needed only for what is missing
 */
export function makeCover (prototype: Target, kind: Kind, isFlat = false): Target {
  const cover = Object.create(prototype) as Target
  for (let level: Target | null = prototype; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as Target | null) {
    for (const key of Reflect.ownKeys(level)) if (key !== 'constructor' && !Object.hasOwn(cover, key)) coverProperty(cover, key, Object.getOwnPropertyDescriptor(level, key) ?? {}, kind, isFlat)
  }
  Object.defineProperty(cover, 'constructor', { value: prototype.constructor, configurable: true, writable: true })
  coverCopies(cover, kind)
  kind.addMethods?.(cover, prototype)
  return cover
}

function coverProperty (cover: Target, key: PropertyKey, descriptor: PropertyDescriptor, kind: Kind, isFlat: boolean): void {
  const view = kind.views.get(key)
  if (descriptor.get !== undefined && (view !== undefined || !kind.isFree(key, Object.getPrototypeOf(cover) as Target))) coverGetter(cover, key, descriptor.get, descriptor.set, kind, view)
  else if (isFlat) Object.defineProperty(cover, key, { ...descriptor, configurable: true, ...'value' in descriptor ? { writable: true } : {} })
}

function coverGetter (cover: Target, key: PropertyKey, original: () => unknown, originalSet: ((value: unknown) => void) | undefined, kind: Kind, view: View | undefined): void {
  const prototype = Object.getPrototypeOf(cover) as object
  const name = `${kind.name}.${String(key)}`
  // A function of its own: the getter creates no closure, and so no context, for objects that are not tracked.
  const readTracked = (target: Tracked, tracker: ReadListener) => {
    const read = () => original.call(target)
    if (view !== undefined) return view(tracker, read, target)
    report(kind, tracker, key, name)
    return tracker.withoutTracking(read)
  }
  Object.defineProperty(cover, key, {
    configurable: true,
    get (this: Tracked) {
      const tracker = this[slotKey]?.tracker
      return tracker === undefined ? original.call(this) : readTracked(this, tracker)
    },
    set: originalSet ?? function set (this: Tracked, value: unknown) { Reflect.set(prototype, key, value, this) }
  })
}

/** `util.inspect` and `JSON.stringify` read all properties of an object. They get a copy without accessors. What the console prints is not tracked. */
function coverCopies (cover: Target, kind: Kind): void {
  Object.defineProperty(cover, inspect.custom, { configurable: true, writable: true, value (this: Tracked) { return inspected(this, kind) } })
  Object.defineProperty(cover, 'toJSON', {
    configurable: true,
    get (this: Tracked) {
      const tracker = this[slotKey]?.tracker
      return tracker === undefined || tracker.isPaused ? undefined : () => copyWhole(this, kind)
    },
    set (this: Tracked, value: unknown) { Object.defineProperty(this, 'toJSON', { value, configurable: true, enumerable: true, writable: true }) }
  })
}

function inspected (target: Tracked, kind: Kind): object {
  // A prototype, which `showHidden` shows: its getters are those of no message.
  if (Object.hasOwn(target, 'constructor')) return target
  return isPrintedByConsole() ? copyUntracked(target, kind) : copyWhole(target, kind)
}

function copyWhole (target: Tracked, kind: Kind): object {
  trackerOf(target)?.note(`all of ${kind.name}`)
  return copyUntracked(target, kind)
}

function copyUntracked (target: Tracked, kind: Kind): object {
  const tracker = trackerOf(target)
  return tracker === undefined ? copyOf(target, kind) : tracker.withoutTracking(() => copyOf(target, kind))
}

function copyOf (target: Tracked, kind: Kind): object {
  const { prototype } = target.constructor as unknown as { prototype: object }
  const copy = Object.create(prototype) as Target
  const keys = new Set<PropertyKey>([...kind.accessors ?? [], ...Reflect.ownKeys(target), ...target[slotKey]?.moved?.keys() ?? []])
  keys.delete(slotKey)
  for (const key of keys) {
    const isEnumerable = Object.getOwnPropertyDescriptor(target, key)?.enumerable ?? target[slotKey]?.moved?.get(key)?.enumerable ?? true
    if (key in target) Object.defineProperty(copy, key, { value: target[key], configurable: true, enumerable: isEnumerable, writable: true })
  }
  return copy
}

/** Names of the inherited getters: of Fastify or Node, and of decorators. */
export function gettersOf (prototype: object): Set<PropertyKey> {
  const names = new Set<PropertyKey>()
  for (let level: object | null = prototype; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level) as object | null) {
    for (const key of Reflect.ownKeys(level)) if (Object.getOwnPropertyDescriptor(level, key)?.get !== undefined) names.add(key)
  }
  return names
}

/** The tracker of an object that code reads. */
export function trackerOf (target: unknown): ReadListener | undefined {
  return (target as Tracked | undefined)?.[slotKey]?.tracker
}
