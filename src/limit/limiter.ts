import { RedisReplyError, RedisUnavailableError } from '../errors.ts'
import type { Batch } from '../redis/batch.ts'
import { LocalLimiter } from './local.ts'
import type { Failure } from './policy.ts'
import type { Quota } from './quota.ts'
import { LimitStore } from './store.ts'
import type { Standing } from './store.ts'

/** One counter that a request asks. */
export interface Claim {
  readonly key: string
  readonly quota: Quota
  readonly cost: number
  readonly failure: Failure
  /** counted, but not heeded: it asks apart from the others, and its refusal refuses nothing */
  readonly isObserved: boolean
}

/** What became of a request's claims. */
export interface Verdict {
  readonly isAllowed: boolean
  /** in the order of the claims; undefined where nobody knows */
  readonly standings: readonly (Standing | undefined)[]
}

/**
 * Counts in Redis, and in the process while Redis cannot be asked, as each claim's policy says.
 */
export class Limiter {
  #store: LimitStore
  #local = new LocalLimiter()

  constructor (batch: Batch) {
    this.#store = new LimitStore(batch)
  }

  /**
   * States what a request claims; all that are heeded are granted, or none. What is asked leaves with the tick.
   *
   * @returns waits for the verdict; throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where a policy is `closed`
   */
  ask (claims: readonly Claim[]): () => Promise<Verdict> {
    const heeded = claims.filter(({ isObserved }) => !isObserved)
    if (heeded.length === claims.length) return this.#askTogether(claims)
    const groups = [heeded, ...claims.filter(({ isObserved }) => isObserved).map((claim) => [claim])].filter((group) => group.length > 0)
    const asked = groups.map((group) => ({ group, answer: this.#askTogether(group) }))
    return async () => {
      const verdicts = await Promise.all(asked.map(({ answer }) => answer()))
      const standingOf = (claim: Claim) => asked.flatMap(({ group }, index) => group.flatMap((each, place) => each === claim ? [verdicts[index]?.standings[place]] : []))[0]
      return { isAllowed: heeded.length === 0 || verdicts[0]?.isAllowed === true, standings: claims.map(standingOf) }
    }
  }

  /** Redis is back: what was counted without it is forgotten. */
  recover (): void {
    this.#local.forget()
  }

  #askTogether (claims: readonly Claim[]): () => Promise<Verdict> {
    const answer = this.#store.take(claims.map(({ key }) => key), claims.map(({ quota }) => quota), claims.map(({ cost }) => cost))
    return async () => {
      try {
        return await answer()
      } catch (error) {
        if (error instanceof RedisUnavailableError || error instanceof RedisReplyError) return this.#withoutRedis(claims, error)
        throw error
      }
    }
  }

  #withoutRedis (claims: readonly Claim[], error: Error): Verdict {
    if (claims.some(({ failure }) => failure === 'closed')) throw error instanceof RedisUnavailableError ? error : new RedisUnavailableError('a counter could not be read')
    const counted = claims.filter(({ failure }) => failure === 'local')
    const taken = this.#local.take(counted.map(({ key }) => key), counted.map(({ quota }) => quota), counted.map(({ cost }) => cost))
    return { isAllowed: taken.isAllowed, standings: claims.map((claim) => taken.standings[counted.indexOf(claim)]) }
  }
}
