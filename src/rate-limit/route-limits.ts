import { rateLimitItem, rateLimitPolicyField } from '../http/rate-limit.ts'
import { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Keys } from '../redis/keys.ts'
import { isPromise } from '../shared/returned-values.ts'
import type { CheckRequest, QuotaChecker } from './limiter.ts'
import { callsAppFunctions, callAppFunctions, asAnonymous, applyPolicy, quotaOf } from './applied-policy.ts'
import type { LimitedRequest, AppliedPolicy, AppValues, IdentifiedClient } from './applied-policy.ts'
import type { UnverifiedSession } from '../shared/session-identity.ts'
import type { Partition } from './partition.ts'
import { globalGroup } from './options.ts'
import type { LimitPolicy } from './options.ts'
import { isConcurrency, quotaCostOf } from './quota.ts'
import type { Quota, QuotaCost } from './quota.ts'
import { mergeDecisions } from './decision.ts'
import type { RequestDecision } from './decision.ts'

/** The status of one policy after a request was checked. */
export interface PolicyStatus {
  readonly name: string
  readonly quota: number
  /** units left; undefined if unknown because Redis is unavailable */
  readonly remaining: number | undefined
  /** milliseconds until more units come; undefined if unknown, always for concurrency limits */
  readonly resetMs: number | undefined
  /** milliseconds until the same request fits; 0 if it was allowed */
  readonly retryMs: number
}

type KeyBuilder = (kind: string, id: string, sessionKey?: string) => string

/** When policies are checked: with the first reads, after the session is loaded, or after the app's hooks. */
type Stage = 'first' | 'session' | 'preHandler'

/** Selects the policies of a route that are checked together. */
interface Part {
  readonly stage: Stage
  /** sessions and counters are in different Redis servers */
  readonly hasSeparateSessions: boolean
}

const first: Part = { stage: 'first', hasSeparateSessions: false }

/** The policies of one route, with everything that is the same for all requests computed in advance. */
export class RouteLimits<Request extends LimitedRequest, Reply> {
  readonly policies: readonly LimitPolicy<Request, Reply>[]
  /** whether any policy of any stage limits concurrency */
  readonly hasSlots: boolean
  /** whether a policy depends on the signed-in user */
  readonly needsSession: boolean
  /** the policies checked after the session is loaded: those whose quota is a function; in {@link withSeparateSessions} also those that depend on the signed-in user */
  readonly sessionDependent: RouteLimits<Request, Reply> | undefined
  /** the policies whose `hook` is `preHandler` */
  readonly atPreHandler: RouteLimits<Request, Reply> | undefined
  /** false: of requests without a route */
  readonly hasRoute: boolean
  readonly #makeSeparate: () => RouteLimits<Request, Reply>
  #separate: RouteLimits<Request, Reply> | undefined
  readonly #keyBuilders: Map<string, KeyBuilder[]>
  readonly #others: KeyBuilder[]
  readonly #fields: { anonymous: string, user: string }
  readonly #items: ((remaining: number, resetMs: number) => string)[]
  /** the quotas and costs of every request, if all policies count addresses at a constant cost */
  readonly #ipOnlyCosts: readonly QuotaCost[] | undefined
  readonly #usesSlots: boolean
  readonly #failureModes: LimitPolicy<Request, Reply>['failureMode'][]
  /** set if no policy calls a function of the app */
  readonly #constant: readonly AppValues[] | undefined

  /**
   * @param methods of the route; HEAD counts as GET
   * @param pattern the route's URL as declared; undefined without a route
   */
  constructor (all: readonly LimitPolicy<Request, Reply>[], keys: Keys, methods: readonly string[], pattern: string | undefined, part = first) {
    const { stage, hasSeparateSessions } = part
    const policies = all.filter((policy) => stageOf(policy, hasSeparateSessions) === stage)
    const partOf = (later: Stage) => stage === 'first' && all.some((policy) => stageOf(policy, hasSeparateSessions) === later) ? new RouteLimits(all, keys, methods, pattern, { stage: later, hasSeparateSessions }) : undefined
    const buildKey = (method: string) => policies.map((policy) => keys.rateLimit(endpointOf(policy, method, pattern, all)))
    const fieldFor = (isUser: boolean) => rateLimitPolicyField(policies.map((policy) => ({ name: policy.name, unit: policy.unit, quota: quotaOf(policy, isUser).quota, windowMs: windowOf(policy) })))
    this.policies = policies
    this.sessionDependent = partOf('session')
    this.atPreHandler = partOf('preHandler')
    this.hasRoute = pattern !== undefined
    this.#usesSlots = policies.some(isConcurrencyPolicy)
    this.hasSlots = this.#usesSlots || this.sessionDependent?.hasSlots === true || this.atPreHandler?.hasSlots === true
    this.needsSession = all.some(dependsOnSession)
    const makeSeparate = () => new RouteLimits(all, keys, methods, pattern, { stage, hasSeparateSessions: true })
    this.#makeSeparate = makeSeparate
    this.#keyBuilders = new Map(methods.map((method) => [method, buildKey(method === 'HEAD' ? 'GET' : method)]))
    this.#others = buildKey('ANY')
    this.#fields = { anonymous: fieldFor(false), user: fieldFor(true) }
    this.#items = policies.map((policy) => rateLimitItem(policy.name, windowOf(policy)))
    this.#ipOnlyCosts = ipOnlyCostsOf(policies)
    this.#failureModes = policies.map(({ failureMode: failure, isDryRun }) => isDryRun ? 'open' : failure)
    this.#constant = policies.some(callsAppFunctions) ? undefined : policies.map(({ cost }) => ({ partition: undefined, cost: Number(cost), quota: undefined }))
  }

  /** The same policies if sessions are in another Redis: those that depend on the signed-in user are checked after the session is loaded. */
  get withSeparateSessions (): RouteLimits<Request, Reply> {
    return (this.#separate ??= this.#makeSeparate())
  }

  /** The keys of all counters of a partition, except concurrency slots. */
  keysOf (kind: string, id: string, sessionKey?: string): string[] {
    const own = [...this.#keyBuilders.values(), this.#others].flatMap((keyBuilders) => keyBuilders.filter((_, index) => !isConcurrencyPolicy(this.policies[index])).map((buildKey) => buildKey(kind, id, sessionKey)))
    return [...own, ...this.sessionDependent?.keysOf(kind, id, sessionKey) ?? [], ...this.atPreHandler?.keysOf(kind, id, sessionKey) ?? []]
  }

  /** The value of the `RateLimit-Policy` header. */
  policyField (isUser: boolean): string {
    return isUser ? this.#fields.user : this.#fields.anonymous
  }

  /** The value of the `RateLimit` header; undefined if no status is known. */
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
   * Checks one request.
   *
   * @param isCluster policies of different partitions are then separate script calls, because a call has one hash slot: one may consume although another rejects
   */
  check (limiter: QuotaChecker, request: Request, client: IdentifiedClient, isCluster: boolean): PendingReply<RequestDecision> {
    if (this.policies.length === 0) return PendingReply.of(noPolicies)
    const keyBuilders = this.#keyBuilders.get(request.method) ?? this.#others
    if (this.#ipOnlyCosts === undefined) return this.#checkEach(limiter, request, client, isCluster)
    return limiter.check(new IpOnlyRequest(keyBuilders, client.partition, this.#ipOnlyCosts, this.#failureModes, this.#usesSlots))
  }

  /** The status of each policy. */
  statusesOf ({ statuses }: RequestDecision, isUser: boolean): PolicyStatus[] {
    return this.policies.map((policy, index) => {
      const status = statuses[index]
      return { name: policy.name, quota: quotaOf(policy, isUser).quota, remaining: status?.remaining, resetMs: isConcurrencyPolicy(policy) ? undefined : status?.resetMs, retryMs: status?.retryMs ?? 0 }
    })
  }

  /** The violated policies, and the time after which all of them allow the request. */
  violations ({ statuses }: RequestDecision): { violated: readonly LimitPolicy<Request, Reply>[], retryMs: number } {
    const violated: LimitPolicy<Request, Reply>[] = []
    let retryMs = 0
    for (const [index, policy] of this.policies.entries()) {
      const ownMs = statuses[index]?.retryMs ?? 0
      if (policy.isDryRun || ownMs <= 0) continue
      violated.push(policy)
      retryMs = Math.max(retryMs, ownMs)
    }
    return { violated, retryMs }
  }

  /** The general case: each policy has its own partition and cost, which the app's functions may return as promises. */
  #checkEach (limiter: QuotaChecker, request: Request, client: IdentifiedClient, isCluster: boolean): PendingReply<RequestDecision> {
    const appValues = this.#constant ?? callAppFunctions(this.policies, request)
    if (!isPromise(appValues)) return this.#checkApplied(limiter, request, client, isCluster, appValues)
    const decision = new PendingReply<RequestDecision>()
    const failed = (error: Error) => decision.reject(error)
    appValues.then((appValues) => this.#checkApplied(limiter, request, client, isCluster, appValues).subscribe({ onReply: (value) => decision.resolve(value), onError: failed })).catch(failed)
    return decision
  }

  #checkApplied (limiter: QuotaChecker, request: Request, client: IdentifiedClient, isCluster: boolean, appValues: readonly AppValues[]): PendingReply<RequestDecision> {
    const appliedPolicies = this.#applyPolicies(appValues, client)
    const groups = this.#groups(appliedPolicies, isCluster)
    const decisions = groups.map((group) => limiter.check(this.#requestOf(request, client, appValues, group, isCluster)))
    const together = (all: readonly RequestDecision[]) => mergeDecisions(all.map((decision, at) => ({ decision, indexes: groups[at] ?? [], isDryRun: this.policies[groups[at]?.[0] ?? 0]?.isDryRun === true })))
    return PendingReply.all(decisions).map(together)
  }

  #applyPolicies (appValues: readonly AppValues[], client: IdentifiedClient): AppliedPolicy[] {
    return this.policies.map((policy, index) => applyPolicy(policy, appValues[index] as AppValues, client))
  }

  /** Groups policies that are consumed together or not at all; each dry-run policy is a group of its own. */
  #groups (appliedPolicies: readonly AppliedPolicy[], isCluster: boolean): number[][] {
    const groups = new Map<string, number[]>()
    appliedPolicies.forEach(({ partition }, index) => {
      const name = this.policies[index]?.isDryRun === true ? `dry-run ${index}` : isCluster ? `${partition.kind} ${partition.id}` : ''
      groups.set(name, [...groups.get(name) ?? [], index])
    })
    return [...groups.values()]
  }

  #requestOf (request: Request, client: IdentifiedClient, appValues: readonly AppValues[], group: readonly number[], isCluster: boolean): CheckRequest {
    const keyBuilders = this.#keyBuilders.get(request.method) ?? this.#others
    const appliedPolicies = this.#applyPolicies(appValues, client)
    const applied = group.flatMap((index) => appliedPolicies[index] ?? [])
    const keys = applied.map(({ partition: { kind, id, session } }, at) => keyBuilders[group[at] ?? 0]?.(kind, id, session?.key) ?? '')
    const session = this.#sessionOf(client, applied, group, isCluster)
    const check = {
      name: `${keys.join(' ')} ${applied.map(({ cost }) => cost.text).join()} ${session?.devices.join() ?? ''}`,
      keys,
      costs: applied.map(({ cost }) => cost),
      failureModes: group.map((index) => this.#failureModes[index] ?? 'local'),
      hasSlots: applied.some(({ cost }) => isConcurrency(cost))
    }
    if (session === undefined) return check
    // Runs when the reply is read, and uses the values that the app's functions have returned already.
    return { ...check, session, withoutSession: () => this.#requestOf(request, asAnonymous(client), appValues, group, isCluster) }
  }

  /** The session that must be valid for this check: it identifies the client, or its user has a different quota. In a Cluster an address and a session are in different slots; a session in another Redis has been confirmed before. */
  #sessionOf (client: IdentifiedClient, applied: readonly AppliedPolicy[], group: readonly number[], isCluster: boolean): UnverifiedSession | undefined {
    if (client.session?.confirm !== undefined) return undefined
    const session = applied.find(({ partition }) => partition.session !== undefined)?.partition.session
    if (session !== undefined || isCluster || client.session?.userId === undefined) return session
    return group.some((index) => this.policies[index]?.userQuota !== undefined) ? client.session : undefined
  }
}

/** A check whose policies all count the address. The keys are built lazily: of coalesced checks only the first needs them. */
class IpOnlyRequest implements CheckRequest {
  readonly scope: readonly KeyBuilder[]
  readonly costs: readonly QuotaCost[]
  readonly failureModes: CheckRequest['failureModes']
  readonly hasSlots: boolean
  readonly #partition: Partition
  #keys: readonly string[] | undefined

  constructor (keyBuilders: readonly KeyBuilder[], partition: Partition, costs: readonly QuotaCost[], failureModes: CheckRequest['failureModes'], hasSlots: boolean) {
    this.scope = keyBuilders
    this.#partition = partition
    this.costs = costs
    this.failureModes = failureModes
    this.hasSlots = hasSlots
  }

  get name (): string {
    return this.#partition.id
  }

  get keys (): readonly string[] {
    return (this.#keys ??= this.scope.map((buildKey) => buildKey(this.#partition.kind, this.#partition.id)))
  }
}

const noPolicies: RequestDecision = Object.freeze({ isAllowed: true, statuses: Object.freeze([]) })

function stageOf<Request, Reply> (policy: LimitPolicy<Request, Reply>, hasSeparateSessions: boolean): Stage {
  if (policy.hook === 'preHandler') return 'preHandler'
  return policy.quotaFunction !== undefined || (hasSeparateSessions && dependsOnSession(policy)) ? 'session' : 'first'
}

function dependsOnSession<Request, Reply> ({ by, userQuota }: LimitPolicy<Request, Reply>): boolean {
  return by === 'user' || by === 'session' || userQuota !== undefined
}

function isConcurrencyPolicy (policy: { readonly quota: Quota } | undefined): boolean {
  return policy?.quota.algorithm === 'concurrency'
}

/** The window that clients are told; concurrency limits have none. */
function windowOf ({ quota }: { readonly quota: Quota }): number | undefined {
  return quota.algorithm === 'concurrency' ? undefined : quota.windowMs
}

function ipOnlyCostsOf<Request, Reply> (policies: readonly LimitPolicy<Request, Reply>[]): readonly QuotaCost[] | undefined {
  const isPlain = policies.every(({ by, cost, userQuota, quotaFunction, isDryRun }) => by === 'ip' && typeof cost === 'number' && userQuota === undefined && quotaFunction === undefined && !isDryRun)
  return isPlain ? policies.map(({ quota, cost }) => quotaCostOf(quota, Number(cost))) : undefined
}

/** The endpoint part of a counter's key. Several counters of a route differ by policy name; concurrency limits always have theirs. */
export function endpointOf<Request, Reply> (policy: LimitPolicy<Request, Reply>, method: string, pattern: string | undefined, all: readonly LimitPolicy<Request, Reply>[]): string {
  if (policy.group !== undefined) return policy.group
  if (pattern === undefined) return globalGroup
  const isAlone = !isConcurrencyPolicy(policy) && all.filter((other) => other.group === undefined && !isConcurrencyPolicy(other)).length === 1
  return isAlone ? `${method}:${pattern}` : `${method}:${pattern}#${policy.name}`
}
