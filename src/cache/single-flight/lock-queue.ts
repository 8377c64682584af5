import type { CacheStats } from '../stats.ts'
import type { FillOutcome, InProcessFill } from './in-process-fill.ts'
import type { FillLock, FillLocks, AcquireStatus, AcquireRequest } from './fill-lock.ts'
import type { LockWaiters } from './lock-waiters.ts'

/** A process that waits for another one's fill asks Redis again after so long: about as often as the lock is renewed. */
const askAgainMs = 300

/** Where all processes come by before they run the handler for a key: one goes in, the others wait until it is out, or for as long as they care. */
export class LockQueue {
  readonly #locks: FillLocks
  readonly #waiters: LockWaiters
  readonly #stats: CacheStats

  constructor (locks: FillLocks, waiters: LockWaiters, stats: CacheStats) {
    this.#locks = locks
    this.#waiters = waiters
    this.#stats = stats
  }

  /**
   * Waits until the lock is taken, or need not be. Whoever is out of patience takes it from its holder.
   *
   * @param until as `performance.now()` counts
   * @returns never `held`
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async acquireOrWait (name: string, wish: AcquireRequest, until: number): Promise<AcquireStatus> {
    const waiter = this.#waiters.begin(name)
    try {
      for (let isFirst = true; ; isFirst = false) {
        waiter.forget()
        const taking = await this.#locks.acquire(name, wish)
        if (taking.word !== 'held') return taking
        const patienceMs = until - performance.now()
        if (patienceMs <= 0) return await this.#locks.acquire(name, { ...wish, minSequence: Infinity })
        if (isFirst) this.#stats.add('wait')
        // A lock that is not renewed has ended by then; and a Redis that has gone silent tells nothing: it is asked, and the wait fails within its deadline.
        const wake = await waiter.next(Math.min(taking.leftMs + 1, patienceMs, askAgainMs))
        if (wake === 'kept') return { word: 'changed', sequence: taking.sequence, leftMs: 0 }
      }
    } finally {
      waiter.end()
    }
  }

  /** Ends a fill that keeps nothing: the lock is given back, and where answers are not to be shared nobody waits for the next one. */
  abandon<Result extends object> (fill: InProcessFill<Result> | undefined, ending: FillOutcome<Result>): void {
    if (fill?.lock !== undefined) this.#locks.release(fill.lock, { isShared: ending !== 'alone' })
    fill?.end(ending)
  }

  /** An answer was kept under the fill's own key, and the lock given back with it; or it was not, and somebody else may try. */
  committed (fill: { readonly lock: FillLock | undefined } | undefined, isKept: boolean): void {
    if (fill?.lock === undefined) return
    if (isKept) this.#locks.stopRenewing(fill.lock)
    else this.#locks.release(fill.lock, { isShared: true })
  }

  /** Takes a lock if it is free, and waits for nobody. */
  async tryAcquire (name: string, wish: AcquireRequest): Promise<AcquireStatus> {
    return await this.#locks.acquire(name, wish)
  }

  /** Redis cannot be asked: all who wait ask now, which fails at once, and answer otherwise. */
  outage (): void {
    this.#waiters.wake()
  }

  close (): void {
    this.#waiters.close()
    this.#locks.close()
  }
}
