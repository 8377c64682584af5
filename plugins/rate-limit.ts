import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Going } from './journey.ts'
import { problemFields, problemOf, problemType } from '../src/http/problem.ts'
import { Limiter } from '../src/limit/limiter.ts'
import type { Verdict } from '../src/limit/limiter.ts'
import { Limits } from '../src/limit/limits.ts'
import { Clients, partitionBy } from '../src/limit/partition.ts'
import type { SessionClaim } from '../src/limit/partition.ts'
import { LimitPlan } from '../src/limit/plan.ts'
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
  readonly isUser: boolean
  readonly verdict: Promise<Verdict> | Verdict
  came: Verdict | undefined
}

const counting = Symbol('prism.count')
type Counted = FastifyRequest & { [counting]: Count | null }
/** A session plugin says here what a sealed cookie names, before Redis has been asked. */
type Claimant = FastifyRequest & { sessionClaim?: SessionClaim | undefined }

/**
 * Refuses a request over its quota, before anybody else has worked for it.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration and at a route's declaration
 */
export default fp<RateLimitOptions>(async (fastify, options) => {
  const { stack, house } = resolveLimitOptions(options)
  const pool = fastify.redisPool
  const limiter = new Limiter(pool.batch)
  const clients = new Clients(house.allow, house.ipv6Prefix)
  const plans: Plan[] = []
  const groups = new Groups()
  const limits = new Limits(limiter, pool.keyspace, plans, house.ipv6Prefix)
  pool.on('outage', (isOut: boolean) => { if (!isOut) limiter.recover() })

  // @fastify/rate-limit calls its own decorator rateLimit: both must be able to stand in one app.
  fastify.decorate('rateLimits', { getter: () => limits })
  fastify.decorateRequest(counting, null)
  fastify.decorateRequest('rateLimit', {
    getter (this: FastifyRequest) {
      const count = (this as Counted)[counting]
      return count?.came === undefined ? [] : count.plan.standings(count.came, count.isUser)
    }
  })

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
    ask (request, _reply, plan) {
      if (plan === undefined) return
      const { partition, isAllowed } = clients.find(request.ip, request.socket.remoteAddress)
      if (isAllowed) return
      const session = plan.needsSession ? (request as Claimant).sessionClaim : undefined
      const visitor: Visitor<FastifyRequest, FastifyReply> = { partition, session, partitionBy: ({ by }) => partitionBy(by, request, session) }
      const verdict = plan.ask(limiter, request, visitor, pool.server?.isCluster === true)
      ;(request as Counted)[counting] = { plan, isUser: session?.userId !== undefined, verdict, came: undefined }
    },
    answer (request, reply) {
      const count = (request as Counted)[counting]
      if (count === null) return
      if (!(count.verdict instanceof Promise)) return answer(count, count.verdict, request, reply)
      return count.verdict.then((verdict) => answer(count, verdict, request, reply))
    }
  })

  function answer (count: Count, verdict: Verdict, request: FastifyRequest, reply: FastifyReply): Going | Promise<Going> {
    const { plan } = count
    count.came = verdict
    const field = plan.field(verdict)
    reply.header('ratelimit-policy', plan.policyField(count.isUser))
    if (field !== undefined) reply.header('ratelimit', field)
    if (house.legacyFields) tellLegacy(request, reply)
    if (!verdict.isAllowed) return refuseRequest(request, reply, plan, verdict, house.jitter)
  }
}, { name: 'rate-limit', fastify: '5.x', dependencies: ['redis', 'journey'] })

/** What clients read before there was a draft: the policy with the least left. */
function tellLegacy (request: FastifyRequest, reply: FastifyReply): void {
  const tightest = request.rateLimit.filter(({ remaining }) => remaining !== undefined).sort((one, other) => Number(one.remaining) - Number(other.remaining))[0]
  if (tightest === undefined) return
  reply.headers({ 'x-ratelimit-limit': tightest.quota, 'x-ratelimit-remaining': tightest.remaining, 'x-ratelimit-reset': Math.ceil(Number(tightest.resetMs) / 1000) })
}

/** The app's own error handler is not asked: what a refusal looks like is part of what clients rely on. `onRefused` may ask it. */
async function refuseRequest (request: FastifyRequest, reply: FastifyReply, plan: Plan, verdict: Verdict, jitter: number): Promise<Going> {
  const { violated, retryMs } = plan.refusal(verdict)
  const error = quotaExceeded(violated.map(({ name }) => name), retryMs, jitter)
  reply.code(429).headers({ 'cache-control': 'no-store', ...problemFields(error) })
  const onRefused = violated.find((policy) => policy.onRefused !== undefined)?.onRefused
  const payload = onRefused === undefined ? undefined : await onRefused(request, reply, error)
  if (reply.sent) return 'over'
  if (payload !== undefined) reply.send(payload)
  else reply.type(problemType).send(Buffer.from(JSON.stringify(problemOf(error, request.id))))
  return 'over'
}
