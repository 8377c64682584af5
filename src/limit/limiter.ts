import { LRUCache } from 'lru-cache'
import { RedisUnavailableError } from '../errors.ts'
import type { Batch } from '../redis/batch.ts'
import { LocalLimiter } from './local.ts'
import type { Failure } from './policy.ts'
import { Shield } from './shield.ts'
import { LimitStore, noSession, takenOf } from './store.ts'
import type { Claim as Ask, Grants, Standing } from './store.ts'

/** What a request claims of several counters: all of them, or none. */
export interface Claim extends Ask {
  /** for each term, what to do while Redis cannot be asked */
  readonly failures: readonly Failure[]
  /** what is claimed instead when the session is dead */
  readonly withoutSession?: () => Claim
}

/** What became of a claim. */
export interface Verdict {
  readonly isAllowed: boolean
  /** in the order of the terms; undefined where nobody knows */
  readonly standings: readonly (Standing | undefined)[]
  /** {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE, where a policy is `closed` and Redis could not be asked */
  readonly failure?: Error
}

const deadKept = 10_000
const deadForMs = 10_000

/**
 * Counts in Redis; in memory, whoever Redis has refused until a time; and in the process, as each policy says, while Redis cannot be asked.
 */
export class Limiter {
  readonly store: LimitStore
  #local = new LocalLimiter()
  #shield = new Shield()
  /** sessions that Redis did not know: their cookies count for nothing */
  #dead = new LRUCache<string, true>({ max: deadKept, ttl: deadForMs })

  constructor (batch: Batch) {
    this.store = new LimitStore(batch)
  }

  /**
   * States what a request claims; what Redis is asked leaves with the tick.
   *
   * @returns at once where memory knows; never rejects, for a request may end before it looks
   */
  ask (claim: Claim): Promise<Verdict> | Verdict {
    if (claim.session !== undefined && claim.withoutSession !== undefined && this.#dead.has(nameOf(claim.session))) return this.ask(claim.withoutSession())
    const shielded = this.#shielded(claim)
    if (shielded !== undefined) return shielded
    const { row, place } = this.store.take(claim)
    return row.grants.then((grants) => this.#judge(claim, grants, place, row.askedAt), (error: Error) => this.#withoutRedis(claim, error))
  }

  /** Forgets what was counted under these keys. */
  async reset (keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#shield.lift(key)
    await this.store.reset(keys)
    for (const key of keys) this.#shield.lift(key) // an answer may have come while the reset was under way
  }

  /** Redis is back: what was counted without it is forgotten. */
  recover (): void {
    this.#local.forget()
  }

  #judge (claim: Claim, grants: Grants, place: number, askedAt: number): Verdict | Promise<Verdict> {
    if (grants.granted === noSession && claim.session !== undefined && claim.withoutSession !== undefined) {
      // An ended session never lives again, but a Redis that lags behind may not know a new one yet.
      this.#dead.set(nameOf(claim.session), true)
      return this.ask(claim.withoutSession())
    }
    const taken = takenOf(grants, place, claim.terms)
    if (!taken.isAllowed) this.#keep(claim, taken.standings, askedAt)
    return taken
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
      if (standing.retryMs > 0) this.#shield.keep(keys[index] ?? '', terms[index]?.cost ?? 1, standing, askedAt)
    })
  }

  /** Another process may have reset this counter. */
  #look (keys: readonly string[], terms: Claim['terms'], index: number): void {
    this.store.peek({ keys: keys.slice(index, index + 1), terms: terms.slice(index, index + 1) })
      .then(({ isAllowed }) => { if (isAllowed) this.#shield.lift(keys[index] ?? '') }, () => {}) // without an answer, what is known stands
  }

  #withoutRedis ({ keys, terms, failures }: Claim, error: Error): Verdict {
    if (failures.includes('closed')) {
      const failure = error instanceof RedisUnavailableError ? error : new RedisUnavailableError('a counter could not be read')
      return { isAllowed: false, standings: failures.map(() => undefined), failure }
    }
    const counted = failures.flatMap((failure, index) => failure === 'local' ? [index] : [])
    const taken = this.#local.take(counted.map((index) => keys[index] ?? ''), counted.flatMap((index) => terms[index] ?? []))
    return { isAllowed: taken.isAllowed, standings: failures.map((_, index) => taken.standings[counted.indexOf(index)]) }
  }
}

function nameOf ({ key, devices }: NonNullable<Claim['session']>): string {
  return `${key} ${devices.join(' ')}`
}
