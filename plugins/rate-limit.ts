import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Going } from './journey.ts'
import { claimDecorators } from '../src/decorators.ts'
import { whenOver } from '../src/http/exchange.ts'
import { problemFields, problemOf, problemType, writeProblem } from '../src/http/problem.ts'
import { legacyRateLimitFields } from '../src/http/rate-limit.ts'
import { OptionError } from '../src/errors.ts'
import { declaredRoutes, isInEffect } from '../src/route-config/declared-routes.ts'
import { Count } from '../src/limit/count.ts'
import { Limiter } from '../src/limit/limiter.ts'
import { Limits } from '../src/limit/limits.ts'
import { Clients } from '../src/limit/partition.ts'
import type { SessionClaim } from '../src/limit/partition.ts'
import { LimitPlan } from '../src/limit/plan.ts'
import type { PolicyStanding } from '../src/limit/plan.ts'
import { Groups, resolveLimitOptions, resolveLimitPolicies } from '../src/limit/policy.ts'
import type { LimitChoice, LimitOptions } from '../src/limit/policy.ts'
import { quotaExceeded } from '../src/limit/refusal.ts'
import type { Verdict } from '../src/limit/verdict.ts'

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
    readonly rateLimits: Pick<Limits, 'check' | 'peek' | 'reset' | 'ipv6Prefix'>
  }
  interface FastifyRequest {
    /** What its policies say of this request; empty before it is counted, and where nothing is. */
    readonly rateLimit: readonly PolicyStanding[]
  }
}

type Plan = LimitPlan<FastifyRequest, FastifyReply>

const counting = Symbol('prism.count')
/** Undefined in a scope that was opened before this plugin was registered: its requests have no fields that were added later. */
type Counted = FastifyRequest & { [counting]: Count<FastifyRequest, FastifyReply> | null | undefined }
/** A session plugin says here what a sealed cookie names, before Redis has been asked, and what became of it. */
type Claimant = FastifyRequest & { sessionClaim?: SessionClaim | undefined, visitor?: { readonly state: string } }

/**
 * Refuses a request over its quota, before anybody else has worked for it.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration and at a route's declaration
 */
export default fp<RateLimitOptions>(async (fastify, options) => {
  const { stack, house } = resolveLimitOptions(options)
  const keepDecorators = claimDecorators(fastify, 'rateLimit', { instance: ['rateLimits'], request: ['rateLimit'] })
  const pool = fastify.redisPool
  const limiter = new Limiter(pool.batch)
  const clients = new Clients(house.allow, house.ipv6Prefix)
  const plans: Plan[] = []
  const groups = new Groups()
  const limits = new Limits(limiter, pool.keyspace, plans, house.ipv6Prefix)
  const recover = () => limiter.recover()
  pool.on('outage', (isOut: boolean) => { if (!isOut) recover() }).on('server', recover)
  fastify.addHook('onClose', () => limiter.close())
  fastify.addHook('onReady', async () => {
    if (plans.some(({ needsSession }) => needsSession) && !isInEffect(declaredRoutes(fastify), 'session', fastify)) {
      throw new OptionError('rateLimit', "counted by 'ip', an API key or a function where no sessions are registered", "by 'user' or 'session', or has a quota of { user, anonymous }, and would count addresses")
    }
  })

  // @fastify/rate-limit calls its own decorator rateLimit: both must be able to stand in one app.
  fastify.decorate('rateLimits', { getter: () => limits })
  fastify.decorateRequest(counting, null)
  fastify.decorateRequest('rateLimit', { getter (this: FastifyRequest) { return (this as Counted)[counting]?.standings ?? [] } })
  keepDecorators()

  fastify.journey.join<Plan | undefined>({
    name: 'rateLimit',
    resolve (choices, route?: RouteOptions) {
      const policies = resolveLimitPolicies<FastifyRequest, FastifyReply>(stack, choices, route !== undefined)
      if (policies === undefined) return undefined
      groups.check(policies)
      const plan = new LimitPlan(policies, pool.keyspace, [route?.method ?? []].flat(), route?.url)
      plans.push(plan)
      return plan
    },
    forOwn: () => undefined,
    ask (request, reply, plan) {
      if (plan === undefined) return
      const { partition, isAllowed } = clients.find(request)
      if (isAllowed) return
      const session = plan.needsSession ? (request as Claimant).sessionClaim : undefined
      const count = new Count(session?.confirm === undefined ? plan : plan.apart, limiter, request, { partition, session }, pool.server?.isCluster === true)
      ;(request as Counted)[counting] = count
      if (plan.hasPlaces) whenOver(request.raw, reply.raw, () => { count.release() })
      // Refused from memory: it costs Redis nothing.
      if (count.verdict.value?.isAllowed === false) return 'over'
    },
    answer (request, reply) {
      const count = (request as Counted)[counting]
      if (count == null) return
      const { plan, verdict, confirm } = count
      if (verdict.value === undefined) return verdict
      const going = tell(plan, verdict.value, request, reply)
      // Sessions in another Redis: who has signed in is counted once that has answered, before a guard refuses the request uncounted.
      return going === undefined && confirm !== undefined && plan.late !== undefined ? waitLate(count, plan.late, request, reply) : going
    },
    // A quota of session data waits until the session is loaded: a second round trip.
    conclude (request, reply) {
      const count = (request as Counted)[counting]
      if (count?.plan.late !== undefined && count.confirm === undefined) return waitLate(count, count.plan.late, request, reply)
    }
  })

  async function waitLate (count: Count<FastifyRequest, FastifyReply>, late: Plan, request: FastifyRequest, reply: FastifyReply): Promise<Going> {
    const isLive = count.confirm === undefined ? (request as Claimant).visitor?.state === 'live' : await count.confirm()
    return await tell(late, await count.askLate(late, request, isLive), request, reply)
  }

  function tell (plan: Plan, verdict: Verdict, request: FastifyRequest, reply: FastifyReply): Going | Promise<Going> {
    const count = (request as Counted)[counting]
    count?.hear(plan, verdict)
    if (plan.policies.length === 0) return undefined
    addField(reply, 'ratelimit-policy', plan.policyField(count?.isUser === true))
    const field = plan.field(verdict)
    if (field !== undefined) addField(reply, 'ratelimit', field)
    if (house.legacyFields) reply.headers(legacyRateLimitFields(request.rateLimit))
    if (!verdict.isAllowed) return refuse(plan, verdict, request, reply)
  }

  /** The app's own error handler is not asked: what a refusal looks like is part of what clients rely on. `onRefused` may ask it. */
  async function refuse (plan: Plan, verdict: Verdict, request: FastifyRequest, reply: FastifyReply): Promise<Going> {
    const { violated, retryMs } = plan.refusal(verdict)
    const error = quotaExceeded(violated.map(({ name }) => name), retryMs, house.jitter)
    reply.code(429).headers({ 'cache-control': 'no-store', ...problemFields(error) })
    const onRefused = violated.find((policy) => policy.onRefused !== undefined)?.onRefused
    const payload = await onRefused?.(request, reply, error)
    if (reply.sent) return 'over'
    if (payload !== undefined) reply.send(payload)
    else reply.type(problemType).send(writeProblem(problemOf(error, request.id)))
    return 'over'
  }
}, { name: 'fastify-prism/rate-limit', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/journey'] })

/** Adds to a list that a field holds already. */
function addField (reply: FastifyReply, name: string, value: string): void {
  const before = reply.getHeader(name)
  reply.header(name, before === undefined ? value : `${before}, ${value}`)
}
