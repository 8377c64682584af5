import { LRUCache } from 'lru-cache'
import type { QuotaStatus } from './script-reply.ts'

/** Who has no room until when, on the clock of `performance.now()`. */
interface Refused {
  readonly cost: number
  readonly remaining: number
  readonly resetAt: number
  readonly retryAt: number
  /** when Redis is asked again whether this still stands: another process may have reset it */
  lookAt: number
}

const refusalsKept = 10_000
const lookEveryMs = 10_000

/**
 * Remembers who was refused, until the time that Redis named: a blocked client costs Redis nothing.
 *
 * A time counts from before Redis was asked, so it ends a round trip early rather than a millisecond late: then Redis decides.
 */
export class DenyCache {
  #refusals = new LRUCache<string, Refused>({ max: refusalsKept })

  /** Nobody is known to be refused. */
  get isEmpty (): boolean {
    return this.#refusals.size === 0
  }

  /** What a counter is known to say to a request of this cost; undefined when it may have room. */
  status (key: string, cost: number, now: number): QuotaStatus | undefined {
    const refused = this.#refusals.get(key)
    if (refused === undefined || cost < refused.cost) return undefined
    if (refused.retryAt > now) return { remaining: refused.remaining, resetMs: Math.max(0, refused.resetAt - now), retryMs: refused.retryAt - now }
    this.#refusals.delete(key)
    return undefined
  }

  /** Keeps a refusal that was asked for at an instant. */
  keep (key: string, cost: number, status: QuotaStatus, askedAt: number): void {
    this.#refusals.set(key, { cost, remaining: status.remaining, resetAt: askedAt + status.resetMs, retryAt: askedAt + status.retryMs, lookAt: askedAt + lookEveryMs })
  }

  /** Whether it is time to look whether a refusal still stands; true once, for one who looks. */
  isDue (key: string, now: number): boolean {
    const refused = this.#refusals.get(key)
    if (refused === undefined || refused.lookAt > now) return false
    refused.lookAt = now + lookEveryMs
    return true
  }

  delete (key: string): void {
    this.#refusals.delete(key)
  }
}
