import type { Answer } from '../redis/answer.ts'
import type { Limiter } from './limiter.ts'
import { asStranger } from './plan.ts'
import type { Counted, LimitPlan, PolicyStanding, Visitor } from './plan.ts'
import type { Verdict } from './verdict.ts'

/** What a request waits for, and what came: of its plan, and of the part of it that waits for the session. */
export class Count<Request extends Counted, Reply> {
  readonly plan: LimitPlan<Request, Reply>
  /** what came of the plan, or is under way */
  readonly verdict: Answer<Verdict>
  readonly #limiter: Limiter
  readonly #visitor: Visitor
  readonly #isCluster: boolean
  #came: Verdict | undefined
  #cameLate: Verdict | undefined

  /** States what the request claims. */
  constructor (plan: LimitPlan<Request, Reply>, limiter: Limiter, request: Request, visitor: Visitor, isCluster: boolean) {
    this.plan = plan
    this.#limiter = limiter
    this.#visitor = visitor
    this.#isCluster = isCluster
    this.verdict = plan.ask(limiter, request, visitor, isCluster)
  }

  /** States what depends on the session, once it is known whether it lives. */
  askLate (late: LimitPlan<Request, Reply>, request: Request, isLive: boolean): Promise<Verdict> {
    return late.ask(this.#limiter, request, isLive ? this.#visitor : asStranger(this.#visitor), this.#isCluster).promise()
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

  /** Gives back what the request holds, whenever the answer comes. */
  release (): void {
    this.verdict.hear({ answered: ({ places = [] }) => { for (const place of places) place.release() }, failed: () => {} })
  }
}
