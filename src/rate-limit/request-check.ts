import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Limiter } from './limiter.ts'
import { asAnonymous } from './applied-policy.ts'
import type { Counted, IdentifiedClient } from './applied-policy.ts'
import type { RouteLimits, PolicyStatus } from './route-limits.ts'
import type { RequestDecision } from './decision.ts'

/** The checks of one request: of its route's limits, and of those that depend on the session. */
export class RequestCheck<Request extends Counted, Reply> {
  readonly limits: RouteLimits<Request, Reply>
  /** the check of `limits`, possibly pending */
  readonly decision: PendingReply<RequestDecision>
  /** resolves whether the session is valid, if sessions are in another Redis; undefined if the check itself verifies it */
  readonly confirm: (() => Promise<boolean>) | undefined
  readonly #limiter: Limiter
  #client: IdentifiedClient
  readonly #isCluster: boolean
  #late: PendingReply<RequestDecision> | undefined
  #earlyDecision: RequestDecision | undefined
  #lateDecision: RequestDecision | undefined
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
   * Enqueues the session-dependent check, once it is known whether the session is valid.
   *
   * @param hasRedisFailed a wait of this request has failed: its failure modes decide at once
   */
  checkSessionDependent (late: RouteLimits<Request, Reply>, request: Request, isLive: boolean, hasRedisFailed: boolean): Promise<RequestDecision> {
    const client = isLive ? this.#client : asAnonymous(this.#client)
    // With sessions in another Redis, only this determines whether a user is counted.
    if (this.confirm !== undefined) this.#client = client
    const decision = late.check(hasRedisFailed ? this.#limiter.offline : this.#limiter, request, client, this.#isCluster)
    this.#late = decision
    if (this.#hasEnded) release(decision)
    return decision.promise()
  }

  /** Stores a decision. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where a policy is `closed` */
  record (limits: RouteLimits<Request, Reply>, decision: RequestDecision): void {
    if (decision.failure !== undefined) throw decision.failure
    if (limits === this.limits) this.#earlyDecision = decision
    else this.#lateDecision = decision
  }

  /** Whether the request was counted as a signed-in user's. */
  get isUser (): boolean {
    return this.#client.session?.userId !== undefined && this.#earlyDecision?.isAnonymous !== true
  }

  /** The statuses of all policies checked so far. */
  get statuses (): PolicyStatus[] {
    const early = this.#earlyDecision === undefined ? [] : this.limits.statusesOf(this.#earlyDecision, this.isUser)
    return this.#lateDecision === undefined ? early : [...early, ...this.limits.sessionDependent?.statusesOf(this.#lateDecision, this.isUser) ?? []]
  }

  /** The request has ended: releases its slots, including those granted by replies that are still pending. */
  release (): void {
    this.#hasEnded = true
    release(this.decision)
    if (this.#late !== undefined) release(this.#late)
  }
}

function release (decision: PendingReply<RequestDecision>): void {
  decision.subscribe({ onReply: ({ slots = [] }) => { for (const slot of slots) slot.release() }, onError: () => {} })
}
