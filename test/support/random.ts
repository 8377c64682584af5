/** Pseudo-random choices that a seed repeats. */
export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 to 1. @see https://gist.github.com/tommyettinger/46a874533244883189143505d203312c (mulberry32) */
  fraction (): number {
    this.#state = (this.#state + 0x6D2B79F5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number, both ends included. */
  integer (from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from + 1))
  }

  pick<Item> (items: readonly Item[]): Item {
    return items[this.integer(0, items.length - 1)] as Item
  }

  /** Between `from` and `to` items. */
  list<Item> (from: number, to: number, make: (index: number) => Item): Item[] {
    return Array.from({ length: this.integer(from, to) }, (_, index) => make(index))
  }

  isChosen (probability: number): boolean {
    return this.fraction() < probability
  }
}
