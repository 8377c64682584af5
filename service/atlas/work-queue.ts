/** How a {@link WorkQueue} is bounded. */
interface QueueBounds {
  /** pieces of work that run at once */
  readonly atOnce: number
  /** the longest expected wait that is let in, in milliseconds */
  readonly maxWaitMs: number
  /** how long one piece takes, as long as none was measured */
  readonly assumedMs: number
  /** the error of a caller that would wait too long */
  readonly full: (seconds: number) => Error
  /** milliseconds of a clock that only goes forward; default `performance.now` */
  readonly now?: () => number
}

/** How much the last measurement moves the average. */
const weight = 0.2

interface Waiter {
  readonly sinceMs: number
  readonly begin: () => void
  readonly refuse: (error: Error) => void
}

/**
 * Runs slow work some at a time, and lets wait only what is expected to begin in time: by the work that is ahead of it and a moving average of how long
 * that takes.
 *
 * Where the work becomes slower than expected, a caller that has waited twice the bound is refused too.
 */
export class WorkQueue {
  readonly #bounds: QueueBounds
  readonly #now: () => number
  readonly #waiting: Waiter[] = []
  #running = 0
  #averageMs: number

  constructor (bounds: QueueBounds) {
    this.#bounds = bounds
    this.#now = bounds.now ?? (() => performance.now())
    this.#averageMs = bounds.assumedMs
  }

  /** Milliseconds that the next caller is expected to wait. */
  get expectedWaitMs (): number {
    const { atOnce } = this.#bounds
    return this.#running < atOnce ? 0 : (this.#waiting.length + 1) * this.#averageMs / atOnce
  }

  /** @throws what `full` makes, with `retryAfterSeconds` */
  async run<Result> (work: () => Promise<Result>): Promise<Result> {
    if (this.expectedWaitMs > this.#bounds.maxWaitMs) throw this.#full()
    if (this.#running < this.#bounds.atOnce) this.#running++
    else await new Promise<void>((resolve, reject) => { this.#waiting.push({ sinceMs: this.#now(), begin: resolve, refuse: reject }) })
    const startedAtMs = this.#now()
    try {
      return await work()
    } finally {
      this.#averageMs += weight * (this.#now() - startedAtMs - this.#averageMs)
      this.#next()
    }
  }

  #next (): void {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (this.#now() - next.sinceMs <= 2 * this.#bounds.maxWaitMs) return next.begin()
      next.refuse(this.#full())
    }
    this.#running--
  }

  #full (): Error {
    const retryAfterSeconds = Math.max(1, Math.ceil(this.expectedWaitMs / 1000))
    return Object.assign(this.#bounds.full(retryAfterSeconds), { retryAfterSeconds })
  }
}
