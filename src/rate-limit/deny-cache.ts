import { LRUCache } from 'lru-cache'
import type { Quota, QuotaCost } from './quota.ts'
import type { QuotaStatus } from './script-reply.ts'

/** A rejection by Redis of a request with this quota: clients with different quotas may share a counter; instants of `steadyMs()`. */
interface Denial {
  readonly quota: Quota
  readonly cost: number
  readonly remaining: number
  readonly resetAt: number
  readonly retryAt: number
  /** when to verify the denial in Redis: another process may have reset the counter */
  verifyAt: number
}

const maxDenials = 10_000
const verifyEveryMs = 10_000

/**
 * Stores rejections until the time that Redis returned: further requests of the client are rejected without Redis.
 *
 * Times count from the request to Redis, so that an entry expires up to a round trip early and never late.
 */
export class DenyCache {
  /** Created with the first denial: it allocates all of its entries at once. */
  #denials: LRUCache<string, Denial> | undefined

  /** No client is denied. */
  get isEmpty (): boolean {
    return this.#denials === undefined || this.#denials.size === 0
  }

  /** The status that denies a request of this quota and cost; undefined if the request may be allowed. */
  status (key: string, { quota, cost }: QuotaCost, now: number): QuotaStatus | undefined {
    const denial = this.#denials?.get(key)
    if (denial === undefined || cost < denial.cost || !isSame(quota, denial.quota)) return undefined
    if (denial.retryAt > now) return { remaining: denial.remaining, resetMs: Math.max(0, denial.resetAt - now), retryMs: denial.retryAt - now }
    this.#denials?.delete(key)
    return undefined
  }

  /** Stores a rejection. @param sentAt when the check was sent, of `steadyMs()` */
  add (key: string, { quota, cost }: QuotaCost, status: QuotaStatus, sentAt: number): void {
    this.#denials ??= new LRUCache({ max: maxDenials })
    this.#denials.set(key, { quota, cost, remaining: status.remaining, resetAt: sentAt + status.resetMs, retryAt: sentAt + status.retryMs, verifyAt: sentAt + verifyEveryMs })
  }

  /** Whether a denial is due to be verified in Redis; true for one caller per interval. */
  isDue (key: string, now: number): boolean {
    const denial = this.#denials?.get(key)
    if (denial === undefined || denial.verifyAt > now) return false
    denial.verifyAt = now + verifyEveryMs
    return true
  }

  delete (key: string): void {
    this.#denials?.delete(key)
  }
}

function isSame (one: Quota, other: Quota): boolean {
  return one === other || (one.quota === other.quota && one.windowMs === other.windowMs && one.algorithm === other.algorithm && one.bucketOrBurst === other.bucketOrBurst)
}
