/** Limits of a {@link WorkQueue}. */
interface QueueBounds {
  /** maximum number of concurrent pieces of work */
  readonly atOnce: number
  /** longest accepted expected wait, in milliseconds */
  readonly maxWaitMs: number
  /** assumed duration of a piece until one was measured */
  readonly assumedMs: number
  /** error of a caller that would wait too long */
  readonly full: (seconds: number) => Error
  /** a monotonic clock in milliseconds; default `performance.now` */
  readonly now?: () => number
}

/** Weight of the last measurement in the average. */
const weight = 0.2

interface Waiter {
  readonly sinceMs: number
  readonly begin: () => void
  readonly refuse: (error: Error) => void
}

/**
 * Runs slow work with limited concurrency, and accepts only work that is expected to begin in time, by the work ahead of it and a moving average of the
 * duration.
 *
 * If the work becomes slower than expected, a caller that has waited twice the limit is rejected too.
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

  /** Expected wait of the next caller, in milliseconds. */
  get expectedWaitMs (): number {
    const { atOnce } = this.#bounds
    return this.#running < atOnce ? 0 : (this.#waiting.length + 1) * this.#averageMs / atOnce
  }

  /** @throws the error of `full`, with `retryAfterSeconds` */
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
