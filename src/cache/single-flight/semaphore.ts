/** A slot that has not been released by then is released automatically. */
const maxHoldMs = 30_000

/** Limits the concurrent handler runs of a route in this process. */
export class Semaphore {
  readonly #limit: number
  #taken = 0

  /** @param limit undefined: unlimited */
  constructor (limit: number | undefined) {
    this.#limit = limit ?? Infinity
  }

  get isFull (): boolean {
    return this.#taken >= this.#limit
  }

  /** @returns releases the slot; later calls have no effect. Undefined if unlimited */
  acquire (): (() => void) | undefined {
    if (this.#limit === Infinity) return undefined
    this.#taken += 1
    const timer = setTimeout(() => release(), maxHoldMs).unref()
    let isReleased = false
    const release = () => {
      clearTimeout(timer)
      if (!isReleased) this.#taken -= 1
      isReleased = true
    }
    return release
  }
}
