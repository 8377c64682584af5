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
import type { Failure } from './options.ts'
import { isConcurrency } from './quota.ts'
import type { QuotaCost } from './quota.ts'
import { leaseOf } from './coalesced-check.ts'
import type { QuotaRequest as Ask, CoalescedCheck } from './coalesced-check.ts'
import { DenyCache } from './deny-cache.ts'
import { LimitStore } from './redis-store.ts'
import type { RequestDecision } from './decision.ts'

/** What a request claims of several counters: all of them, or none. */
export interface CheckRequest extends Ask {
  /** for each term, what to do while Redis cannot be asked */
  readonly failures: readonly Failure[]
  /** what is claimed instead when the session is dead */
  readonly withoutSession?: () => CheckRequest
}

const deadKept = 10_000
const deadForMs = 10_000

/**
 * Counts in Redis; in memory, whoever Redis has refused until a time; and in the process, as each policy says, while Redis cannot be asked.
 */
export class Limiter {
  readonly store: LimitStore
  readonly #slots: ConcurrencySlots
  #fallback = new LocalFallback()
  #denyCache = new DenyCache()
  /** sessions that Redis did not know: their cookies count for nothing */
  #deadSessions = new LRUCache<string, true>({ max: deadKept, ttl: deadForMs })

  readonly #judges: DecisionMaker = {
    decide: (request, reply, check, place) => this.#decide(request, reply, check, place),
    withoutRedis: (request, error, check, place) => this.#withoutRedis(request, error, check, place)
  }

  constructor (batch: Batch) {
    this.store = new LimitStore(batch)
    this.#slots = new ConcurrencySlots(batch, () => this.store.deadlineMs())
  }

  /**
   * States what a request claims; what Redis is asked leaves with the tick.
   *
   * @returns at once where memory knows; never rejects, for a request may end before it looks
   */
  check (request: CheckRequest): PendingReply<RequestDecision> {
    if (request.session !== undefined && request.withoutSession !== undefined && this.#deadSessions.has(nameOf(request.session))) return this.#askAsStranger(request.withoutSession)
    const shielded = this.#denyCache.isEmpty ? undefined : this.#shielded(request)
    if (shielded !== undefined) return PendingReply.of(shielded)
    return new PendingDecision(request, this.store.take(request), this.#judges)
  }

  /** Forgets what was counted under these keys. */
  async reset (keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#denyCache.delete(key)
    await this.store.reset(keys)
    for (const key of keys) this.#denyCache.delete(key) // an answer may have come while the reset was under way
  }

  /** Redis is back, or is another: what is under way is told to it. */
  recover (): void {
    this.#slots.recover()
  }

  close (): void {
    this.#slots.close()
  }

  #decide (request: CheckRequest, reply: ScriptReply, check: CoalescedCheck, place: number): PendingReply<RequestDecision> | RequestDecision {
    if (reply.granted === noSession && request.session !== undefined && request.withoutSession !== undefined) {
      // An ended session never lives again, but a Redis that lags behind may not know a new one yet.
      this.#deadSessions.set(nameOf(request.session), true)
      return this.#askAsStranger(request.withoutSession)
    }
    const decision = decisionOf(reply, place, request.costs)
    if (!decision.isAllowed) this.#keep(request, decision.statuses, check.askedAt)
    else if (check.lease !== undefined) return { ...decision, slots: this.#hold(request, leaseOf(check.lease, place)) }
    return decision
  }

  #askAsStranger (withoutSession: () => CheckRequest): PendingReply<RequestDecision> {
    return this.check(withoutSession()).map((decision) => ({ ...decision, isStranger: true }))
  }

  #hold ({ keys, costs }: CheckRequest, lease: string): Slot[] {
    return keys.filter((_, index) => isPlaceAt(costs, index)).map((key) => this.#slots.hold(key, lease))
  }

  #shielded ({ keys, costs }: CheckRequest): RequestDecision | undefined {
    const now = performance.now()
    let statuses: (QuotaStatus | undefined)[] | undefined
    for (let index = 0; index < keys.length; index++) {
      const status = this.#denyCache.status(keys[index] ?? '', costs[index]?.cost ?? 1, now)
      if (status === undefined) continue
      statuses ??= new Array<undefined>(keys.length)
      statuses[index] = status
      if (this.#denyCache.isDue(keys[index] ?? '', now)) this.#look(keys, costs, index)
    }
    return statuses && { isAllowed: false, statuses }
  }

  #keep ({ keys, costs }: CheckRequest, statuses: readonly QuotaStatus[], askedAt: number): void {
    statuses.forEach((status, index) => {
      if (status.retryMs > 0 && !isPlaceAt(costs, index)) this.#denyCache.keep(keys[index] ?? '', costs[index]?.cost ?? 1, status, askedAt)
    })
  }

  /** Another process may have reset this counter. */
  #look (keys: readonly string[], costs: CheckRequest['costs'], index: number): void {
    this.store.peek({ keys: keys.slice(index, index + 1), costs: costs.slice(index, index + 1) })
      .then(({ isAllowed }) => { if (isAllowed) this.#denyCache.delete(keys[index] ?? '') }, () => {}) // without an answer, what is known stands
  }

  #withoutRedis ({ keys, costs, failures }: CheckRequest, error: Error, { lease }: CoalescedCheck, place: number): RequestDecision {
    if (lease !== undefined && outcomeUnknown(error)) keys.forEach((key, index) => { if (isPlaceAt(costs, index)) this.#slots.releaseUnconfirmed(key, leaseOf(lease, place)) })
    if (failures.includes('closed')) {
      const failure = error instanceof RedisUnavailableError ? error : new RedisUnavailableError('a counter could not be read')
      return { isAllowed: false, statuses: failures.map(() => undefined), failure }
    }
    const counted = failures.flatMap((failure, index) => failure === 'local' ? [index] : [])
    const taken = this.#fallback.take(counted.map((index) => keys[index] ?? ''), counted.flatMap((index) => costs[index] ?? []))
    return { isAllowed: taken.isAllowed, statuses: failures.map((_, index) => taken.statuses[counted.indexOf(index)]), slots: taken.slots }
  }
}

/** Who says what becomes of a claim. */
interface DecisionMaker {
  decide (request: CheckRequest, reply: ScriptReply, check: CoalescedCheck, place: number): PendingReply<RequestDecision> | RequestDecision
  withoutRedis (request: CheckRequest, error: Error, check: CoalescedCheck, place: number): RequestDecision
}

/** One claim that waits for Redis, and what becomes of it. */
class PendingDecision extends PendingReply<RequestDecision> implements ReplyListener<ScriptReply> {
  readonly #request: CheckRequest
  readonly #check: CoalescedCheck
  readonly #place: number
  readonly #judges: DecisionMaker

  constructor (request: CheckRequest, check: CoalescedCheck, judges: DecisionMaker) {
    super()
    this.#request = request
    this.#check = check
    this.#judges = judges
    this.#place = check.add()
    check.subscribe(this)
  }

  onReply (reply: ScriptReply): void {
    try {
      const decision = this.#judges.decide(this.#request, reply, this.#check, this.#place)
      if (decision instanceof PendingReply) decision.subscribe({ onReply: (decision) => this.resolve(decision), onError: (error) => this.reject(error) })
      else this.resolve(decision)
    } catch (error) { // an app's own function, asked what a stranger costs
      this.reject(error as Error)
    }
  }

  onError (error: Error): void {
    this.resolve(this.#judges.withoutRedis(this.#request, error, this.#check, this.#place))
  }
}

/** When a place is free again nobody knows, so no refusal for want of one is kept. */
function isPlaceAt (costs: readonly QuotaCost[], index: number): boolean {
  const cost = costs[index]
  return cost !== undefined && isConcurrency(cost)
}

function nameOf ({ key, devices }: NonNullable<CheckRequest['session']>): string {
  return `${key} ${devices.join(' ')}`
}
