import { AsyncLocalStorage } from 'node:async_hooks'
import type { IncomingHttpHeaders } from 'node:http'
import { rateLimitItem, rateLimitPolicyField } from '../http/rate-limit.ts'
import { readCount } from '../options.ts'
import { Answer } from '../redis/answer.ts'
import type { Keys } from '../redis/keys.ts'
import type { Claim, Limiter } from './limiter.ts'
import { partitionBy } from './partition.ts'
import type { Partition, SessionClaim } from './partition.ts'
import { quotaFor, wholeStack } from './policy.ts'
import type { LimitPolicy } from './policy.ts'
import { isPlace, termOf } from './quota.ts'
import type { Quota, Term } from './quota.ts'
import { joinVerdicts } from './verdict.ts'
import type { Verdict } from './verdict.ts'

/** Who a request comes from. */
export interface Visitor {
  /** the address */
  readonly partition: Partition
  /** what the cookie names, when it opened */
  readonly session: SessionClaim | undefined
}

/** What one policy said of a request. */
export interface PolicyStanding {
  readonly name: string
  readonly quota: number
  /** units left; undefined where nobody knows, because Redis could not be asked */
  readonly remaining: number | undefined
  /** milliseconds until more units come; undefined where nobody knows, as of places */
  readonly resetMs: number | undefined
  /** milliseconds until the same request fits; 0 when it fitted */
  readonly retryMs: number
}

/** One policy as one request meets it. */
interface Meeting {
  readonly partition: Partition
  readonly term: Term
}

type Speller = (kind: string, who: string, sessionKey?: string) => string

/** All policies of one route, with everything that does not change from request to request made beforehand. */
export class LimitPlan<Request extends Counted, Reply> {
  readonly policies: readonly LimitPolicy<Request, Reply>[]
  /** whether some limit what is under way at once */
  readonly hasPlaces: boolean
  /** whether a policy depends on who has signed in */
  readonly needsSession: boolean
  /** the policies whose quota depends on what the session holds */
  readonly late: LimitPlan<Request, Reply> | undefined
  readonly #spellers: Map<string, Speller[]>
  readonly #others: Speller[]
  readonly #fields: { anonymous: string, user: string }
  readonly #items: ((remaining: number, resetMs: number) => string)[]
  /** the terms of every request, where all are counted by address and at one cost */
  readonly #plainTerms: readonly Term[] | undefined
  readonly #failures: LimitPolicy<Request, Reply>['failure'][]

  /**
   * @param methods those of the route; HEAD counts as GET
   * @param pattern the route's, as declared; undefined for what has no route
   */
  constructor (all: readonly LimitPolicy<Request, Reply>[], keys: Keys, methods: readonly string[], pattern: string | undefined, isLate = false) {
    const policies = all.filter(({ unitsOf }) => (unitsOf !== undefined) === isLate)
    const spell = (method: string) => policies.map((policy) => keys.rateLimit(endpointOf(policy, method, pattern, all)))
    const fieldFor = (isUser: boolean) => rateLimitPolicyField(policies.map((policy) => ({ name: policy.name, unit: policy.unit, quota: quotaOf(policy, isUser).quota, windowMs: windowOf(policy) })))
    this.policies = policies
    this.hasPlaces = policies.some(isOfPlaces)
    this.late = isLate || policies.length === all.length ? undefined : new LimitPlan(all, keys, methods, pattern, true)
    this.needsSession = all.some(({ by, userQuota }) => by === 'user' || by === 'session' || userQuota !== undefined)
    this.#spellers = new Map(methods.map((method) => [method, spell(method === 'HEAD' ? 'GET' : method)]))
    this.#others = spell('ANY')
    this.#fields = { anonymous: fieldFor(false), user: fieldFor(true) }
    this.#items = policies.map((policy) => rateLimitItem(policy.name, windowOf(policy)))
    this.#plainTerms = plainTermsOf(policies)
    this.#failures = policies.map(({ failure, isObserved }) => isObserved ? 'open' : failure)
  }

  /** Every counter of a partition that this plan may take from; the places of what is under way are none. */
  keysOf (kind: string, who: string, sessionKey?: string): string[] {
    return [...this.#spellers.values(), this.#others].flatMap((spellers) => spellers.filter((_, index) => !isOfPlaces(this.policies[index])).map((spell) => spell(kind, who, sessionKey)))
  }

  /** The `RateLimit-Policy` field. */
  policyField (isUser: boolean): string {
    return isUser ? this.#fields.user : this.#fields.anonymous
  }

  /** The `RateLimit` field; undefined where no count is known. */
  field ({ standings }: Verdict): string | undefined {
    let field: string | undefined
    for (let index = 0; index < standings.length; index++) {
      const standing = standings[index]
      if (standing === undefined) continue
      const item = this.#items[index]?.(standing.remaining, standing.resetMs) ?? ''
      field = field === undefined ? item : `${field}, ${item}`
    }
    return field
  }

  /**
   * States what one request claims.
   *
   * @param isCluster policies of several partitions are asked apart then, for a call has one slot: what one refuses, another may have taken
   */
  ask (limiter: Limiter, request: Request, visitor: Visitor, isCluster: boolean): Answer<Verdict> {
    const spellers = this.#spellers.get(request.method) ?? this.#others
    if (this.#plainTerms === undefined) return this.#askEach(limiter, request, visitor, isCluster)
    return limiter.ask(new PlainClaim(spellers, visitor.partition, this.#plainTerms, this.#failures, this.hasPlaces))
  }

  /** What each policy says, by name. */
  standings ({ standings }: Verdict, isUser: boolean): PolicyStanding[] {
    return this.policies.map((policy, index) => {
      const standing = standings[index]
      return { name: policy.name, quota: quotaOf(policy, isUser).quota, remaining: standing?.remaining, resetMs: isOfPlaces(policy) ? undefined : standing?.resetMs, retryMs: standing?.retryMs ?? 0 }
    })
  }

  /** The policies that had no room, and the time after which all of them have. */
  refusal ({ standings }: Verdict): { violated: readonly LimitPolicy<Request, Reply>[], retryMs: number } {
    const isViolated = (index: number) => this.policies[index]?.isObserved === false && (standings[index]?.retryMs ?? 0) > 0
    // Not of the standings: what nobody was told of is no element of them, and a spread makes NaN of it.
    return { violated: this.policies.filter((_, index) => isViolated(index)), retryMs: Math.max(0, ...this.policies.map((_, index) => isViolated(index) ? standings[index]?.retryMs ?? 0 : 0)) }
  }

  /** The common way: each policy with a partition and a term of its own. */
  #askEach (limiter: Limiter, request: Request, visitor: Visitor, isCluster: boolean): Answer<Verdict> {
    const meetings = this.policies.map((policy) => meet(policy, request, visitor))
    const groups = this.#groups(meetings, isCluster)
    const verdicts = groups.map((group) => limiter.ask(this.#claim(request, visitor, meetings, group, isCluster)))
    const together = (all: readonly Verdict[]) => joinVerdicts(all.map((verdict, at) => ({ verdict, terms: groups[at] ?? [], isObserved: this.policies[groups[at]?.[0] ?? 0]?.isObserved === true })))
    return Answer.all(verdicts).map(together)
  }

  /** What is asked together, all or nothing; observed policies each alone. */
  #groups (meetings: readonly Meeting[], isCluster: boolean): number[][] {
    const groups = new Map<string, number[]>()
    meetings.forEach(({ partition }, index) => {
      const name = this.policies[index]?.isObserved === true ? `observed ${index}` : isCluster ? `${partition.kind} ${partition.who}` : ''
      groups.set(name, [...groups.get(name) ?? [], index])
    })
    return [...groups.values()]
  }

  #claim (request: Request, visitor: Visitor, meetings: readonly Meeting[], group: readonly number[], isCluster: boolean): Claim {
    const spellers = this.#spellers.get(request.method) ?? this.#others
    const met = group.flatMap((index) => meetings[index] ?? [])
    const keys = met.map(({ partition: { kind, who, session } }, at) => spellers[group[at] ?? 0]?.(kind, who, session?.key) ?? '')
    const session = this.#sessionOf(visitor, met, group, isCluster)
    const claim = {
      name: `${keys.join(' ')} ${met.map(({ term }) => term.text).join()} ${session?.devices.join() ?? ''}`,
      keys,
      terms: met.map(({ term }) => term),
      failures: group.map((index) => this.#failures[index] ?? 'local'),
      hasPlaces: met.some(({ term }) => isPlace(term))
    }
    if (session === undefined) return claim
    const stranger = asStranger(visitor)
    const withoutSession = () => this.#claim(request, stranger, this.policies.map((policy) => meet(policy, request, stranger)), group, isCluster)
    // It is called where Redis's answer is read, for whoever that is; the app's own functions are called for this request.
    return { ...claim, session, withoutSession: this.policies.some(asksApp) ? AsyncLocalStorage.bind(withoutSession) : withoutSession }
  }

  /** The session that must live for a claim to stand: whose partition it is, or whose user has a quota of another size. In a Cluster an address lies elsewhere than a session. */
  #sessionOf (visitor: Visitor, met: readonly Meeting[], group: readonly number[], isCluster: boolean): SessionClaim | undefined {
    const session = met.find(({ partition }) => partition.session !== undefined)?.partition.session
    if (session !== undefined || isCluster || visitor.session?.userId === undefined) return session
    return group.some((index) => this.policies[index]?.userQuota !== undefined) ? visitor.session : undefined
  }
}

/** What a request claims whose policies all count its address: of many that leave together, only the first is asked for its keys. */
class PlainClaim implements Claim {
  readonly scope: readonly Speller[]
  readonly terms: readonly Term[]
  readonly failures: Claim['failures']
  readonly hasPlaces: boolean
  readonly #partition: Partition
  #keys: readonly string[] | undefined

  constructor (spellers: readonly Speller[], partition: Partition, terms: readonly Term[], failures: Claim['failures'], hasPlaces: boolean) {
    this.scope = spellers
    this.#partition = partition
    this.terms = terms
    this.failures = failures
    this.hasPlaces = hasPlaces
  }

  get name (): string {
    return this.#partition.who
  }

  get keys (): readonly string[] {
    return (this.#keys ??= this.scope.map((spell) => spell(this.#partition.kind, this.#partition.who)))
  }
}

/** What of a request decides who is counted. */
export interface Counted {
  readonly method: string
  readonly headers: IncomingHttpHeaders
}

/** The same visitor, as if no cookie had come. */
export function asStranger ({ partition }: Visitor): Visitor {
  return { partition, session: undefined }
}

function meet<Request extends Counted, Reply> (policy: LimitPolicy<Request, Reply>, request: Request, { partition, session }: Visitor): Meeting {
  const cost = typeof policy.cost === 'function' ? readCount('rateLimit.cost()', policy.cost(request), { min: 0, max: 1_000_000_000 }) : policy.cost
  const quota = policy.unitsOf === undefined ? quotaOf(policy, session?.userId !== undefined) : quotaFor(policy, request)
  return { partition: partitionBy(policy.by, request, session) ?? partition, term: termOf(quota, cost) }
}

function asksApp<Request, Reply> ({ by, cost, unitsOf }: LimitPolicy<Request, Reply>): boolean {
  return typeof by !== 'string' || typeof cost === 'function' || unitsOf !== undefined
}

function isOfPlaces (policy: { readonly quota: Quota } | undefined): boolean {
  return policy?.quota.algorithm === 'places'
}

/** What clients are told; of places there is none. */
function windowOf ({ quota }: { readonly quota: Quota }): number | undefined {
  return quota.algorithm === 'places' ? undefined : quota.windowMs
}

function quotaOf<Request, Reply> ({ quota, userQuota }: LimitPolicy<Request, Reply>, isUser: boolean): Quota {
  return isUser ? userQuota ?? quota : quota
}

function plainTermsOf<Request, Reply> (policies: readonly LimitPolicy<Request, Reply>[]): readonly Term[] | undefined {
  const isPlain = policies.every(({ by, cost, userQuota, unitsOf, isObserved }) => by === 'ip' && typeof cost === 'number' && userQuota === undefined && unitsOf === undefined && !isObserved)
  return isPlain ? policies.map(({ quota, cost }) => termOf(quota, Number(cost))) : undefined
}

/** Two counters of one route are told apart by their names; places always have theirs. */
function endpointOf<Request, Reply> (policy: LimitPolicy<Request, Reply>, method: string, pattern: string | undefined, all: readonly LimitPolicy<Request, Reply>[]): string {
  if (policy.group !== undefined) return policy.group
  if (pattern === undefined) return wholeStack
  const isAlone = !isOfPlaces(policy) && all.filter((other) => other.group === undefined && !isOfPlaces(other)).length === 1
  return isAlone ? `${method}:${pattern}` : `${method}:${pattern}#${policy.name}`
}
