/** One key, between one that came before it and one that came after. */
interface SieveNode {
  readonly name: string
  bytes: number
  /** milliseconds since 1970 */
  endsAt: number
  isAsked: boolean
  newer: SieveNode | undefined
  older: SieveNode | undefined
}

/**
 * Keys in the order they came, and which of them were asked for since: who must go is chosen as SIEVE does, without moving a key when it is asked for.
 * A hand goes from the oldest to the newest and round again; what was asked for since it came by stays, once.
 *
 * @see Zhang and others, "SIEVE is Simpler than LRU", NSDI 2024
 */
export class Sieve {
  readonly #most: number
  readonly #byName = new Map<string, SieveNode>()
  #oldest: SieveNode | undefined
  #newest: SieveNode | undefined
  #hand: SieveNode | undefined

  /** @param most keys that are held; with one more, one goes */
  constructor (most: number) {
    this.#most = most
  }

  get size (): number {
    return this.#byName.size
  }

  has (name: string): boolean {
    return this.#byName.has(name)
  }

  /** Notes that a key was asked for, if it is held. */
  asked (name: string): void {
    const held = this.#byName.get(name)
    if (held !== undefined) held.isAsked = true
  }

  add (name: string, bytes: number, endsAt: number): void {
    const before = this.#byName.get(name)
    if (before !== undefined) {
      before.bytes = bytes
      before.endsAt = endsAt
      return
    }
    if (this.#byName.size >= this.#most) this.take(Date.now())
    const held: SieveNode = { name, bytes, endsAt, isAsked: false, newer: undefined, older: this.#newest }
    if (this.#newest === undefined) this.#oldest = held
    else this.#newest.newer = held
    this.#newest = held
    this.#byName.set(name, held)
  }

  /**
   * Takes the next one that must go.
   *
   * @returns its name, and the bytes that it still holds: none once it has ended; undefined when there is none
   */
  take (now: number): { readonly name: string, readonly bytes: number } | undefined {
    let held = this.#hand ?? this.#oldest
    while (held !== undefined && held.isAsked && held.endsAt > now) {
      held.isAsked = false
      held = held.newer ?? this.#oldest
    }
    if (held === undefined) return undefined
    this.#hand = held.newer
    this.#remove(held)
    return { name: held.name, bytes: held.endsAt > now ? held.bytes : 0 }
  }

  #remove (held: SieveNode): void {
    this.#byName.delete(held.name)
    if (held.older === undefined) this.#oldest = held.newer
    else held.older.newer = held.newer
    if (held.newer === undefined) this.#newest = held.older
    else held.newer.older = held.older
  }
}
