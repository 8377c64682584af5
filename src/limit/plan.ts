import { rateLimitItem, rateLimitPolicyField } from '../http/rate-limit.ts'
import { Answer } from '../redis/answer.ts'
import type { Keys } from '../redis/keys.ts'
import { isPromise } from '../returned.ts'
import type { Claim, Limiter } from './limiter.ts'
import { asksApp, askApp, asStranger, meet, quotaOf } from './meeting.ts'
import type { Counted, Meeting, Said, Visitor } from './meeting.ts'
import type { Partition, SessionClaim } from './partition.ts'
import { wholeStack } from './policy.ts'
import type { LimitPolicy } from './policy.ts'
import { isPlace, termOf } from './quota.ts'
import type { Quota, Term } from './quota.ts'
import { joinVerdicts } from './verdict.ts'
import type { Verdict } from './verdict.ts'

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

type Speller = (kind: string, who: string, sessionKey?: string) => string

/** Which part of a route's policies a plan is. */
interface Part {
  /** those that are asked once the session is known */
  readonly isLate: boolean
  /** sessions are in another Redis than the one that counts */
  readonly isApart: boolean
}

const first: Part = { isLate: false, isApart: false }

/** All policies of one route, with everything that does not change from request to request made beforehand. */
export class LimitPlan<Request extends Counted, Reply> {
  readonly policies: readonly LimitPolicy<Request, Reply>[]
  /** whether some, also of those that are late, limit what is under way at once */
  readonly hasPlaces: boolean
  /** whether a policy depends on who has signed in */
  readonly needsSession: boolean
  /** the policies that are asked once the session is known: whose quota depends on what it holds; in {@link apart} also those that depend on who has signed in */
  readonly late: LimitPlan<Request, Reply> | undefined
  readonly #makeApart: () => LimitPlan<Request, Reply>
  #apart: LimitPlan<Request, Reply> | undefined
  readonly #spellers: Map<string, Speller[]>
  readonly #others: Speller[]
  readonly #fields: { anonymous: string, user: string }
  readonly #items: ((remaining: number, resetMs: number) => string)[]
  /** the terms of every request, where all are counted by address and at one cost */
  readonly #plainTerms: readonly Term[] | undefined
  readonly #takesPlaces: boolean
  readonly #failures: LimitPolicy<Request, Reply>['failure'][]
  /** where no policy asks the app */
  readonly #constant: readonly Said[] | undefined

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
    this.late = isLate || policies.length === all.length ? undefined : new LimitPlan(all, keys, methods, pattern, { isLate: true, isApart })
    this.#takesPlaces = policies.some(isOfPlaces)
    this.hasPlaces = this.#takesPlaces || this.late?.hasPlaces === true
    this.needsSession = all.some(dependsOnSession)
    this.#makeApart = () => new LimitPlan(all, keys, methods, pattern, { isLate, isApart: true })
    this.#spellers = new Map(methods.map((method) => [method, spell(method === 'HEAD' ? 'GET' : method)]))
    this.#others = spell('ANY')
    this.#fields = { anonymous: fieldFor(false), user: fieldFor(true) }
    this.#items = policies.map((policy) => rateLimitItem(policy.name, windowOf(policy)))
    this.#plainTerms = plainTermsOf(policies)
    this.#failures = policies.map(({ failure, isObserved }) => isObserved ? 'open' : failure)
    this.#constant = policies.some(asksApp) ? undefined : policies.map(({ cost }) => ({ partition: undefined, cost: Number(cost), quota: undefined }))
  }

  /** The same policies where sessions are in another Redis than the one that counts: those that depend on who has signed in are late. */
  get apart (): LimitPlan<Request, Reply> {
    return (this.#apart ??= this.#makeApart())
  }

  /** Every counter of a partition that this plan may take from; the places of what is under way are none. */
  keysOf (kind: string, who: string, sessionKey?: string): string[] {
    const own = [...this.#spellers.values(), this.#others].flatMap((spellers) => spellers.filter((_, index) => !isOfPlaces(this.policies[index])).map((spell) => spell(kind, who, sessionKey)))
    return [...own, ...this.late?.keysOf(kind, who, sessionKey) ?? []]
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
    if (this.policies.length === 0) return Answer.of(nothingAsked)
    const spellers = this.#spellers.get(request.method) ?? this.#others
    if (this.#plainTerms === undefined) return this.#askEach(limiter, request, visitor, isCluster)
    return limiter.ask(new PlainClaim(spellers, visitor.partition, this.#plainTerms, this.#failures, this.#takesPlaces))
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

  /** The common way: each policy with a partition and a term of its own. What the app tells later is asked later. */
  #askEach (limiter: Limiter, request: Request, visitor: Visitor, isCluster: boolean): Answer<Verdict> {
    const said = this.#constant ?? askApp(this.policies, request)
    if (!isPromise(said)) return this.#askSaid(limiter, request, visitor, isCluster, said)
    const verdict = new Answer<Verdict>()
    const failed = (error: Error) => verdict.reject(error)
    said.then((said) => this.#askSaid(limiter, request, visitor, isCluster, said).hear({ answered: (value) => verdict.resolve(value), failed })).catch(failed)
    return verdict
  }

  #askSaid (limiter: Limiter, request: Request, visitor: Visitor, isCluster: boolean, said: readonly Said[]): Answer<Verdict> {
    const meetings = this.#meet(said, visitor)
    const groups = this.#groups(meetings, isCluster)
    const verdicts = groups.map((group) => limiter.ask(this.#claim(request, visitor, said, group, isCluster)))
    const together = (all: readonly Verdict[]) => joinVerdicts(all.map((verdict, at) => ({ verdict, terms: groups[at] ?? [], isObserved: this.policies[groups[at]?.[0] ?? 0]?.isObserved === true })))
    return Answer.all(verdicts).map(together)
  }

  #meet (said: readonly Said[], visitor: Visitor): Meeting[] {
    return this.policies.map((policy, index) => meet(policy, said[index] as Said, visitor))
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

  #claim (request: Request, visitor: Visitor, said: readonly Said[], group: readonly number[], isCluster: boolean): Claim {
    const spellers = this.#spellers.get(request.method) ?? this.#others
    const meetings = this.#meet(said, visitor)
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
    // It is called where Redis's answer is read: what the app has said of this request holds there too.
    return { ...claim, session, withoutSession: () => this.#claim(request, asStranger(visitor), said, group, isCluster) }
  }

  /** The session that must live for a claim to stand: whose partition it is, or whose user has a quota of another size. In a Cluster an address lies elsewhere than a session; one in another Redis was confirmed before. */
  #sessionOf (visitor: Visitor, met: readonly Meeting[], group: readonly number[], isCluster: boolean): SessionClaim | undefined {
    if (visitor.session?.confirm !== undefined) return undefined
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

const nothingAsked: Verdict = Object.freeze({ isAllowed: true, standings: Object.freeze([]) })

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
