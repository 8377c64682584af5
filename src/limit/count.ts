import type { Limiter } from './limiter.ts'
import { Answer } from '../redis/answer.ts'
import type { Hearer } from '../redis/answer.ts'
import { asStranger } from './plan.ts'
import type { Counted, LimitPlan, PolicyStanding, Visitor } from './plan.ts'
import { promised } from './verdict.ts'
import type { Verdict } from './verdict.ts'

/** What a request waits for, and what came: of its plan, and of the part of it that waits for the session. */
export class Count<Request extends Counted, Reply> implements Hearer<Verdict> {
  readonly plan: LimitPlan<Request, Reply>
  /** what it waits for; undefined where memory has answered */
  readonly waiting: Answer<Verdict> | undefined
  #verdict: Verdict | undefined
  #failure: Error | undefined
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
    const asked = plan.ask(limiter, request, visitor, isCluster)
    this.waiting = asked instanceof Answer ? asked : undefined
    if (asked instanceof Answer) asked.hear(this)
    else this.#verdict = asked
  }

  answered (verdict: Verdict): void {
    this.#verdict = verdict
  }

  failed (error: Error): void {
    this.#failure = error
  }

  /** What came of it; undefined while that is under way. @throws what an app's own function threw */
  get verdict (): Verdict | undefined {
    if (this.#failure !== undefined) throw this.#failure
    return this.#verdict
  }

  /** States what depends on the session, once it is known whether it lives. */
  askLate (late: LimitPlan<Request, Reply>, request: Request, isLive: boolean): Promise<Verdict> | Verdict {
    return promised(late.ask(this.#limiter, request, isLive ? this.#visitor : asStranger(this.#visitor), this.#isCluster))
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
    if (this.waiting !== undefined) this.waiting.hear({ answered: giveBack, failed: () => {} })
    else if (this.#verdict !== undefined) giveBack(this.#verdict)
  }
}

function giveBack ({ places = [] }: Verdict): void {
  for (const place of places) place.release()
}
