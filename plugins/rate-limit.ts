import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Going } from './journey.ts'
import { QuotaExceededError } from '../src/errors.ts'
import { problemFields, problemOf, problemType } from '../src/http/problem.ts'
import { quotaExceededType } from '../src/http/rate-limit.ts'
import { Limiter } from '../src/limit/limiter.ts'
import type { Verdict } from '../src/limit/limiter.ts'
import { Clients, customPartition, keyPartition, sessionPartition } from '../src/limit/partition.ts'
import type { Partition, SessionClaim } from '../src/limit/partition.ts'
import { LimitPlan } from '../src/limit/plan.ts'
import type { PolicyStanding, Visitor } from '../src/limit/plan.ts'
import { resolveLimitOptions, resolveLimitPolicies } from '../src/limit/policy.ts'
import type { LimitChoice, LimitOptions, LimitPolicy } from '../src/limit/policy.ts'

/** What a route or a scope may choose; see docs/rate-limits.md. */
export type RouteRateLimit = LimitChoice<FastifyRequest, FastifyReply>

/** What the stack counts of every request. */
export type RateLimitOptions = LimitOptions<FastifyRequest, FastifyReply>

declare module './journey.ts' {
  interface RouteDefaults {
    /** Quotas of the routes of this scope, beside the stack's; false counts nothing. */
    rateLimit?: RouteRateLimit | RouteRateLimit[] | false
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Quotas of this route, beside the stack's; false counts nothing. */
    rateLimit?: RouteRateLimit | RouteRateLimit[] | false
  }
  interface FastifyRequest {
    /** What its policies say of this request; empty before it is counted, and where nothing is. */
    readonly rateLimit: readonly PolicyStanding[]
  }
}

type Plan = LimitPlan<FastifyRequest, FastifyReply>
type Policy = LimitPolicy<FastifyRequest, FastifyReply>

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
  pool.on('outage', (isOut: boolean) => { if (!isOut) limiter.recover() })

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
      return policies && new LimitPlan(policies, pool.keyspace, [route?.method ?? []].flat(), route?.url)
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

function partitionBy (by: Policy['by'], request: FastifyRequest, session: SessionClaim | undefined): Partition | undefined {
  if (by === 'ip') return undefined
  if (by === 'user' || by === 'session') return sessionPartition(by, session)
  if (typeof by === 'function') {
    const name = by(request)
    return name === undefined ? undefined : customPartition(String(name))
  }
  const apiKey = request.headers[by.apiKey]
  return typeof apiKey === 'string' && apiKey !== '' && by.verify(apiKey) ? keyPartition(apiKey) : undefined
}

/** What clients read before there was a draft: the policy with the least left. */
function tellLegacy (request: FastifyRequest, reply: FastifyReply): void {
  const tightest = request.rateLimit.filter(({ remaining }) => remaining !== undefined).sort((one, other) => Number(one.remaining) - Number(other.remaining))[0]
  if (tightest === undefined) return
  reply.headers({ 'x-ratelimit-limit': tightest.quota, 'x-ratelimit-remaining': tightest.remaining, 'x-ratelimit-reset': Math.ceil(Number(tightest.resetMs) / 1000) })
}

/** The app's own error handler is not asked: what a refusal looks like is part of what clients rely on. `onRefused` may ask it. */
async function refuseRequest (request: FastifyRequest, reply: FastifyReply, plan: Plan, verdict: Verdict, jitter: number): Promise<Going> {
  const { violated, retryMs } = plan.refusal(verdict)
  const names = violated.map(({ name }) => name)
  const retryAfterSeconds = Math.max(1, Math.ceil(retryMs / 1000 * (1 + jitter * Math.random())))
  const error = Object.assign(new QuotaExceededError(names.join(', '), retryAfterSeconds), {
    retryAfterSeconds,
    problem: { type: quotaExceededType, title: 'Request cannot be satisfied as assigned quota has been exceeded', 'violated-policies': names }
  })
  reply.code(429).headers({ 'cache-control': 'no-store', ...problemFields(error) })
  const onRefused = violated.find((policy) => policy.onRefused !== undefined)?.onRefused
  const payload = onRefused === undefined ? undefined : await onRefused(request, reply, error)
  if (reply.sent) return 'over'
  if (payload !== undefined) reply.send(payload)
  else reply.type(problemType).send(Buffer.from(JSON.stringify(problemOf(error, request.id))))
  return 'over'
}
