import { TwoGenerationLru } from '../../shared/lru.ts'
import type { FillLocks, AcquireStatus } from './fill-lock.ts'
import type { StoredMeta, Lookup } from '../lookup/lookup.ts'
import type { CacheStore } from '../storage/cache-store.ts'

/** So many keys are remembered that were found lately; of one that is forgotten Redis is asked a little more. */
const rememberedHits = 10_000
/** Whoever has not come to the handler by then holds nobody up any longer. */
const longestMs = 50
/** After so long a lock that nobody renews may have ended: this process stood still. */
const lapsedMs = 500
/** After a reservation that came to nothing a route makes none for so long: who is refused time and again shall not hold others up each time. */
const restMs = 1000

const done = Promise.resolve()

/** A key's lock that was asked for along with a look. */
export interface PrefetchedLock {
  readonly name: string
  /** the route's */
  readonly pattern: string
  /** of the batch that asked */
  readonly tick: number
  /** settles once, and never rejects */
  answer: Promise<void>
  isAnswered: boolean
  /** undefined where the lock was not to be had, or nobody knows */
  taking: AcquireStatus | undefined
  /** as `performance.now()` counts */
  answeredAt: number
  /** whether somebody fills with it, or nobody shall any more */
  end: 'taken up' | 'given back' | undefined
}

/**
 * The locks that are asked for before limits, guards and validation have spoken, so that a miss waits for Redis once.
 * The first of this process to come to the handler takes a reservation up; where its own request is refused it is given back at once.
 */
export class PrefetchedLocks {
  readonly #locks: FillLocks
  readonly #store: CacheStore
  readonly #hits = new TwoGenerationLru<string, string>(rememberedHits)
  readonly #open = new Map<string, PrefetchedLock>()
  readonly #restUntil = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined

  constructor (locks: FillLocks, store: CacheStore) {
    this.#locks = locks
    this.#store = store
  }

  /** Asks for a key's lock, along with a look that leaves in this tick; not where a hit is expected, nor twice at a time. */
  begin (name: string, tags: readonly string[], pattern: string): PrefetchedLock | undefined {
    if (this.#hits.get(name) !== undefined || this.#open.has(name) || this.#store.isCluster || this.#isResting(pattern)) return undefined
    const prefetchedLock: PrefetchedLock = { name, pattern, tick: this.#store.tick, answer: done, isAnswered: false, taking: undefined, answeredAt: Infinity, end: undefined }
    this.#open.set(name, prefetchedLock)
    prefetchedLock.answer = this.#locks.reserve(name, tags).then((taking) => this.#heard(prefetchedLock, taking), () => this.#heard(prefetchedLock, undefined))
    return prefetchedLock
  }

  /** Something was found under a key: the next look expects the same. */
  noteHit (name: string): void {
    this.#hits.set(name, '')
  }

  /** Nothing was. */
  noteMiss (name: string): void {
    this.#hits.delete(name)
  }

  /** Takes up what is reserved for a key, if anything is. */
  claim (name: string): PrefetchedLock | undefined {
    const prefetchedLock = this.#open.get(name)
    if (prefetchedLock !== undefined) this.#end(prefetchedLock, 'taken up')
    return prefetchedLock
  }

  /**
   * What a reservation that was taken up and answered is good for: a fill must not begin before what its own look has seen.
   *
   * @returns undefined where it is good for nothing
   */
  validate (prefetchedLock: PrefetchedLock, { tick, minSequence, knownSequence = 0 }: Pick<Lookup<StoredMeta>, 'minSequence' | 'tick'> & { readonly knownSequence?: number | undefined }): AcquireStatus | undefined {
    const { taking } = prefetchedLock
    if (taking === undefined) return undefined
    const isYoung = tick === prefetchedLock.tick || (minSequence !== undefined && taking.sequence >= minSequence)
    const isLive = performance.now() - prefetchedLock.answeredAt < lapsedMs
    // Below what the look has seen it was set back: whoever takes the lock raises it.
    const isGood = isYoung && isLive && this.#store.isReady && taking.sequence >= knownSequence
    if (taking.word === 'taken') {
      if (isGood) this.#locks.startRenewing(taking.lock)
      else this.#locks.release(taking.lock, { isShared: true })
    }
    return isGood ? taking : undefined
  }

  /** Whoever asked for it will not fill: unless it was taken up, others may. */
  release (prefetchedLock: PrefetchedLock): void {
    if (prefetchedLock.end !== undefined) return
    this.#end(prefetchedLock, 'given back')
    if (prefetchedLock.isAnswered) this.#free(prefetchedLock)
  }

  close (): void {
    clearTimeout(this.#timer)
  }

  #isResting (pattern: string): boolean {
    const until = this.#restUntil.get(pattern)
    return until !== undefined && performance.now() < until
  }

  #heard (prefetchedLock: PrefetchedLock, taking: AcquireStatus | undefined): void {
    prefetchedLock.isAnswered = true
    prefetchedLock.taking = taking
    prefetchedLock.answeredAt = performance.now()
    if (prefetchedLock.end === 'given back') this.#free(prefetchedLock)
    else if (taking === undefined) this.#end(prefetchedLock, 'given back')
    else if (prefetchedLock.end === undefined) this.#watch()
  }

  #end (prefetchedLock: PrefetchedLock, end: 'taken up' | 'given back'): void {
    prefetchedLock.end ??= end
    if (this.#open.get(prefetchedLock.name) === prefetchedLock) this.#open.delete(prefetchedLock.name)
  }

  /** Frees a lock that nobody filled with. */
  #free ({ pattern, taking }: PrefetchedLock): void {
    if (taking?.word !== 'taken') return
    this.#restUntil.set(pattern, performance.now() + restMs)
    this.#locks.release(taking.lock, { isShared: true })
  }

  /** A guard may take its time, and a request may never end. */
  #watch (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      const before = performance.now() - longestMs
      for (const prefetchedLock of this.#open.values()) if (prefetchedLock.answeredAt <= before) this.release(prefetchedLock)
      if (this.#open.size > 0) this.#watch()
    }, longestMs).unref()
  }
}
