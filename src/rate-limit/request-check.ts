import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Limiter } from './limiter.ts'
import { asAnonymous } from './applied-policy.ts'
import type { Counted, IdentifiedClient } from './applied-policy.ts'
import type { RouteLimits, PolicyStatus } from './route-limits.ts'
import type { RequestDecision } from './decision.ts'

/** The checks of one request: of its route's limits, and of those that are checked later. */
export class RequestCheck<Request extends Counted, Reply> {
  readonly limits: RouteLimits<Request, Reply>
  /** the check of `limits`, possibly pending */
  readonly decision: PendingReply<RequestDecision>
  /** resolves whether the session is valid, if sessions are in another Redis; undefined if the check itself verifies it */
  readonly confirm: (() => Promise<boolean>) | undefined
  readonly #limiter: Limiter
  #client: IdentifiedClient
  readonly #isCluster: boolean
  /** checks after the first one */
  #later: PendingReply<RequestDecision>[] | undefined
  #first: RequestDecision | undefined
  #laterDecided: { readonly limits: RouteLimits<Request, Reply>, readonly decision: RequestDecision }[] | undefined
  #hasEnded = false

  /** Enqueues the check. */
  constructor (limits: RouteLimits<Request, Reply>, limiter: Limiter, request: Request, client: IdentifiedClient, isCluster: boolean) {
    this.limits = limits
    this.#limiter = limiter
    this.#client = client
    this.confirm = client.session?.confirm
    this.#isCluster = isCluster
    this.decision = limits.check(limiter, request, client, isCluster)
  }

  /**
   * Enqueues the check of a later stage, once it is known whether the session is valid.
   *
   * @param isLive whether the session is valid; where sessions are not in another Redis, the check of `preHandler` verifies it itself
   * @param hasRedisFailed a wait of this request has failed: its failure modes decide at once
   */
  checkLater (later: RouteLimits<Request, Reply>, request: Request, isLive: boolean, hasRedisFailed: boolean): PendingReply<RequestDecision> {
    const client = isLive ? this.#client : asAnonymous(this.#client)
    // With sessions in another Redis, only this determines whether a user is counted.
    if (this.confirm !== undefined) this.#client = client
    const decision = later.check(hasRedisFailed || this.#hasRedisFailed ? this.#limiter.offline : this.#limiter, request, client, this.#isCluster)
    this.#later = [...this.#later ?? [], decision]
    if (this.#hasEnded) release(decision)
    return decision
  }

  /** Whether the policies of `limits` were decided. */
  hasDecided (limits: RouteLimits<Request, Reply>): boolean {
    return limits === this.limits ? this.#first !== undefined : this.#laterDecided?.some((decided) => decided.limits === limits) === true
  }

  /** Stores a decision. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where a policy is `closed` */
  record (limits: RouteLimits<Request, Reply>, decision: RequestDecision): void {
    if (decision.failure !== undefined) throw decision.failure
    if (limits === this.limits) this.#first = decision
    else this.#laterDecided = [...this.#laterDecided ?? [], { limits, decision }]
  }

  /** Whether the request was counted as a signed-in user's. */
  get isUser (): boolean {
    return this.#client.session?.userId !== undefined && this.#first?.isAnonymous !== true && this.#laterDecided?.some(({ decision }) => decision.isAnonymous === true) !== true
  }

  /** The statuses of all policies checked so far. */
  get statuses (): PolicyStatus[] {
    const first = this.#first === undefined ? [] : this.limits.statusesOf(this.#first, this.isUser)
    return this.#laterDecided === undefined ? first : [...first, ...this.#laterDecided.flatMap(({ limits, decision }) => limits.statusesOf(decision, this.isUser))]
  }

  get #hasRedisFailed (): boolean {
    return this.#first?.hasRedisFailed === true || this.#laterDecided?.some(({ decision }) => decision.hasRedisFailed === true) === true
  }

  /** The request has ended: releases its slots, including those granted by replies that are still pending. */
  release (): void {
    this.#hasEnded = true
    release(this.decision)
    for (const decision of this.#later ?? []) release(decision)
  }
}

function release (decision: PendingReply<RequestDecision>): void {
  decision.subscribe({ onReply: ({ slots = [] }) => { for (const slot of slots) slot.release() }, onError: () => {} })
}
