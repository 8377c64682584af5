import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { StepResult } from './request-lifecycle.ts'
import { claimDecorators } from '../src/shared/decorators.ts'
import { onClosed } from '../src/http/response-lifecycle.ts'
import { problemFields, problemOf, problemType, writeProblem } from '../src/http/problem.ts'
import { legacyRateLimitFields } from '../src/http/rate-limit.ts'
import { OptionError } from '../src/shared/errors.ts'
import { declaredRoutes, isInEffect } from '../src/route-config/declared-routes.ts'
import { RequestCheck } from '../src/rate-limit/request-check.ts'
import { Limiter } from '../src/rate-limit/limiter.ts'
import { ProgrammaticLimits } from '../src/rate-limit/programmatic-limits.ts'
import { ClientResolver } from '../src/rate-limit/partition.ts'
import type { UnverifiedSession } from '../src/rate-limit/partition.ts'
import { RouteLimits } from '../src/rate-limit/route-limits.ts'
import type { PolicyStatus } from '../src/rate-limit/route-limits.ts'
import { SharedGroups, resolveLimitOptions, resolveLimitPolicies } from '../src/rate-limit/options.ts'
import type { LimitChoice, LimitOptions } from '../src/rate-limit/options.ts'
import { quotaExceeded } from '../src/rate-limit/quota-exceeded.ts'
import type { RequestDecision } from '../src/rate-limit/decision.ts'

export { rateLimitStore } from '../src/rate-limit/fastify-rate-limit-store.ts'
export type { Checked, NamedQuota } from '../src/rate-limit/programmatic-limits.ts'
export type { PolicyStatus } from '../src/rate-limit/route-limits.ts'

/** What a route or a scope may choose; see docs/rate-limits.md. */
export type RouteRateLimit = LimitChoice<FastifyRequest, FastifyReply>

/** What the stack counts of every request. */
export type RateLimitOptions = LimitOptions<FastifyRequest, FastifyReply>

/** What a route says in its `config`. @fastify/rate-limit gives the same name a type: an app that has both packages keeps that one, which takes our options too, see below. */
export interface RouteLimitContext {
  /** Quotas of this route, beside the stack's; false counts nothing. */
  rateLimit?: 'createRateLimit' extends keyof FastifyInstance ? unknown : RouteRateLimit | RouteRateLimit[] | false
}

/** @ts-ignore: most apps do not have this package */
declare module '@fastify/rate-limit' {
  interface RateLimitOptions extends Omit<LimitChoice<FastifyRequest, FastifyReply>, 'onExceeded'> {}
}

declare module './request-lifecycle.ts' {
  interface RouteDefaults {
    /** Quotas of the routes of this scope, beside the stack's; false counts nothing. */
    rateLimit?: RouteRateLimit | RouteRateLimit[] | false
  }
}

declare module 'fastify' {
  interface FastifyContextConfig extends RouteLimitContext {}
  interface FastifyInstance {
    /** Quotas for what is no request: check, peek, reset. */
    readonly rateLimits: Pick<ProgrammaticLimits, 'check' | 'peek' | 'reset' | 'ipv6Prefix'>
  }
  interface FastifyRequest {
    /** What its policies say of this request; empty before it is counted, and where nothing is. */
    readonly rateLimit: readonly PolicyStatus[]
  }
}

type Plan = RouteLimits<FastifyRequest, FastifyReply>

const counting = Symbol('prism.count')
/** Undefined in a scope that was opened before this plugin was registered: its requests have no fields that were added later. */
type Counted = FastifyRequest & { [counting]: RequestCheck<FastifyRequest, FastifyReply> | null | undefined }
/** A session plugin says here what a sealed cookie names, before Redis has been asked, and what became of it. */
type RequestWithSession = FastifyRequest & { sessionClaim?: UnverifiedSession | undefined, visitor?: { readonly state: string } }

/**
 * Refuses a request over its quota, before anybody else has worked for it.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration and at a route's declaration
 */
export default fp<RateLimitOptions>(async (fastify, options) => {
  const { stack, global } = resolveLimitOptions(options)
  const keepDecorators = claimDecorators(fastify, 'rateLimit', { instance: ['rateLimits'], request: ['rateLimit'] })
  const pool = fastify.redisPool
  const limiter = new Limiter(pool.batch)
  const clients = new ClientResolver(global.allowList, global.ipv6Subnet)
  const plans: Plan[] = []
  const groups = new SharedGroups()
  const limits = new ProgrammaticLimits(limiter, pool.keyspace, plans, global.ipv6Subnet)
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
  fastify.decorateRequest('rateLimit', { getter (this: FastifyRequest) { return (this as Counted)[counting]?.statuses ?? [] } })
  keepDecorators()

  fastify.requestLifecycle.join<Plan | undefined>({
    name: 'rateLimit',
    resolve (choices, route?: RouteOptions) {
      const policies = resolveLimitPolicies<FastifyRequest, FastifyReply>(stack, choices, route !== undefined)
      if (policies === undefined) return undefined
      groups.check(policies)
      const plan = new RouteLimits(policies, pool.keyspace, [route?.method ?? []].flat(), route?.url)
      plans.push(plan)
      return plan
    },
    policyForInternal: () => undefined,
    enqueueReads (request, reply, plan) {
      if (plan === undefined) return
      const { partition, isAllowed } = clients.resolve(request)
      if (isAllowed) return
      const session = plan.needsSession ? (request as RequestWithSession).sessionClaim : undefined
      const count = new RequestCheck(session?.confirm === undefined ? plan : plan.apart, limiter, request, { partition, session }, pool.server?.isCluster === true)
      ;(request as Counted)[counting] = count
      if (plan.hasPlaces) onClosed(request.raw, reply.raw, () => { count.release() })
      // Refused from memory: it costs Redis nothing.
      if (count.decision.value?.isAllowed === false) return 'stop'
    },
    useReplies (request, reply) {
      const count = (request as Counted)[counting]
      if (count == null) return
      const { limits: plan, decision, confirm } = count
      if (decision.value === undefined) return decision
      const going = tell(plan, decision.value, request, reply)
      // Sessions in another Redis: who has signed in is counted once that has answered, before a guard refuses the request uncounted.
      return going === undefined && confirm !== undefined && plan.isSessionDependent !== undefined ? waitLate(count, plan.isSessionDependent, request, reply) : going
    },
    // A quota of session data waits until the session is loaded: a second round trip.
    useRepliesLate (request, reply) {
      const count = (request as Counted)[counting]
      if (count?.limits.isSessionDependent !== undefined && count.confirm === undefined) return waitLate(count, count.limits.isSessionDependent, request, reply)
    }
  })

  async function waitLate (count: RequestCheck<FastifyRequest, FastifyReply>, late: Plan, request: FastifyRequest, reply: FastifyReply): Promise<StepResult> {
    const isLive = count.confirm === undefined ? (request as RequestWithSession).visitor?.state === 'live' : await count.confirm()
    return await tell(late, await count.checkSessionDependent(late, request, isLive), request, reply)
  }

  function tell (plan: Plan, decision: RequestDecision, request: FastifyRequest, reply: FastifyReply): StepResult | Promise<StepResult> {
    const count = (request as Counted)[counting]
    count?.record(plan, decision)
    if (plan.policies.length === 0) return undefined
    addField(reply, 'ratelimit-policy', plan.policyField(count?.isUser === true))
    const field = plan.field(decision)
    if (field !== undefined) addField(reply, 'ratelimit', field)
    if (global.legacyHeaders) reply.headers(legacyRateLimitFields(request.rateLimit))
    if (!decision.isAllowed) return refuse(plan, decision, request, reply)
  }

  /** The app's own error handler is not asked: what a refusal looks like is part of what clients rely on. `onRefused` may ask it. */
  async function refuse (plan: Plan, decision: RequestDecision, request: FastifyRequest, reply: FastifyReply): Promise<StepResult> {
    const { violated, retryMs } = plan.refusal(decision)
    const error = quotaExceeded(violated.map(({ name }) => name), retryMs, global.jitter)
    reply.code(429).headers({ 'cache-control': 'no-store', ...problemFields(error) })
    const onRefused = violated.find((policy) => policy.onExceeded !== undefined)?.onExceeded
    const payload = await onRefused?.(request, reply, error)
    if (reply.sent) return 'stop'
    if (payload !== undefined) reply.send(payload)
    else reply.type(problemType).send(writeProblem(problemOf(error, request.id)))
    return 'stop'
  }
}, { name: 'fastify-prism/rate-limit', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** Adds to a list that a field holds already. */
function addField (reply: FastifyReply, name: string, value: string): void {
  const before = reply.getHeader(name)
  reply.header(name, before === undefined ? value : `${before}, ${value}`)
}
