/** Whoever has neither answered nor failed by then is not counted any more. */
const longestMs = 30_000

/** How many runs of a route's handler go on at once in this process, where that is bounded. */
export class Semaphore {
  readonly #most: number
  #taken = 0

  /** @param most undefined: no bound, and nothing is counted */
  constructor (most: number | undefined) {
    this.#most = most ?? Infinity
  }

  get isFull (): boolean {
    return this.#taken >= this.#most
  }

  /** @returns gives the place back; only the first call counts */
  acquire (): (() => void) | undefined {
    if (this.#most === Infinity) return undefined
    this.#taken += 1
    const timer = setTimeout(() => free(), longestMs).unref()
    let isFree = false
    const free = () => {
      clearTimeout(timer)
      if (!isFree) this.#taken -= 1
      isFree = true
    }
    return free
  }
}
