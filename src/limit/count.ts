import type { Answer } from '../redis/answer.ts'
import type { Limiter } from './limiter.ts'
import { asStranger } from './meeting.ts'
import type { Counted, Visitor } from './meeting.ts'
import type { LimitPlan, PolicyStanding } from './plan.ts'
import type { Verdict } from './verdict.ts'

/** What a request waits for, and what came: of its plan, and of the part of it that waits for the session. */
export class Count<Request extends Counted, Reply> {
  readonly plan: LimitPlan<Request, Reply>
  /** what came of the plan, or is under way */
  readonly verdict: Answer<Verdict>
  /** tells whether the session lives, where the Redis that counts cannot; undefined where it can */
  readonly confirm: (() => Promise<boolean>) | undefined
  readonly #limiter: Limiter
  #visitor: Visitor
  readonly #isCluster: boolean
  #late: Answer<Verdict> | undefined
  #came: Verdict | undefined
  #cameLate: Verdict | undefined
  #isOver = false

  /** States what the request claims. */
  constructor (plan: LimitPlan<Request, Reply>, limiter: Limiter, request: Request, visitor: Visitor, isCluster: boolean) {
    this.plan = plan
    this.#limiter = limiter
    this.#visitor = visitor
    this.confirm = visitor.session?.confirm
    this.#isCluster = isCluster
    this.verdict = plan.ask(limiter, request, visitor, isCluster)
  }

  /** States what depends on the session, once it is known whether it lives. */
  askLate (late: LimitPlan<Request, Reply>, request: Request, isLive: boolean): Promise<Verdict> {
    const visitor = isLive ? this.#visitor : asStranger(this.#visitor)
    // With the session in another Redis, this is what tells whether a user is counted.
    if (this.confirm !== undefined) this.#visitor = visitor
    const verdict = late.ask(this.#limiter, request, visitor, this.#isCluster)
    this.#late = verdict
    if (this.#isOver) release(verdict)
    return verdict.promise()
  }

  /** Keeps what came of a plan. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where a policy is `closed` */
  hear (plan: LimitPlan<Request, Reply>, verdict: Verdict): void {
    if (verdict.failure !== undefined) throw verdict.failure
    if (plan === this.plan) this.#came = verdict
    else this.#cameLate = verdict
  }

  /** Whether it was counted as a user's. */
  get isUser (): boolean {
    return this.#visitor.session?.userId !== undefined && this.#came?.isStranger !== true
  }

  /** What all policies have said so far. */
  get standings (): PolicyStanding[] {
    const early = this.#came === undefined ? [] : this.plan.standings(this.#came, this.isUser)
    return this.#cameLate === undefined ? early : [...early, ...this.plan.late?.standings(this.#cameLate, this.isUser) ?? []]
  }

  /** The request is over: gives back what it holds, and what it is still granted, whenever the answer comes. */
  release (): void {
    this.#isOver = true
    release(this.verdict)
    if (this.#late !== undefined) release(this.#late)
  }
}

function release (verdict: Answer<Verdict>): void {
  verdict.hear({ answered: ({ places = [] }) => { for (const place of places) place.release() }, failed: () => {} })
}
