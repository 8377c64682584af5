import { rateLimitItem, rateLimitPolicyField } from '../http/rate-limit.ts'
import { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Keys } from '../redis/keys.ts'
import { isPromise } from '../shared/returned-values.ts'
import type { CheckRequest, Limiter } from './limiter.ts'
import { asksApp, askApp, asAnonymous, applyPolicy, quotaOf } from './applied-policy.ts'
import type { Counted, AppliedPolicy, AppAnswers, IdentifiedClient } from './applied-policy.ts'
import type { Partition, UnverifiedSession } from './partition.ts'
import { globalGroup } from './options.ts'
import type { LimitPolicy } from './options.ts'
import { isConcurrency, quotaCostOf } from './quota.ts'
import type { Quota, QuotaCost } from './quota.ts'
import { mergeDecisions } from './decision.ts'
import type { RequestDecision } from './decision.ts'

/** What one policy said of a request. */
export interface PolicyStatus {
  readonly name: string
  readonly quota: number
  /** units left; undefined where nobody knows, because Redis could not be asked */
  readonly remaining: number | undefined
  /** milliseconds until more units come; undefined where nobody knows, as of places */
  readonly resetMs: number | undefined
  /** milliseconds until the same request fits; 0 when it fitted */
  readonly retryMs: number
}

type KeyBuilder = (kind: string, who: string, sessionKey?: string) => string

/** Which part of a route's policies a plan is. */
interface Part {
  /** those that are asked once the session is known */
  readonly isLate: boolean
  /** sessions are in another Redis than the one that counts */
  readonly isApart: boolean
}

const first: Part = { isLate: false, isApart: false }

/** All policies of one route, with everything that does not change from request to request made beforehand. */
export class RouteLimits<Request extends Counted, Reply> {
  readonly policies: readonly LimitPolicy<Request, Reply>[]
  /** whether some, also of those that are late, limit what is under way at once */
  readonly hasPlaces: boolean
  /** whether a policy depends on who has signed in */
  readonly needsSession: boolean
  /** the policies that are asked once the session is known: whose quota depends on what it holds; in {@link apart} also those that depend on who has signed in */
  readonly isSessionDependent: RouteLimits<Request, Reply> | undefined
  readonly #makeApart: () => RouteLimits<Request, Reply>
  #apart: RouteLimits<Request, Reply> | undefined
  readonly #keyBuilders: Map<string, KeyBuilder[]>
  readonly #others: KeyBuilder[]
  readonly #fields: { anonymous: string, user: string }
  readonly #items: ((remaining: number, resetMs: number) => string)[]
  /** the terms of every request, where all are counted by address and at one cost */
  readonly #plainCosts: readonly QuotaCost[] | undefined
  readonly #takesPlaces: boolean
  readonly #failures: LimitPolicy<Request, Reply>['failureMode'][]
  /** where no policy asks the app */
  readonly #constant: readonly AppAnswers[] | undefined

  /**
   * @param methods those of the route; HEAD counts as GET
   * @param pattern the route's, as declared; undefined for what has no route
   */
  constructor (all: readonly LimitPolicy<Request, Reply>[], keys: Keys, methods: readonly string[], pattern: string | undefined, part = first) {
    const { isLate, isApart } = part
    const policies = all.filter((policy) => (policy.unitsOf !== undefined || (isApart && dependsOnSession(policy))) === isLate)
    const spell = (method: string) => policies.map((policy) => keys.rateLimit(endpointOf(policy, method, pattern, all)))
    const fieldFor = (isUser: boolean) => rateLimitPolicyField(policies.map((policy) => ({ name: policy.name, unit: policy.unit, quota: quotaOf(policy, isUser).quota, windowMs: windowOf(policy) })))
    this.policies = policies
    this.isSessionDependent = isLate || policies.length === all.length ? undefined : new RouteLimits(all, keys, methods, pattern, { isLate: true, isApart })
    this.#takesPlaces = policies.some(isOfPlaces)
    this.hasPlaces = this.#takesPlaces || this.isSessionDependent?.hasPlaces === true
    this.needsSession = all.some(dependsOnSession)
    this.#makeApart = () => new RouteLimits(all, keys, methods, pattern, { isLate, isApart: true })
    this.#keyBuilders = new Map(methods.map((method) => [method, spell(method === 'HEAD' ? 'GET' : method)]))
    this.#others = spell('ANY')
    this.#fields = { anonymous: fieldFor(false), user: fieldFor(true) }
    this.#items = policies.map((policy) => rateLimitItem(policy.name, windowOf(policy)))
    this.#plainCosts = plainTermsOf(policies)
    this.#failures = policies.map(({ failureMode: failure, isDryRun }) => isDryRun ? 'open' : failure)
    this.#constant = policies.some(asksApp) ? undefined : policies.map(({ cost }) => ({ partition: undefined, cost: Number(cost), quota: undefined }))
  }

  /** The same policies where sessions are in another Redis than the one that counts: those that depend on who has signed in are late. */
  get apart (): RouteLimits<Request, Reply> {
    return (this.#apart ??= this.#makeApart())
  }

  /** Every counter of a partition that this plan may take from; the places of what is under way are none. */
  keysOf (kind: string, who: string, sessionKey?: string): string[] {
    const own = [...this.#keyBuilders.values(), this.#others].flatMap((keyBuilders) => keyBuilders.filter((_, index) => !isOfPlaces(this.policies[index])).map((spell) => spell(kind, who, sessionKey)))
    return [...own, ...this.isSessionDependent?.keysOf(kind, who, sessionKey) ?? []]
  }

  /** The `RateLimit-Policy` field. */
  policyField (isUser: boolean): string {
    return isUser ? this.#fields.user : this.#fields.anonymous
  }

  /** The `RateLimit` field; undefined where no count is known. */
  field ({ statuses }: RequestDecision): string | undefined {
    let field: string | undefined
    for (let index = 0; index < statuses.length; index++) {
      const status = statuses[index]
      if (status === undefined) continue
      const item = this.#items[index]?.(status.remaining, status.resetMs) ?? ''
      field = field === undefined ? item : `${field}, ${item}`
    }
    return field
  }

  /**
   * States what one request claims.
   *
   * @param isCluster policies of several partitions are asked apart then, for a call has one slot: what one refuses, another may have taken
   */
  ask (limiter: Limiter, request: Request, visitor: IdentifiedClient, isCluster: boolean): PendingReply<RequestDecision> {
    if (this.policies.length === 0) return PendingReply.of(nothingAsked)
    const keyBuilders = this.#keyBuilders.get(request.method) ?? this.#others
    if (this.#plainCosts === undefined) return this.#askEach(limiter, request, visitor, isCluster)
    return limiter.check(new IpOnlyRequest(keyBuilders, visitor.partition, this.#plainCosts, this.#failures, this.#takesPlaces))
  }

  /** What each policy says, by name. */
  standings ({ statuses }: RequestDecision, isUser: boolean): PolicyStatus[] {
    return this.policies.map((policy, index) => {
      const status = statuses[index]
      return { name: policy.name, quota: quotaOf(policy, isUser).quota, remaining: status?.remaining, resetMs: isOfPlaces(policy) ? undefined : status?.resetMs, retryMs: status?.retryMs ?? 0 }
    })
  }

  /** The policies that had no room, and the time after which all of them have. */
  refusal ({ statuses }: RequestDecision): { violated: readonly LimitPolicy<Request, Reply>[], retryMs: number } {
    const isViolated = (index: number) => this.policies[index]?.isDryRun === false && (statuses[index]?.retryMs ?? 0) > 0
    // Not of the standings: what nobody was told of is no element of them, and a spread makes NaN of it.
    return { violated: this.policies.filter((_, index) => isViolated(index)), retryMs: Math.max(0, ...this.policies.map((_, index) => isViolated(index) ? statuses[index]?.retryMs ?? 0 : 0)) }
  }

  /** The common way: each policy with a partition and a term of its own. What the app tells later is asked later. */
  #askEach (limiter: Limiter, request: Request, visitor: IdentifiedClient, isCluster: boolean): PendingReply<RequestDecision> {
    const said = this.#constant ?? askApp(this.policies, request)
    if (!isPromise(said)) return this.#askSaid(limiter, request, visitor, isCluster, said)
    const decision = new PendingReply<RequestDecision>()
    const failed = (error: Error) => decision.reject(error)
    said.then((said) => this.#askSaid(limiter, request, visitor, isCluster, said).subscribe({ onReply: (value) => decision.resolve(value), onError: failed })).catch(failed)
    return decision
  }

  #askSaid (limiter: Limiter, request: Request, visitor: IdentifiedClient, isCluster: boolean, said: readonly AppAnswers[]): PendingReply<RequestDecision> {
    const appliedPolicies = this.#applyPolicies(said, visitor)
    const groups = this.#groups(appliedPolicies, isCluster)
    const decisions = groups.map((group) => limiter.check(this.#claim(request, visitor, said, group, isCluster)))
    const together = (all: readonly RequestDecision[]) => mergeDecisions(all.map((decision, at) => ({ decision, terms: groups[at] ?? [], isObserved: this.policies[groups[at]?.[0] ?? 0]?.isDryRun === true })))
    return PendingReply.all(decisions).map(together)
  }

  #applyPolicies (said: readonly AppAnswers[], visitor: IdentifiedClient): AppliedPolicy[] {
    return this.policies.map((policy, index) => applyPolicy(policy, said[index] as AppAnswers, visitor))
  }

  /** What is asked together, all or nothing; observed policies each alone. */
  #groups (appliedPolicies: readonly AppliedPolicy[], isCluster: boolean): number[][] {
    const groups = new Map<string, number[]>()
    appliedPolicies.forEach(({ partition }, index) => {
      const name = this.policies[index]?.isDryRun === true ? `observed ${index}` : isCluster ? `${partition.kind} ${partition.id}` : ''
      groups.set(name, [...groups.get(name) ?? [], index])
    })
    return [...groups.values()]
  }

  #claim (request: Request, visitor: IdentifiedClient, said: readonly AppAnswers[], group: readonly number[], isCluster: boolean): CheckRequest {
    const keyBuilders = this.#keyBuilders.get(request.method) ?? this.#others
    const appliedPolicies = this.#applyPolicies(said, visitor)
    const met = group.flatMap((index) => appliedPolicies[index] ?? [])
    const keys = met.map(({ partition: { kind, id, session } }, at) => keyBuilders[group[at] ?? 0]?.(kind, id, session?.key) ?? '')
    const session = this.#sessionOf(visitor, met, group, isCluster)
    const claim = {
      name: `${keys.join(' ')} ${met.map(({ cost }) => cost.text).join()} ${session?.devices.join() ?? ''}`,
      keys,
      costs: met.map(({ cost }) => cost),
      failures: group.map((index) => this.#failures[index] ?? 'local'),
      hasPlaces: met.some(({ cost }) => isConcurrency(cost))
    }
    if (session === undefined) return claim
    // It is called where Redis's answer is read: what the app has said of this request holds there too.
    return { ...claim, session, withoutSession: () => this.#claim(request, asAnonymous(visitor), said, group, isCluster) }
  }

  /** The session that must live for a claim to stand: whose partition it is, or whose user has a quota of another size. In a Cluster an address lies elsewhere than a session; one in another Redis was confirmed before. */
  #sessionOf (visitor: IdentifiedClient, met: readonly AppliedPolicy[], group: readonly number[], isCluster: boolean): UnverifiedSession | undefined {
    if (visitor.session?.confirm !== undefined) return undefined
    const session = met.find(({ partition }) => partition.session !== undefined)?.partition.session
    if (session !== undefined || isCluster || visitor.session?.userId === undefined) return session
    return group.some((index) => this.policies[index]?.userQuota !== undefined) ? visitor.session : undefined
  }
}

/** What a request claims whose policies all count its address: of many that leave together, only the first is asked for its keys. */
class IpOnlyRequest implements CheckRequest {
  readonly scope: readonly KeyBuilder[]
  readonly costs: readonly QuotaCost[]
  readonly failures: CheckRequest['failures']
  readonly hasPlaces: boolean
  readonly #partition: Partition
  #keys: readonly string[] | undefined

  constructor (keyBuilders: readonly KeyBuilder[], partition: Partition, costs: readonly QuotaCost[], failures: CheckRequest['failures'], hasPlaces: boolean) {
    this.scope = keyBuilders
    this.#partition = partition
    this.costs = costs
    this.failures = failures
    this.hasPlaces = hasPlaces
  }

  get name (): string {
    return this.#partition.id
  }

  get keys (): readonly string[] {
    return (this.#keys ??= this.scope.map((spell) => spell(this.#partition.kind, this.#partition.id)))
  }
}

const nothingAsked: RequestDecision = Object.freeze({ isAllowed: true, statuses: Object.freeze([]) })

function dependsOnSession<Request, Reply> ({ by, userQuota }: LimitPolicy<Request, Reply>): boolean {
  return by === 'user' || by === 'session' || userQuota !== undefined
}

function isOfPlaces (policy: { readonly quota: Quota } | undefined): boolean {
  return policy?.quota.algorithm === 'places'
}

/** What clients are told; of places there is none. */
function windowOf ({ quota }: { readonly quota: Quota }): number | undefined {
  return quota.algorithm === 'places' ? undefined : quota.windowMs
}

function plainTermsOf<Request, Reply> (policies: readonly LimitPolicy<Request, Reply>[]): readonly QuotaCost[] | undefined {
  const isPlain = policies.every(({ by, cost, userQuota, unitsOf, isDryRun }) => by === 'ip' && typeof cost === 'number' && userQuota === undefined && unitsOf === undefined && !isDryRun)
  return isPlain ? policies.map(({ quota, cost }) => quotaCostOf(quota, Number(cost))) : undefined
}

/** Two counters of one route are told apart by their names; places always have theirs. */
function endpointOf<Request, Reply> (policy: LimitPolicy<Request, Reply>, method: string, pattern: string | undefined, all: readonly LimitPolicy<Request, Reply>[]): string {
  if (policy.group !== undefined) return policy.group
  if (pattern === undefined) return globalGroup
  const isAlone = !isOfPlaces(policy) && all.filter((other) => other.group === undefined && !isOfPlaces(other)).length === 1
  return isAlone ? `${method}:${pattern}` : `${method}:${pattern}#${policy.name}`
}
