import { LRUCache } from 'lru-cache'
import { RedisUnavailableError } from '../shared/errors.ts'
import { PendingReply } from '../redis/batch/pending-reply.ts'
import type { ReplyListener } from '../redis/batch/pending-reply.ts'
import type { Batch } from '../redis/batch/batch.ts'
import { outcomeUnknown } from '../redis/health/error-class.ts'
import { noSession, decisionOf } from './script-reply.ts'
import type { ScriptReply, QuotaStatus } from './script-reply.ts'
import { LocalFallback } from './local-fallback.ts'
import { ConcurrencySlots } from './concurrency-slots.ts'
import type { Slot } from './concurrency-slots.ts'
import type { FailureMode } from './options.ts'
import { isConcurrency } from './quota.ts'
import type { QuotaCost } from './quota.ts'
import { leaseOf } from './coalesced-check.ts'
import type { QuotaRequest, CoalescedCheck } from './coalesced-check.ts'
import { DenyCache } from './deny-cache.ts'
import { LimitStore } from './redis-store.ts'
import type { RequestDecision } from './decision.ts'
import { steadyMs } from '../shared/clock.ts'

/** A check of several quotas: all are consumed, or none. */
export interface CheckRequest extends QuotaRequest {
  /** the failure mode of each quota */
  readonly failureModes: readonly FailureMode[]
  /** the check to make instead if the session has ended */
  readonly withoutSession?: () => CheckRequest
}

const maxInvalidSessions = 10_000
const invalidSessionTtlMs = 10_000

/** Checks the quotas of a request. */
export interface QuotaChecker {
  check (request: CheckRequest): PendingReply<RequestDecision>
}

/**
 * Checks quotas in Redis. Rejects denied clients from the deny cache, and applies the policies' failure modes while Redis is unavailable.
 */
export class Limiter {
  readonly store: LimitStore
  readonly #slots: ConcurrencySlots
  #fallback = new LocalFallback()
  #denyCache = new DenyCache()
  /** sessions that do not exist in Redis: requests with their cookies are counted as anonymous; created by the first of them */
  #invalidSessions: LRUCache<string, true> | undefined

  readonly #decisionMaker: DecisionMaker = {
    decide: (request, reply, check, position) => this.#decide(request, reply, check, position),
    withoutRedis: (request, error, check, position) => this.#withoutRedis(request, error, check, position)
  }

  /** Decides by failure mode without a command to Redis: for a request for which Redis has already failed. */
  readonly offline: QuotaChecker = {
    check: (request) => PendingReply.of(this.#withoutRedis(request, new RedisUnavailableError('it has failed for this request'), undefined, 0))
  }

  constructor (batch: Batch) {
    this.store = new LimitStore(batch)
    this.#slots = new ConcurrencySlots(batch, () => this.store.deadlineMs())
  }

  /**
   * Checks a request's quotas; the operation is sent at the end of the tick.
   *
   * @returns resolved already if the deny cache decides; a Redis failure resolves by failure mode, and does not reject
   */
  check (request: CheckRequest): PendingReply<RequestDecision> {
    if (request.session !== undefined && request.withoutSession !== undefined && this.#invalidSessions?.has(nameOf(request.session))) return this.#checkAsAnonymous(request.withoutSession)
    const denied = this.#denyCache.isEmpty ? undefined : this.#denied(request)
    if (denied !== undefined) return PendingReply.of(denied)
    return new PendingDecision(request, this.store.consume(request), this.#decisionMaker)
  }

  /** Deletes the counters of these keys. */
  async reset (keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#denyCache.delete(key)
    await this.store.reset(keys)
    for (const key of keys) this.#denyCache.delete(key) // a reply may have arrived during the reset
  }

  /** Redis is available again or was replaced: renews the held slots. */
  recover (): void {
    this.#slots.recover()
  }

  close (): void {
    this.#slots.close()
  }

  #decide (request: CheckRequest, reply: ScriptReply, check: CoalescedCheck, position: number): PendingReply<RequestDecision> | RequestDecision {
    if (reply.granted === noSession && request.session !== undefined && request.withoutSession !== undefined) {
      // Limited to 10 s: an ended session never becomes valid, but a replica that lags may not have a new one yet.
      this.#invalidSessions ??= new LRUCache({ max: maxInvalidSessions, ttl: invalidSessionTtlMs })
      this.#invalidSessions.set(nameOf(request.session), true)
      return this.#checkAsAnonymous(request.withoutSession)
    }
    const decision = decisionOf(reply, position, request.costs)
    if (!decision.isAllowed) this.#storeDenials(request, decision.statuses, check.sentAt)
    else if (check.lease !== undefined) return { ...decision, slots: this.#trackSlots(request, leaseOf(check.lease, position)) }
    return decision
  }

  #checkAsAnonymous (withoutSession: () => CheckRequest): PendingReply<RequestDecision> {
    return this.check(withoutSession()).map((decision) => ({ ...decision, isAnonymous: true }))
  }

  #trackSlots ({ keys, costs }: CheckRequest, lease: string): Slot[] {
    return keys.filter((_, index) => isConcurrencyAt(costs, index)).map((key) => this.#slots.track(key, lease))
  }

  #denied ({ keys, costs }: CheckRequest): RequestDecision | undefined {
    const now = steadyMs()
    let statuses: (QuotaStatus | undefined)[] | undefined
    for (let index = 0; index < keys.length; index++) {
      const cost = costs[index]
      const status = cost && this.#denyCache.status(keys[index] ?? '', cost, now)
      if (status === undefined) continue
      statuses ??= new Array<undefined>(keys.length)
      statuses[index] = status
      if (this.#denyCache.isDue(keys[index] ?? '', now)) this.#verifyDenial(keys, costs, index)
    }
    return statuses && { isAllowed: false, statuses }
  }

  #storeDenials ({ keys, costs }: CheckRequest, statuses: readonly QuotaStatus[], sentAt: number): void {
    statuses.forEach((status, index) => {
      const cost = costs[index]
      if (cost !== undefined && status.retryMs > 0 && !isConcurrency(cost)) this.#denyCache.add(keys[index] ?? '', cost, status, sentAt)
    })
  }

  /** Another process may have reset this counter. */
  #verifyDenial (keys: readonly string[], costs: CheckRequest['costs'], index: number): void {
    this.store.peek({ keys: keys.slice(index, index + 1), costs: costs.slice(index, index + 1) })
      .then(({ isAllowed }) => { if (isAllowed) this.#denyCache.delete(keys[index] ?? '') }, () => {}) // without a reply the denial stays
  }

  #withoutRedis ({ keys, costs, failureModes }: CheckRequest, error: Error, check: CoalescedCheck | undefined, position: number): RequestDecision {
    const lease = check?.lease
    if (lease !== undefined && outcomeUnknown(error)) keys.forEach((key, index) => { if (isConcurrencyAt(costs, index)) this.#slots.releaseUnconfirmed(key, leaseOf(lease, position)) })
    if (failureModes.includes('closed')) {
      const failure = error instanceof RedisUnavailableError ? error : new RedisUnavailableError('a counter could not be read')
      return { isAllowed: false, statuses: failureModes.map(() => undefined), failure }
    }
    const counted = failureModes.flatMap((failure, index) => failure === 'local' ? [index] : [])
    const local = this.#fallback.consume(counted.map((index) => keys[index] ?? ''), counted.flatMap((index) => costs[index] ?? []))
    return { isAllowed: local.isAllowed, statuses: failureModes.map((_, index) => local.statuses[counted.indexOf(index)]), slots: local.slots, hasRedisFailed: true }
  }
}

/** Turns a reply or a failure into a decision. */
interface DecisionMaker {
  decide (request: CheckRequest, reply: ScriptReply, check: CoalescedCheck, position: number): PendingReply<RequestDecision> | RequestDecision
  withoutRedis (request: CheckRequest, error: Error, check: CoalescedCheck, position: number): RequestDecision
}

/** A check that waits for Redis. */
class PendingDecision extends PendingReply<RequestDecision> implements ReplyListener<ScriptReply> {
  readonly #request: CheckRequest
  readonly #check: CoalescedCheck
  readonly #position: number
  readonly #decisionMaker: DecisionMaker

  constructor (request: CheckRequest, check: CoalescedCheck, decisionMaker: DecisionMaker) {
    super()
    this.#request = request
    this.#check = check
    this.#decisionMaker = decisionMaker
    this.#position = check.add()
    check.subscribe(this)
  }

  onReply (reply: ScriptReply): void {
    try {
      const decision = this.#decisionMaker.decide(this.#request, reply, this.#check, this.#position)
      if (decision instanceof PendingReply) decision.subscribe({ onReply: (decision) => this.resolve(decision), onError: (error) => this.reject(error) })
      else this.resolve(decision)
    } catch (error) { // thrown by an app's function for the anonymous check
      this.reject(error as Error)
    }
  }

  onError (error: Error): void {
    this.resolve(this.#decisionMaker.withoutRedis(this.#request, error, this.#check, this.#position))
  }
}

/** Rejections by a concurrency limit are not cached: when a slot is released is unknown. */
function isConcurrencyAt (costs: readonly QuotaCost[], index: number): boolean {
  const cost = costs[index]
  return cost !== undefined && isConcurrency(cost)
}

function nameOf ({ key, devices }: NonNullable<CheckRequest['session']>): string {
  return `${key} ${devices.join(' ')}`
}
