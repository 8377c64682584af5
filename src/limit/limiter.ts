import { LRUCache } from 'lru-cache'
import { RedisUnavailableError } from '../errors.ts'
import { Answer } from '../redis/answer.ts'
import type { Hearer } from '../redis/answer.ts'
import type { Batch } from '../redis/batch.ts'
import { mayHaveRun } from '../redis/outage.ts'
import { noSession, takenOf } from './grants.ts'
import type { Grants, Standing } from './grants.ts'
import { LocalLimiter } from './local.ts'
import { Places } from './places.ts'
import type { Place } from './places.ts'
import type { Failure } from './policy.ts'
import { isPlace } from './quota.ts'
import type { Term } from './quota.ts'
import { leaseOf } from './row.ts'
import type { Claim as Ask, Row } from './row.ts'
import { Shield } from './shield.ts'
import { LimitStore } from './store.ts'
import type { Verdict } from './verdict.ts'

/** What a request claims of several counters: all of them, or none. */
export interface Claim extends Ask {
  /** for each term, what to do while Redis cannot be asked */
  readonly failures: readonly Failure[]
  /** what is claimed instead when the session is dead */
  readonly withoutSession?: () => Claim
}

const deadKept = 10_000
const deadForMs = 10_000

/**
 * Counts in Redis; in memory, whoever Redis has refused until a time; and in the process, as each policy says, while Redis cannot be asked.
 */
export class Limiter {
  readonly store: LimitStore
  readonly #places: Places
  #local = new LocalLimiter()
  #shield = new Shield()
  /** sessions that Redis did not know: their cookies count for nothing */
  #dead = new LRUCache<string, true>({ max: deadKept, ttl: deadForMs })

  readonly #judges: Judges = {
    judge: (claim, grants, row, place) => this.#judge(claim, grants, row, place),
    withoutRedis: (claim, error, row, place) => this.#withoutRedis(claim, error, row, place)
  }

  constructor (batch: Batch) {
    this.store = new LimitStore(batch)
    this.#places = new Places(batch, () => this.store.deadlineMs())
  }

  /**
   * States what a request claims; what Redis is asked leaves with the tick.
   *
   * @returns at once where memory knows; never rejects, for a request may end before it looks
   */
  ask (claim: Claim): Answer<Verdict> {
    if (claim.session !== undefined && claim.withoutSession !== undefined && this.#dead.has(nameOf(claim.session))) return this.#askAsStranger(claim.withoutSession)
    const shielded = this.#shield.isEmpty ? undefined : this.#shielded(claim)
    if (shielded !== undefined) return Answer.of(shielded)
    return new Hearing(claim, this.store.take(claim), this.#judges)
  }

  /** Forgets what was counted under these keys. */
  async reset (keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#shield.lift(key)
    await this.store.reset(keys)
    for (const key of keys) this.#shield.lift(key) // an answer may have come while the reset was under way
  }

  /** Redis is back, or is another: what is under way is told to it. */
  recover (): void {
    this.#places.recover()
  }

  close (): void {
    this.#places.close()
  }

  #judge (claim: Claim, grants: Grants, row: Row, place: number): Answer<Verdict> | Verdict {
    if (grants.granted === noSession && claim.session !== undefined && claim.withoutSession !== undefined) {
      // An ended session never lives again, but a Redis that lags behind may not know a new one yet.
      this.#dead.set(nameOf(claim.session), true)
      return this.#askAsStranger(claim.withoutSession)
    }
    const taken = takenOf(grants, place, claim.terms)
    if (!taken.isAllowed) this.#keep(claim, taken.standings, row.askedAt)
    else if (row.lease !== undefined) return { ...taken, places: this.#hold(claim, leaseOf(row.lease, place)) }
    return taken
  }

  #askAsStranger (withoutSession: () => Claim): Answer<Verdict> {
    return this.ask(withoutSession()).map((verdict) => ({ ...verdict, isStranger: true }))
  }

  #hold ({ keys, terms }: Claim, lease: string): Place[] {
    return keys.filter((_, index) => isPlaceAt(terms, index)).map((key) => this.#places.hold(key, lease))
  }

  #shielded ({ keys, terms }: Claim): Verdict | undefined {
    const now = performance.now()
    let standings: (Standing | undefined)[] | undefined
    for (let index = 0; index < keys.length; index++) {
      const standing = this.#shield.standing(keys[index] ?? '', terms[index]?.cost ?? 1, now)
      if (standing === undefined) continue
      standings ??= new Array<undefined>(keys.length)
      standings[index] = standing
      if (this.#shield.isDue(keys[index] ?? '', now)) this.#look(keys, terms, index)
    }
    return standings && { isAllowed: false, standings }
  }

  #keep ({ keys, terms }: Claim, standings: readonly Standing[], askedAt: number): void {
    standings.forEach((standing, index) => {
      if (standing.retryMs > 0 && !isPlaceAt(terms, index)) this.#shield.keep(keys[index] ?? '', terms[index]?.cost ?? 1, standing, askedAt)
    })
  }

  /** Another process may have reset this counter. */
  #look (keys: readonly string[], terms: Claim['terms'], index: number): void {
    this.store.peek({ keys: keys.slice(index, index + 1), terms: terms.slice(index, index + 1) })
      .then(({ isAllowed }) => { if (isAllowed) this.#shield.lift(keys[index] ?? '') }, () => {}) // without an answer, what is known stands
  }

  #withoutRedis ({ keys, terms, failures }: Claim, error: Error, { lease }: Row, place: number): Verdict {
    if (lease !== undefined && mayHaveRun(error)) keys.forEach((key, index) => { if (isPlaceAt(terms, index)) this.#places.doubt(key, leaseOf(lease, place)) })
    if (failures.includes('closed')) {
      const failure = error instanceof RedisUnavailableError ? error : new RedisUnavailableError('a counter could not be read')
      return { isAllowed: false, standings: failures.map(() => undefined), failure }
    }
    const counted = failures.flatMap((failure, index) => failure === 'local' ? [index] : [])
    const taken = this.#local.take(counted.map((index) => keys[index] ?? ''), counted.flatMap((index) => terms[index] ?? []))
    return { isAllowed: taken.isAllowed, standings: failures.map((_, index) => taken.standings[counted.indexOf(index)]), places: taken.places }
  }
}

/** Who says what becomes of a claim. */
interface Judges {
  judge (claim: Claim, grants: Grants, row: Row, place: number): Answer<Verdict> | Verdict
  withoutRedis (claim: Claim, error: Error, row: Row, place: number): Verdict
}

/** One claim that waits for Redis, and what becomes of it. */
class Hearing extends Answer<Verdict> implements Hearer<Grants> {
  readonly #claim: Claim
  readonly #row: Row
  readonly #place: number
  readonly #judges: Judges

  constructor (claim: Claim, row: Row, judges: Judges) {
    super()
    this.#claim = claim
    this.#row = row
    this.#judges = judges
    this.#place = row.join()
    row.hear(this)
  }

  answered (grants: Grants): void {
    try {
      const verdict = this.#judges.judge(this.#claim, grants, this.#row, this.#place)
      if (verdict instanceof Answer) verdict.hear({ answered: (verdict) => this.resolve(verdict), failed: (error) => this.reject(error) })
      else this.resolve(verdict)
    } catch (error) { // an app's own function, asked what a stranger costs
      this.reject(error as Error)
    }
  }

  failed (error: Error): void {
    this.resolve(this.#judges.withoutRedis(this.#claim, error, this.#row, this.#place))
  }
}

/** When a place is free again nobody knows, so no refusal for want of one is kept. */
function isPlaceAt (terms: readonly Term[], index: number): boolean {
  const term = terms[index]
  return term !== undefined && isPlace(term)
}

function nameOf ({ key, devices }: NonNullable<Claim['session']>): string {
  return `${key} ${devices.join(' ')}`
}
