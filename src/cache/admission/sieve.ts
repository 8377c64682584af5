/** A key in the queue. */
interface SieveNode {
  readonly name: string
  bytes: number
  /** milliseconds since 1970 */
  endsAt: number
  isVisited: boolean
  newer: SieveNode | undefined
  older: SieveNode | undefined
}

/**
 * SIEVE eviction: keys in insertion order, with a visited bit that a request sets. A hand moves from the oldest to the newest key and starts over;
 * it clears the visited bit of visited keys and evicts the first key without it. A request moves no key.
 *
 * @see Zhang and others, "SIEVE is Simpler than LRU", NSDI 2024
 */
export class Sieve {
  readonly #maxKeys: number
  readonly #byName = new Map<string, SieveNode>()
  #oldest: SieveNode | undefined
  #newest: SieveNode | undefined
  #hand: SieveNode | undefined

  /** @param maxKeys maximum number of keys; adding another evicts one */
  constructor (maxKeys: number) {
    this.#maxKeys = maxKeys
  }

  get size (): number {
    return this.#byName.size
  }

  has (name: string): boolean {
    return this.#byName.has(name)
  }

  /** Marks a key as visited, if it is in the queue. */
  recordAccess (name: string): void {
    const node = this.#byName.get(name)
    if (node !== undefined) node.isVisited = true
  }

  add (name: string, bytes: number, endsAt: number): void {
    const before = this.#byName.get(name)
    if (before !== undefined) {
      before.bytes = bytes
      before.endsAt = endsAt
      return
    }
    if (this.#byName.size >= this.#maxKeys) this.take(Date.now())
    const node: SieveNode = { name, bytes, endsAt, isVisited: false, newer: undefined, older: this.#newest }
    if (this.#newest === undefined) this.#oldest = node
    else this.#newest.newer = node
    this.#newest = node
    this.#byName.set(name, node)
  }

  /**
   * Removes the next key to evict.
   *
   * @returns its name, and the bytes that its eviction frees: 0 if it has expired; undefined if the queue is empty
   */
  take (now: number): { readonly name: string, readonly bytes: number } | undefined {
    let node = this.#hand ?? this.#oldest
    while (node !== undefined && node.isVisited && node.endsAt > now) {
      node.isVisited = false
      node = node.newer ?? this.#oldest
    }
    if (node === undefined) return undefined
    this.#hand = node.newer
    this.#remove(node)
    return { name: node.name, bytes: node.endsAt > now ? node.bytes : 0 }
  }

  #remove (node: SieveNode): void {
    this.#byName.delete(node.name)
    if (node.older === undefined) this.#oldest = node.newer
    else node.older.newer = node.newer
    if (node.newer === undefined) this.#newest = node.older
    else node.newer.older = node.older
  }
}
