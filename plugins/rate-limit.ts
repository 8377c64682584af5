import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import { QuotaExceededError } from '../src/errors.ts'
import { addressGroup } from '../src/http/address-group.ts'
import { problemFields, problemOf, problemType } from '../src/http/problem.ts'
import { quotaExceededType } from '../src/http/rate-limit.ts'
import { Limiter } from '../src/limit/limiter.ts'
import type { Verdict } from '../src/limit/limiter.ts'
import { LimitPlan } from '../src/limit/plan.ts'
import type { Partition, PolicyStanding } from '../src/limit/plan.ts'
import { choiceNames, resolveLimitPolicies, resolvePolicy } from '../src/limit/policy.ts'
import type { LimitChoice, LimitPolicy } from '../src/limit/policy.ts'
import { readRecord } from '../src/options.ts'

/** What a route or a scope may choose; see docs/rate-limits.md. */
export type RouteRateLimit = LimitChoice<FastifyRequest, FastifyReply>

/** What the stack counts of every request. */
export type RateLimitOptions = Omit<RouteRateLimit, 'group'>

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

const counted = Symbol('prism.counted')
/** What a request waits for, and what came. */
interface Count { readonly verdict: () => Promise<Verdict>, came?: Verdict }
type Counted = FastifyRequest & { [counted]?: { plan: Plan, count: Count } | null }

const addressesKept = 10_000

/**
 * Refuses a request over its quota, before anybody else has worked for it.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration and at a route's declaration
 */
export default fp<RateLimitOptions>(async (fastify, options) => {
  const stack = readRecord('rateLimit', options, choiceNames.filter((name) => name !== 'group')) as RateLimitOptions
  resolvePolicy(stack)
  const limiter = new Limiter(fastify.redisPool.batch)
  fastify.redisPool.on('outage', (isOut: boolean) => { if (!isOut) limiter.recover() })
  const partitionOf = partitions()

  fastify.decorateRequest(counted, null)
  fastify.decorateRequest('rateLimit', {
    getter (this: Counted) {
      const { plan, count } = this[counted] ?? {}
      return plan === undefined || count?.came === undefined ? [] : plan.standings(count.came)
    }
  })

  fastify.journey.join<Plan | undefined>({
    name: 'rateLimit',
    resolve (choices, route?: RouteOptions) {
      const policies = resolveLimitPolicies<FastifyRequest, FastifyReply>(stack, choices, route !== undefined)
      return policies && new LimitPlan(policies, fastify.redisPool.keyspace, [route?.method ?? []].flat(), route?.url)
    },
    ask (request: Counted, _reply, plan) {
      if (plan === undefined) return
      request[counted] = { plan, count: { verdict: limiter.ask(plan.claims(request, (policy) => partitionOf(request, policy))) } }
    },
    async answer (request: Counted, reply, plan) {
      const count = request[counted]?.count
      if (plan === undefined || count === undefined) return
      const verdict = count.came = await count.verdict()
      const field = plan.field(verdict)
      reply.header('ratelimit-policy', plan.policyField)
      if (field !== undefined) reply.header('ratelimit', field)
      if (!verdict.isAllowed) await refuseRequest(request, reply, plan, verdict)
    }
  })
}, { name: 'rate-limit', fastify: '5.x', dependencies: ['redis', 'journey'] })

function partitions (): (request: FastifyRequest, policy: Policy) => Partition {
  const byAddress = new LRUCache<string, Partition>({ max: addressesKept })
  const addressOf = (request: FastifyRequest): Partition => {
    const known = byAddress.get(request.ip)
    if (known !== undefined) return known
    // What a trusted proxy names may still be no address: then the proxy itself is counted.
    const group = addressGroup(request.ip) ?? addressGroup(request.socket.remoteAddress ?? '')
    const partition = { kind: 'ip', who: group ?? 'unknown' }
    if (group !== undefined && request.ip.length < 64) byAddress.set(request.ip, partition)
    return partition
  }
  return (request, { by }) => {
    const named = by === 'ip' ? undefined : by(request)
    return named === undefined ? addressOf(request) : { kind: 'custom', who: named }
  }
}

/** The app's own error handler is not asked: what a refusal looks like is part of what clients rely on. `onRefused` may ask it. */
async function refuseRequest (request: FastifyRequest, reply: FastifyReply, plan: Plan, verdict: Verdict): Promise<void> {
  const { violated, retryMs } = plan.refusal(verdict)
  const names = violated.map(({ name }) => name)
  const retryAfterSeconds = Math.max(1, Math.ceil(retryMs / 1000))
  const error = Object.assign(new QuotaExceededError(names.join(', '), retryAfterSeconds), {
    retryAfterSeconds,
    problem: { type: quotaExceededType, title: 'Request cannot be satisfied as assigned quota has been exceeded', 'violated-policies': names }
  })
  reply.code(429).headers({ 'cache-control': 'no-store', ...problemFields(error) })
  const onRefused = violated.find((policy) => policy.onRefused !== undefined)?.onRefused
  const payload = onRefused === undefined ? undefined : await onRefused(request, reply, error)
  if (reply.sent) return
  if (onRefused !== undefined && payload !== undefined) reply.send(payload)
  else reply.type(problemType).send(Buffer.from(JSON.stringify(problemOf(error, request.id))))
}
