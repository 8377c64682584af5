/** A member of a sorted set; its name is in latin1, so that the order of its characters is the order of its bytes. */
export interface Member { readonly name: string, readonly score: number }

/** Members ordered by score, then by name. */
export class SortedSet {
  readonly #scores = new Map<string, number>()
  #ordered: Member[] | undefined

  get size (): number {
    return this.#scores.size
  }

  score (name: string): number | undefined {
    return this.#scores.get(name)
  }

  set (name: string, score: number): void {
    this.#scores.set(name, score)
    this.#ordered = undefined
  }

  delete (name: string): boolean {
    this.#ordered = undefined
    return this.#scores.delete(name)
  }

  get members (): readonly Member[] {
    this.#ordered ??= [...this.#scores].map(([name, score]) => ({ name, score })).sort((one, other) => one.score - other.score || (one.name < other.name ? -1 : 1))
    return this.#ordered
  }
}
