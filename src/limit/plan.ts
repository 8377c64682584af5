import { rateLimitItem, rateLimitPolicyField } from '../http/rate-limit.ts'
import { readCount } from '../options.ts'
import type { Keys } from '../redis/keys.ts'
import type { Claim, Verdict } from './limiter.ts'
import { wholeStack } from './policy.ts'
import type { LimitPolicy } from './policy.ts'

/** Who is counted: by what (a word of ours), and who it is (from outside). */
export interface Partition {
  readonly kind: string
  readonly who: string
}

/** What one policy said of a request. */
export interface PolicyStanding {
  readonly name: string
  readonly quota: number
  /** units left; undefined where nobody knows, because Redis could not be asked */
  readonly remaining: number | undefined
  /** milliseconds until more units come */
  readonly resetMs: number | undefined
  /** milliseconds until the same request fits; 0 when it fitted */
  readonly retryMs: number
}

/** All policies of one route, with everything that does not change from request to request made beforehand. */
export class LimitPlan<Request extends { method: string }, Reply> {
  readonly policies: readonly LimitPolicy<Request, Reply>[]
  /** the `RateLimit-Policy` field */
  readonly policyField: string
  #items: ((remaining: number, resetMs: number) => string)[]
  #spellers: Map<string, ((kind: string, who: string) => string)[]>
  #others: ((kind: string, who: string) => string)[]

  /**
   * @param methods those of the route; HEAD counts as GET
   * @param pattern the route's, as declared; undefined for what has no route
   */
  constructor (policies: readonly LimitPolicy<Request, Reply>[], keys: Keys, methods: readonly string[], pattern: string | undefined) {
    this.policies = policies
    this.policyField = rateLimitPolicyField(policies.map(({ name, quota: { quota, windowMs } }) => ({ name, quota, windowMs })))
    this.#items = policies.map(({ name }) => rateLimitItem(name))
    const spell = (method: string) => policies.map((policy) => keys.rateLimit(endpointOf(policy, method, pattern, policies)))
    this.#spellers = new Map(methods.map((method) => [method, spell(method === 'HEAD' ? 'GET' : method)]))
    this.#others = spell('ANY')
  }

  /** What one request claims. */
  claims (request: Request, partitionOf: (policy: LimitPolicy<Request, Reply>) => Partition): Claim[] {
    const spellers = this.#spellers.get(request.method) ?? this.#others
    return this.policies.map((policy, index) => {
      const { kind, who } = partitionOf(policy)
      const cost = typeof policy.cost === 'function' ? readCount('rateLimit.cost()', policy.cost(request), { min: 0 }) : policy.cost
      return { key: spellers[index]?.(kind, who) ?? '', quota: policy.quota, cost, failure: policy.isObserved ? 'open' : policy.failure, isObserved: policy.isObserved }
    })
  }

  /** What each policy says, by name. */
  standings ({ standings }: Verdict): PolicyStanding[] {
    return this.policies.map(({ name, quota: { quota } }, index) => {
      const standing = standings[index]
      return { name, quota, remaining: standing?.remaining, resetMs: standing?.resetMs, retryMs: standing?.retryMs ?? 0 }
    })
  }

  /** The `RateLimit` field; undefined where no count is known. */
  field ({ standings }: Verdict): string | undefined {
    const items = standings.flatMap((standing, index) => standing === undefined ? [] : [this.#items[index]?.(standing.remaining, standing.resetMs) ?? ''])
    return items.length > 0 ? items.join(', ') : undefined
  }

  /** The policies that had no room, and the time after which all of them have. */
  refusal (verdict: Verdict): { violated: readonly LimitPolicy<Request, Reply>[], retryMs: number } {
    const violated = this.policies.filter((policy, index) => !policy.isObserved && (verdict.standings[index]?.retryMs ?? 0) > 0)
    return { violated, retryMs: Math.max(...verdict.standings.map((standing, index) => this.policies[index]?.isObserved === true ? 0 : standing?.retryMs ?? 0)) }
  }
}

/** Two counters of one route are told apart by their names. */
function endpointOf (policy: LimitPolicy<never, never>, method: string, pattern: string | undefined, all: readonly LimitPolicy<never, never>[]): string {
  if (policy.group !== undefined) return policy.group
  if (pattern === undefined) return wholeStack
  const isAlone = all.filter(({ group }) => group === undefined).length === 1
  return isAlone ? `${method}:${pattern}` : `${method}:${pattern}#${policy.name}`
}
