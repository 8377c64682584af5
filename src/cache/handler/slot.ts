import type { ReadListener, Target } from './read-listener.ts'

/** The property under which an object that is tracked, or can be, keeps its {@link Slot}. */
export const slotKey = Symbol('prism.tracking')

export type Tracked = Target & { [slotKey]?: Slot | undefined }

/** What tracking keeps for one object. The fields are private, so that code that lists the symbols of a request finds no value in them. */
export class Slot {
  #tracker: ReadListener | undefined = undefined
  #held: Target | undefined = undefined
  #moved: Map<PropertyKey, PropertyDescriptor> | undefined = undefined
  readonly #values: unknown[] = []

  /** undefined while the object is not tracked */
  get tracker (): ReadListener | undefined {
    return this.#tracker
  }

  set tracker (tracker: ReadListener | undefined) {
    this.#tracker = tracker
  }

  /** values of the own properties that are accessors while the object is tracked */
  get held (): Target | undefined {
    return this.#held
  }

  set held (held: Target | undefined) {
    this.#held = held
  }

  /** own properties that are behind the prototype while the object is tracked */
  get moved (): Map<PropertyKey, PropertyDescriptor> | undefined {
    return this.#moved
  }

  set moved (moved: Map<PropertyKey, PropertyDescriptor> | undefined) {
    this.#moved = moved
  }

  /** the value of a property that the object's class has as an accessor, by the number of the accessor */
  value (index: number): unknown {
    return this.#values[index]
  }

  setValue (index: number, value: unknown): void {
    this.#values[index] = value
  }
}

/** The slot of an object. An object of a class that is not tracked gets one at its first run. */
export function slotOf (target: Tracked): Slot {
  const before = target[slotKey]
  if (before !== undefined) return before
  const slot = new Slot()
  target[slotKey] = slot
  return slot
}
