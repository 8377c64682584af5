/**
 * Remembers what was used last, in two generations: a look costs one Map's, where a strict order of use costs a list's too.
 *
 * An entry that is not read while `max` others are added is removed; at most twice `max` are stored.
 */
export class TwoGenerationLru<Key, Value extends object | string> {
  readonly #max: number
  #young = new Map<Key, Value>()
  #old = new Map<Key, Value>()

  /** @param max least number of entries that it holds */
  constructor (max: number) {
    this.#max = max
  }

  /** Number of entries. */
  get size (): number {
    return this.#young.size + this.#old.size
  }

  get (key: Key): Value | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) {
      this.#old.delete(key)
      this.set(key, old)
    }
    return old
  }

  set (key: Key, value: Value): void {
    if (this.#young.size >= this.#max && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
    if (this.#old.size > 0) this.#old.delete(key)
  }

  delete (key: Key): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }
}
