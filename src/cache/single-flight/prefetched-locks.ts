import { TwoGenerationLru } from '../../shared/lru.ts'
import type { FillLocks, AcquireStatus } from './fill-lock.ts'
import type { StoredMeta, Lookup } from '../lookup/lookup.ts'
import type { CacheStore } from '../storage/cache-store.ts'

/** Number of recently found keys that are remembered. For a forgotten one, a superfluous lock is requested. */
const maxRememberedHits = 10_000
/** A lock that no request has used by then is released. */
const unusedMs = 50
/** An unrenewed lock may have expired after this time, e.g. because the event loop was blocked. */
const maxAgeMs = 200
/** After an unused lock, its route prefetches none for this long, so that repeatedly rejected requests do not block others. */
const pauseMs = 1000

const done = Promise.resolve()

/** A lock requested in the same batch as a lookup. */
export interface PrefetchedLock {
  readonly name: string
  /** pattern of the route */
  readonly pattern: string
  /** tick of the batch that carries the request */
  readonly tick: number
  /** resolves once and never rejects */
  settled: Promise<void>
  isSettled: boolean
  /** undefined if the lock was not acquired or the outcome is unknown */
  acquisition: AcquireStatus | undefined
  /** on the `performance.now()` clock */
  repliedAt: number
  /** set once a request uses the lock, or it may not be used any more */
  end: 'claimed' | 'released' | undefined
}

/**
 * Locks requested together with the lookup, before rate limits, hooks and validation have run, so that a miss waits for Redis once.
 * The first request in this process that reaches the handler uses the prefetched lock. If the request that prefetched it is rejected, the lock is released immediately.
 */
export class PrefetchedLocks {
  readonly #locks: FillLocks
  readonly #store: CacheStore
  readonly #hits = new TwoGenerationLru<string, string>(maxRememberedHits)
  readonly #open = new Map<string, PrefetchedLock>()
  readonly #pausedUntil = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined

  constructor (locks: FillLocks, store: CacheStore) {
    this.#locks = locks
    this.#store = store
  }

  /** Requests a key's lock in the batch of the current tick, unless a hit is expected or a request for it is in flight. */
  begin (name: string, tags: readonly string[], pattern: string): PrefetchedLock | undefined {
    if (this.#hits.get(name) !== undefined || this.#open.has(name) || this.#store.isCluster || this.#isPaused(pattern)) return undefined
    const prefetchedLock: PrefetchedLock = { name, pattern, tick: this.#store.tick, settled: done, isSettled: false, acquisition: undefined, repliedAt: Infinity, end: undefined }
    this.#open.set(name, prefetchedLock)
    prefetchedLock.settled = this.#locks.reserve(name, tags).then((acquisition) => this.#onReply(prefetchedLock, acquisition), () => this.#onReply(prefetchedLock, undefined))
    return prefetchedLock
  }

  /** The key was found: the next lookup expects a hit. */
  noteHit (name: string): void {
    this.#hits.set(name, '')
  }

  /** The key was not found. */
  noteMiss (name: string): void {
    this.#hits.delete(name)
  }

  /** Takes the prefetched lock of a key, if there is one. */
  claim (name: string): PrefetchedLock | undefined {
    const prefetchedLock = this.#open.get(name)
    if (prefetchedLock !== undefined) this.#end(prefetchedLock, 'claimed')
    return prefetchedLock
  }

  /**
   * Checks a claimed lock whose reply has arrived: its sequence must not be older than what the caller's lookup has read.
   *
   * @returns undefined if the lock cannot be used; it is then released
   */
  validate (prefetchedLock: PrefetchedLock, { tick, minSequence, minSequenceKnown = 0 }: Pick<Lookup<StoredMeta>, 'minSequence' | 'tick'> & { readonly minSequenceKnown?: number | undefined }): AcquireStatus | undefined {
    const { acquisition } = prefetchedLock
    if (acquisition === undefined) return undefined
    const isRecent = tick === prefetchedLock.tick || (minSequence !== undefined && acquisition.sequence >= minSequence)
    const isHeld = performance.now() - prefetchedLock.repliedAt < maxAgeMs
    // A sequence below the known minimum was lost and restored: `acquire` raises it.
    const isUsable = isRecent && isHeld && this.#store.isReady && acquisition.sequence >= minSequenceKnown
    if (acquisition.status === 'taken') {
      if (isUsable) this.#locks.startRenewing(acquisition.lock)
      else this.#locks.release(acquisition.lock, 'free')
    }
    return isUsable ? acquisition : undefined
  }

  /** The request that prefetched the lock does not fill: releases the lock, unless another request has claimed it. */
  release (prefetchedLock: PrefetchedLock): void {
    if (prefetchedLock.end !== undefined) return
    this.#end(prefetchedLock, 'released')
    if (prefetchedLock.isSettled) this.#releaseUnused(prefetchedLock)
  }

  close (): void {
    clearTimeout(this.#timer)
  }

  #isPaused (pattern: string): boolean {
    const until = this.#pausedUntil.get(pattern)
    return until !== undefined && performance.now() < until
  }

  #onReply (prefetchedLock: PrefetchedLock, acquisition: AcquireStatus | undefined): void {
    prefetchedLock.isSettled = true
    prefetchedLock.acquisition = acquisition
    prefetchedLock.repliedAt = performance.now()
    if (prefetchedLock.end === 'released') this.#releaseUnused(prefetchedLock)
    else if (acquisition === undefined) this.#end(prefetchedLock, 'released')
    else if (prefetchedLock.end === undefined) this.#scheduleTimeout()
  }

  #end (prefetchedLock: PrefetchedLock, end: 'claimed' | 'released'): void {
    prefetchedLock.end ??= end
    if (this.#open.get(prefetchedLock.name) === prefetchedLock) this.#open.delete(prefetchedLock.name)
  }

  /** Releases an unused lock in Redis. */
  #releaseUnused ({ pattern, acquisition }: PrefetchedLock): void {
    if (acquisition?.status !== 'taken') return
    this.#pausedUntil.set(pattern, performance.now() + pauseMs)
    this.#locks.release(acquisition.lock, 'free')
  }

  /** Releases unused locks after a timeout: a hook may be slow, and a request may never end. */
  #scheduleTimeout (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      const before = performance.now() - unusedMs
      for (const prefetchedLock of this.#open.values()) if (prefetchedLock.repliedAt <= before) this.release(prefetchedLock)
      if (this.#open.size > 0) this.#scheduleTimeout()
    }, unusedMs).unref()
  }
}
