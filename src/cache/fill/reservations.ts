import { Recent } from '../../recent.ts'
import type { Locks, Taking } from './lock.ts'
import type { Kept, Lookup } from '../lookup.ts'
import type { CacheStore } from '../store.ts'

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
export interface Reservation {
  readonly name: string
  /** the route's */
  readonly pattern: string
  /** of the batch that asked */
  readonly tick: number
  /** settles once, and never rejects */
  answer: Promise<void>
  isAnswered: boolean
  /** undefined where the lock was not to be had, or nobody knows */
  taking: Taking | undefined
  /** as `performance.now()` counts */
  answeredAt: number
  /** whether somebody fills with it, or nobody shall any more */
  end: 'taken up' | 'given back' | undefined
}

/**
 * The locks that are asked for before limits, guards and validation have spoken, so that a miss waits for Redis once.
 * The first of this process to come to the handler takes a reservation up; where its own request is refused it is given back at once.
 */
export class Reservations {
  readonly #locks: Locks
  readonly #store: CacheStore
  readonly #hits = new Recent<string, string>(rememberedHits)
  readonly #open = new Map<string, Reservation>()
  readonly #restUntil = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined

  constructor (locks: Locks, store: CacheStore) {
    this.#locks = locks
    this.#store = store
  }

  /** Asks for a key's lock, along with a look that leaves in this tick; not where a hit is expected, nor twice at a time. */
  begin (name: string, tags: readonly string[], pattern: string): Reservation | undefined {
    if (this.#hits.get(name) !== undefined || this.#open.has(name) || this.#store.isApart || this.#isResting(pattern)) return undefined
    const reservation: Reservation = { name, pattern, tick: this.#store.tick, answer: done, isAnswered: false, taking: undefined, answeredAt: Infinity, end: undefined }
    this.#open.set(name, reservation)
    reservation.answer = this.#locks.reserve(name, tags).then((taking) => this.#heard(reservation, taking), () => this.#heard(reservation, undefined))
    return reservation
  }

  /** Something was found under a key: the next look expects the same. */
  found (name: string): void {
    this.#hits.set(name, '')
  }

  /** Nothing was. */
  missed (name: string): void {
    this.#hits.delete(name)
  }

  /** Takes up what is reserved for a key, if anything is. */
  takeUp (name: string): Reservation | undefined {
    const reservation = this.#open.get(name)
    if (reservation !== undefined) this.#end(reservation, 'taken up')
    return reservation
  }

  /**
   * What a reservation that was taken up and answered is good for: a fill must not begin before what its own look has seen.
   *
   * @returns undefined where it is good for nothing
   */
  redeem (reservation: Reservation, { tick, requiredSequence, knownSequence = 0 }: Pick<Lookup<Kept>, 'requiredSequence' | 'tick'> & { readonly knownSequence?: number | undefined }): Taking | undefined {
    const { taking } = reservation
    if (taking === undefined) return undefined
    const isYoung = tick === reservation.tick || (requiredSequence !== undefined && taking.sequence >= requiredSequence)
    const isLive = performance.now() - reservation.answeredAt < lapsedMs
    // Below what the look has seen it was set back: whoever takes the lock raises it.
    const isGood = isYoung && isLive && this.#store.isReady && taking.sequence >= knownSequence
    if (taking.word === 'taken') {
      if (isGood) this.#locks.hold(taking.lock)
      else this.#locks.release(taking.lock, { isShared: true })
    }
    return isGood ? taking : undefined
  }

  /** Whoever asked for it will not fill: unless it was taken up, others may. */
  giveBack (reservation: Reservation): void {
    if (reservation.end !== undefined) return
    this.#end(reservation, 'given back')
    if (reservation.isAnswered) this.#free(reservation)
  }

  close (): void {
    clearTimeout(this.#timer)
  }

  #isResting (pattern: string): boolean {
    const until = this.#restUntil.get(pattern)
    return until !== undefined && performance.now() < until
  }

  #heard (reservation: Reservation, taking: Taking | undefined): void {
    reservation.isAnswered = true
    reservation.taking = taking
    reservation.answeredAt = performance.now()
    if (reservation.end === 'given back') this.#free(reservation)
    else if (taking === undefined) this.#end(reservation, 'given back')
    else if (reservation.end === undefined) this.#watch()
  }

  #end (reservation: Reservation, end: 'taken up' | 'given back'): void {
    reservation.end ??= end
    if (this.#open.get(reservation.name) === reservation) this.#open.delete(reservation.name)
  }

  /** Frees a lock that nobody filled with. */
  #free ({ pattern, taking }: Reservation): void {
    if (taking?.word !== 'taken') return
    this.#restUntil.set(pattern, performance.now() + restMs)
    this.#locks.release(taking.lock, { isShared: true })
  }

  /** A guard may take its time, and a request may never end. */
  #watch (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      const before = performance.now() - longestMs
      for (const reservation of this.#open.values()) if (reservation.answeredAt <= before) this.giveBack(reservation)
      if (this.#open.size > 0) this.#watch()
    }, longestMs).unref()
  }
}
