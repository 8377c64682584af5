import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Going } from './journey.ts'
import { problemFields, problemOf, problemType } from '../src/http/problem.ts'
import { Limiter } from '../src/limit/limiter.ts'
import type { Verdict } from '../src/limit/limiter.ts'
import { Limits } from '../src/limit/limits.ts'
import { Clients, partitionBy } from '../src/limit/partition.ts'
import type { SessionClaim } from '../src/limit/partition.ts'
import { Places } from '../src/limit/places.ts'
import type { Place, PlaceClaim } from '../src/limit/places.ts'
import { asStranger, LimitPlan } from '../src/limit/plan.ts'
import type { PolicyStanding, Visitor } from '../src/limit/plan.ts'
import { Groups, resolveLimitOptions, resolveLimitPolicies } from '../src/limit/policy.ts'
import type { LimitChoice, LimitOptions } from '../src/limit/policy.ts'
import { quotaExceeded } from '../src/limit/refusal.ts'

export { rateLimitStore } from '../src/limit/foreign-store.ts'
export type { Checked, NamedQuota } from '../src/limit/limits.ts'
export type { PolicyStanding } from '../src/limit/plan.ts'

/** What a route or a scope may choose; see docs/rate-limits.md. */
export type RouteRateLimit = LimitChoice<FastifyRequest, FastifyReply>

/** What the stack counts of every request. */
export type RateLimitOptions = LimitOptions<FastifyRequest, FastifyReply>

/** What a route says in its `config`. @fastify/rate-limit gives the same name a type: an app that has both packages keeps that one, which takes our options too, see below. */
export interface RouteLimits {
  /** Quotas of this route, beside the stack's; false counts nothing. */
  rateLimit?: 'createRateLimit' extends keyof FastifyInstance ? unknown : RouteRateLimit | RouteRateLimit[] | false
}

/** @ts-ignore: most apps do not have this package */
declare module '@fastify/rate-limit' {
  interface RateLimitOptions extends LimitChoice<FastifyRequest, FastifyReply> {}
}

declare module './journey.ts' {
  interface RouteDefaults {
    /** Quotas of the routes of this scope, beside the stack's; false counts nothing. */
    rateLimit?: RouteRateLimit | RouteRateLimit[] | false
  }
}

declare module 'fastify' {
  interface FastifyContextConfig extends RouteLimits {}
  interface FastifyInstance {
    /** Quotas for what is no request: check, peek, reset. */
    readonly rateLimits: Pick<Limits, 'check' | 'peek' | 'reset'>
  }
  interface FastifyRequest {
    /** What its policies say of this request; empty before it is counted, and where nothing is. */
    readonly rateLimit: readonly PolicyStanding[]
  }
}

type Plan = LimitPlan<FastifyRequest, FastifyReply>

/** What a request waits for, and what came. */
interface Count {
  readonly plan: Plan
  readonly visitor: Visitor<FastifyRequest, FastifyReply>
  readonly verdict: Promise<Verdict> | Verdict
  /** for each place that it wants whether all were taken */
  readonly holding: Promise<boolean[]> | undefined
  /** what came, of the plan and of its late one */
  came: readonly { plan: Plan, verdict: Verdict }[]
}

const nothing: Count['came'] = []
const counting = Symbol('prism.count')
type Counted = FastifyRequest & { [counting]: Count | null }
/** A session plugin says here what a sealed cookie names, before Redis has been asked, and what became of it. */
type Claimant = FastifyRequest & { sessionClaim?: SessionClaim | undefined, visitor?: { readonly state: string } }

/**
 * Refuses a request over its quota, before anybody else has worked for it.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration and at a route's declaration
 */
export default fp<RateLimitOptions>(async (fastify, options) => {
  const { stack, house } = resolveLimitOptions(options)
  const pool = fastify.redisPool
  const limiter = new Limiter(pool.batch)
  const places = new Places(pool.batch, () => limiter.store.deadlineMs())
  const clients = new Clients(house.allow, house.ipv6Prefix)
  const plans: Plan[] = []
  const groups = new Groups()
  const limits = new Limits(limiter, pool.keyspace, plans, house.ipv6Prefix)
  pool.on('outage', (isOut: boolean) => { if (!isOut) limiter.recover() })
  fastify.addHook('onClose', () => places.close())

  // @fastify/rate-limit calls its own decorator rateLimit: both must be able to stand in one app.
  fastify.decorate('rateLimits', { getter: () => limits })
  fastify.decorateRequest(counting, null)
  fastify.decorateRequest('rateLimit', { getter (this: FastifyRequest) { return standingsOf((this as Counted)[counting]) } })

  fastify.journey.join<Plan | undefined>({
    name: 'rateLimit',
    resolve (choices, route?: RouteOptions) {
      const chosen = resolveLimitPolicies<FastifyRequest, FastifyReply>(stack, choices, route !== undefined)
      if (chosen === undefined) return undefined
      groups.check(chosen.policies)
      const plan = new LimitPlan(chosen, pool.keyspace, [route?.method ?? []].flat(), route?.url)
      plans.push(plan)
      return plan
    },
    forOwn: () => undefined,
    ask (request, reply, plan) {
      if (plan === undefined) return
      const { partition, isAllowed } = clients.find(request.ip, request.socket.remoteAddress)
      if (isAllowed) return
      const session = plan.needsSession ? (request as Claimant).sessionClaim : undefined
      const visitor: Visitor<FastifyRequest, FastifyReply> = { partition, session, partitionBy: ({ by }) => partitionBy(by, request, session) }
      const verdict = plan.ask(limiter, request, visitor, pool.server?.isCluster === true)
      const holding = plan.places.length > 0 && !plan.placesNeedSession ? hold(places, plan.placeClaims(visitor), reply) : undefined
      ;(request as Counted)[counting] = { plan, visitor, verdict, holding, came: nothing }
    },
    answer (request, reply) {
      const count = (request as Counted)[counting]
      if (count === null) return
      const verdict = count.verdict
      const isSimple = count.holding === undefined && !(verdict instanceof Promise)
      return isSimple ? tell(count, count.plan, verdict, request, reply) : wait(count, request, reply)
    }
  })

  // What depends on the session waits until it is loaded: a second round trip.
  fastify.addHook('onRequest', function late (request, reply, done) {
    const count = (request as Counted)[counting]
    if (count === null || (count.plan.late === undefined && !count.plan.placesNeedSession)) return done()
    waitLate(count, request, reply).then((going) => { if (going !== 'over') done() }, done)
  })

  async function wait (count: Count, request: FastifyRequest, reply: FastifyReply): Promise<Going> {
    const going = await tell(count, count.plan, await count.verdict, request, reply)
    return going === 'over' || count.holding === undefined ? going : await admit(count, await count.holding, request, reply)
  }

  async function waitLate (count: Count, request: FastifyRequest, reply: FastifyReply): Promise<Going> {
    const { plan } = count
    const isLive = (request as Claimant).visitor?.state === 'live'
    const visitor = isLive ? count.visitor : asStranger(count.visitor)
    const going = plan.late && await tell(count, plan.late, await plan.late.ask(limiter, request, visitor, pool.server?.isCluster === true), request, reply)
    return going === 'over' || !plan.placesNeedSession ? going : await admit(count, await hold(places, plan.placeClaims(visitor), reply), request, reply)
  }

  function tell (count: Count, plan: Plan, verdict: Verdict, request: FastifyRequest, reply: FastifyReply): Going | Promise<Going> {
    if (verdict.failure !== undefined) throw verdict.failure
    const field = plan.field(verdict)
    count.came = [...count.came, { plan, verdict }]
    addField(reply, 'ratelimit-policy', plan.policyField(isUser(count)))
    if (field !== undefined) addField(reply, 'ratelimit', field)
    if (house.legacyFields) tellLegacy(standingsOf(count), reply)
    if (verdict.isAllowed) return
    const { violated, retryMs } = plan.refusal(verdict)
    return refuse(violated, retryMs, request, reply)
  }

  function admit ({ plan }: Count, full: readonly boolean[], request: FastifyRequest, reply: FastifyReply): Going | Promise<Going> {
    const violated = plan.places.filter((_, index) => full[index])
    if (violated.length > 0) return refuse(violated, 1000, request, reply)
  }

  /** The app's own error handler is not asked: what a refusal looks like is part of what clients rely on. `onRefused` may ask it. */
  async function refuse (violated: Plan['policies'], retryMs: number, request: FastifyRequest, reply: FastifyReply): Promise<Going> {
    const error = quotaExceeded(violated.map(({ name }) => name), retryMs, house.jitter)
    reply.code(429).headers({ 'cache-control': 'no-store', ...problemFields(error) })
    const onRefused = violated.find((policy) => policy.onRefused !== undefined)?.onRefused
    const payload = onRefused === undefined ? undefined : await onRefused(request, reply, error)
    if (reply.sent) return 'over'
    if (payload !== undefined) reply.send(payload)
    else reply.type(problemType).send(Buffer.from(JSON.stringify(problemOf(error, request.id))))
    return 'over'
  }
}, { name: 'rate-limit', fastify: '5.x', dependencies: ['redis', 'journey'] })

/**
 * Takes the places of a request, and gives them back when its reply has left or its client has gone.
 *
 * @returns for each whether it was full
 */
function hold (places: Places, claims: readonly PlaceClaim[], reply: FastifyReply): Promise<boolean[]> {
  const taking = claims.map((claim) => places.take(claim))
  const release = (place: Place | 'free' | undefined) => { if (typeof place === 'object') places.release(place) }
  reply.raw.once('close', () => { for (const each of taking) each.then(release, () => {}) })
  const held = Promise.all(taking).then((all) => all.map((place) => place === undefined))
  held.catch(() => {}) // a request may end before it looks
  return held
}

function isUser ({ visitor }: Count): boolean {
  return visitor.session?.userId !== undefined
}

function standingsOf (count: Count | null): PolicyStanding[] {
  return count === null ? [] : count.came.flatMap(({ plan, verdict }) => plan.standings(verdict, isUser(count)))
}

/** Adds to a list that a field holds already. */
function addField (reply: FastifyReply, name: string, value: string): void {
  const before = reply.getHeader(name)
  reply.header(name, before === undefined ? value : `${before}, ${value}`)
}

/** What clients read before there was a draft: the policy with the least left. */
function tellLegacy (told: readonly PolicyStanding[], reply: FastifyReply): void {
  const tightest = told.filter(({ remaining }) => remaining !== undefined).sort((one, other) => Number(one.remaining) - Number(other.remaining))[0]
  if (tightest === undefined) return
  reply.headers({ 'x-ratelimit-limit': tightest.quota, 'x-ratelimit-remaining': tightest.remaining, 'x-ratelimit-reset': Math.ceil(Number(tightest.resetMs) / 1000) })
}
