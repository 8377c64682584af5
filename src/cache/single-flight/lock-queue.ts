import type { Subscriber } from '../../redis/subscriber.ts'
import type { CacheStats } from '../stats.ts'
import type { FillOutcome, InProcessFill } from './in-process-fill.ts'
import type { FillLock, FillLocks, AcquireStatus, AcquireRequest, ReleaseReason } from './fill-lock.ts'

/** A waiting process retries the lock at this interval, so that an outage is noticed: three renewals of the lock. */
const retryMs = 300

/** Cross-process single flight: one process acquires the Redis lock for a key and runs the handler; the others wait for its result, the lock's expiry, or their own timeout. */
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
   * Waits until the lock is acquired or is not needed. After `until`, takes the lock over from its holder.
   * A process waits for one failing fill only: afterwards it runs the handler, whichever process has the lock then.
   *
   * @param until deadline on the `performance.now()` clock
   * @returns never `held`
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async acquireOrWait (name: string, request: AcquireRequest, until: number): Promise<AcquireStatus> {
    const waiter = this.#waiters.begin(name)
    try {
      for (let isFirst = true, hasFailed = false; ; isFirst = false) {
        waiter.forget()
        const acquisition = await this.#locks.acquire(name, request, true)
        if (acquisition.status !== 'held') return acquisition
        if (hasFailed) return { ...acquisition, status: 'failed' }
        const remainingWaitMs = until - performance.now()
        if (remainingWaitMs <= 0) return await this.#locks.acquire(name, { ...request, minSequence: Infinity }, true)
        if (isFirst) this.#stats.add('wait')
        // Retry when an unrenewed lock has expired. If Redis is silent, the retry fails within its own deadline and ends the wait.
        const wake = await waiter.next(Math.min(acquisition.remainingMs + 1, remainingWaitMs, retryMs))
        if (wake === 'kept') return { status: 'changed', sequence: acquisition.sequence, remainingMs: 0 }
        hasFailed = wake === 'failed'
      }
    } finally {
      waiter.end()
    }
  }

  /** Ends a fill that stores nothing and releases its lock. With `alone`, requests for the key bypass the lock for a time. A second call does nothing. */
  abandon<Result extends object> (fill: InProcessFill<Result> | undefined, outcome: FillOutcome<Result>): void {
    if (fill === undefined) return
    if (fill.lock !== undefined) this.#locks.release(fill.lock, releaseReasonOf(outcome))
    fill.lock = undefined
    fill.end(outcome)
  }

  /** Ends the lock after a write. store.lua releases it together with a successful write; after a failed one it is released here. */
  committed (fill: { lock: FillLock | undefined } | undefined, isKept: boolean): void {
    if (fill?.lock === undefined) return
    if (isKept) this.#locks.stopRenewing(fill.lock)
    else this.#locks.release(fill.lock, 'free')
  }

  /** Acquires a lock if it is free, without waiting. */
  async tryAcquire (name: string, request: AcquireRequest): Promise<AcquireStatus> {
    return await this.#locks.acquire(name, request, false)
  }

  /** Redis became unavailable: wakes all waiting requests. Their retry fails immediately, and they continue without Redis. */
  outage (): void {
    this.#waiters.wake()
  }

  close (): void {
    this.#waiters.close()
    this.#locks.close()
  }
}

/** A result that was not stored is a stale response, served because the handler failed. */
function releaseReasonOf (outcome: FillOutcome<object>): ReleaseReason {
  if (outcome === 'alone') return 'pass'
  return outcome === 'again' ? 'free' : 'failed'
}

/** `kept`: the entry was stored; `pass`: the response is not shareable; `free`: the lock was released; `failed`: it was released because the handler failed; `look`: retry, because a message may have been missed. */
type Wakeup = 'kept' | ReleaseReason | 'look'

/** One wait for the fill of another process. A message that arrives between `forget` and `next` is not lost. */
interface Waiter {
  forget (): void
  /** Resolves at the next message, or with `look` after `longestMs`. */
  next (longestMs: number): Promise<Wakeup>
  end (): void
}

/**
 * Waits for fills of other processes. One Redis channel carries the messages of all fills. It is subscribed at the first wait and never unsubscribed.
 * After each (re)subscription all waiting requests retry, because messages before it were missed.
 */
export class LockWaiters {
  readonly #subscriber: Subscriber
  readonly #channel: string
  readonly #byName = new Map<string, Set<(wake: Wakeup) => void>>()
  #isSubscribed = false

  constructor (subscriber: Subscriber, channel: string) {
    this.#subscriber = subscriber
    this.#channel = channel
  }

  /** Number of keys that are waited for. */
  get size (): number {
    return this.#byName.size
  }

  /** Registers for a key. Must be called before the lock is requested. */
  begin (name: string): Waiter {
    let received: Wakeup | undefined
    let wake: (() => void) | undefined
    const onWakeup = (word: Wakeup) => {
      received = word
      wake?.()
    }
    this.#add(name, onWakeup)
    return {
      forget: () => { received = undefined },
      next: async (longestMs) => {
        this.#subscribe()
        if (received !== undefined) return received
        const { promise, resolve } = Promise.withResolvers<void>()
        const timer = setTimeout(resolve, longestMs)
        wake = resolve
        await promise
        clearTimeout(timer)
        return received ?? 'look'
      },
      end: () => this.#remove(name, onWakeup)
    }
  }

  /** Wakes all waiting requests with `look`. */
  wake (): void {
    this.#notifyAll('look')
  }

  close (): void {
    this.#subscriber.close()
    this.#notifyAll('look')
  }

  #subscribe (): void {
    if (this.#isSubscribed) return
    this.#isSubscribed = true
    this.#subscriber.join(this.#channel, { onMessage: (message) => this.#onMessage(message), onSubscribed: () => this.#notifyAll('look') })
  }

  #onMessage (message: string): void {
    const end = message.indexOf(' ')
    const word = message.slice(0, end)
    const waiting = this.#byName.get(message.slice(end + 1))
    if (waiting === undefined) return
    for (const notify of waiting) notify(isWakeup(word) ? word : 'look')
  }

  #notifyAll (word: Wakeup): void {
    for (const waiting of this.#byName.values()) for (const notify of waiting) notify(word)
  }

  #add (name: string, notify: (word: Wakeup) => void): void {
    const waiting = this.#byName.get(name)
    if (waiting === undefined) this.#byName.set(name, new Set([notify]))
    else waiting.add(notify)
  }

  #remove (name: string, notify: (word: Wakeup) => void): void {
    const waiting = this.#byName.get(name)
    waiting?.delete(notify)
    if (waiting?.size === 0) this.#byName.delete(name)
  }
}

function isWakeup (word: string): word is Wakeup {
  return word === 'kept' || word === 'pass' || word === 'free' || word === 'failed'
}
