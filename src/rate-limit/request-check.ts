import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Limiter } from './limiter.ts'
import { asAnonymous } from './applied-policy.ts'
import type { Counted, IdentifiedClient } from './applied-policy.ts'
import type { RouteLimits, PolicyStatus } from './route-limits.ts'
import type { RequestDecision } from './decision.ts'

/** What a request waits for, and what came: of its plan, and of the part of it that waits for the session. */
export class RequestCheck<Request extends Counted, Reply> {
  readonly limits: RouteLimits<Request, Reply>
  /** what came of the plan, or is under way */
  readonly decision: PendingReply<RequestDecision>
  /** tells whether the session lives, where the Redis that counts cannot; undefined where it can */
  readonly confirm: (() => Promise<boolean>) | undefined
  readonly #limiter: Limiter
  #visitor: IdentifiedClient
  readonly #isCluster: boolean
  #late: PendingReply<RequestDecision> | undefined
  #came: RequestDecision | undefined
  #cameLate: RequestDecision | undefined
  #isOver = false

  /** States what the request claims. */
  constructor (limits: RouteLimits<Request, Reply>, limiter: Limiter, request: Request, visitor: IdentifiedClient, isCluster: boolean) {
    this.limits = limits
    this.#limiter = limiter
    this.#visitor = visitor
    this.confirm = visitor.session?.confirm
    this.#isCluster = isCluster
    this.decision = limits.ask(limiter, request, visitor, isCluster)
  }

  /** States what depends on the session, once it is known whether it lives. */
  checkSessionDependent (late: RouteLimits<Request, Reply>, request: Request, isLive: boolean): Promise<RequestDecision> {
    const visitor = isLive ? this.#visitor : asAnonymous(this.#visitor)
    // With the session in another Redis, this is what tells whether a user is counted.
    if (this.confirm !== undefined) this.#visitor = visitor
    const decision = late.ask(this.#limiter, request, visitor, this.#isCluster)
    this.#late = decision
    if (this.#isOver) release(decision)
    return decision.promise()
  }

  /** Keeps what came of a plan. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where a policy is `closed` */
  record (limits: RouteLimits<Request, Reply>, decision: RequestDecision): void {
    if (decision.failure !== undefined) throw decision.failure
    if (limits === this.limits) this.#came = decision
    else this.#cameLate = decision
  }

  /** Whether it was counted as a user's. */
  get isUser (): boolean {
    return this.#visitor.session?.userId !== undefined && this.#came?.isStranger !== true
  }

  /** What all policies have said so far. */
  get statuses (): PolicyStatus[] {
    const early = this.#came === undefined ? [] : this.limits.standings(this.#came, this.isUser)
    return this.#cameLate === undefined ? early : [...early, ...this.limits.isSessionDependent?.standings(this.#cameLate, this.isUser) ?? []]
  }

  /** The request is over: gives back what it holds, and what it is still granted, whenever the answer comes. */
  release (): void {
    this.#isOver = true
    release(this.decision)
    if (this.#late !== undefined) release(this.#late)
  }
}

function release (decision: PendingReply<RequestDecision>): void {
  decision.subscribe({ onReply: ({ slots = [] }) => { for (const slot of slots) slot.release() }, onError: () => {} })
}
