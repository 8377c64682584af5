import type { FastifyInstance, FastifyReply, FastifyRequest, preHandlerAsyncHookHandler, preHandlerHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { StepResult } from './request-lifecycle.ts'
import { claimDecorators } from '../src/shared/decorators.ts'
import { onClosed } from '../src/http/response-lifecycle.ts'
import { problemType } from '../src/http/problem.ts'
import { legacyRateLimitFields } from '../src/http/rate-limit.ts'
import { OptionError } from '../src/shared/errors.ts'
import { sessionIdentity, unverifiedSession } from '../src/shared/session-identity.ts'
import type { RequestWithIdentity } from '../src/shared/session-identity.ts'
import { declaredRoutes, isInEffect } from '../src/route-config/declared-routes.ts'
import { addLastPreHandlers } from '../src/route-config/last-hooks.ts'
import { ObservedPartitions } from '../src/rate-limit/early-partitions.ts'
import { RequestCheck } from '../src/rate-limit/request-check.ts'
import { Limiter } from '../src/rate-limit/limiter.ts'
import { PublishedQuotas } from '../src/rate-limit/published-quotas.ts'
import { ProgrammaticLimits } from '../src/rate-limit/programmatic-limits.ts'
import { ClientResolver } from '../src/rate-limit/partition.ts'
import { RouteLimits } from '../src/rate-limit/route-limits.ts'
import type { PolicyStatus } from '../src/rate-limit/route-limits.ts'
import { SharedGroups, resolveLimitOptions, resolveLimitPolicies } from '../src/rate-limit/options.ts'
import type { LimitChoice, LimitOptions } from '../src/rate-limit/options.ts'
import { quotaExceeded, quotaExceededDocument, retryAfterSecondsOf } from '../src/rate-limit/quota-exceeded.ts'
import type { RequestDecision } from '../src/rate-limit/decision.ts'

export { rateLimitStore } from '../src/rate-limit/fastify-rate-limit-store.ts'
export type { Checked, NamedQuota } from '../src/rate-limit/programmatic-limits.ts'
export type { PolicyStatus } from '../src/rate-limit/route-limits.ts'

/** A policy of a route as `requestLifecycle.describe` returns it. */
export interface DescribedLimit {
  readonly name: string
  readonly quota: number
  readonly unit: 'requests' | 'content-bytes' | 'concurrent-requests'
  /** milliseconds; null for concurrent requests */
  readonly windowMs: number | null
  readonly failureMode: 'open' | 'closed' | 'local'
}

/** Rate limit options of a route or a scope; see docs/rate-limits.md. */
export type RouteRateLimit = object & LimitChoice<FastifyRequest, FastifyReply>

/** Options of the plugin. */
export type RateLimitOptions = LimitOptions<FastifyRequest, FastifyReply>

/** What a route says in its `config`. @fastify/rate-limit gives the same name a type: an app that has both packages keeps that one, which takes our options too, see below. */
export interface RouteLimitContext {
  /** Quotas of this route, beside the stack's; false counts nothing. */
  rateLimit?: 'createRateLimit' extends keyof FastifyInstance ? unknown : RouteRateLimit | RouteRateLimit[] | false
}

/** @ts-ignore: most apps do not have this package */
declare module '@fastify/rate-limit' {
  interface RateLimitOptions extends Omit<LimitChoice<FastifyRequest, FastifyReply>, 'hook' | 'onExceeded'> {}
}

declare module './request-lifecycle.ts' {
  interface RouteDefaults {
    /** Quotas of the routes of this scope, beside the stack's; false counts nothing. */
    rateLimit?: RouteRateLimit | RouteRateLimit[] | false
  }
  interface RoutePolicies {
    rateLimit?: readonly DescribedLimit[]
  }
}

declare module 'fastify' {
  interface FastifyContextConfig extends RouteLimitContext {}
  interface FastifyInstance {
    /** Quotas for what is no request: check, peek, reset. */
    readonly rateLimits: Pick<ProgrammaticLimits, 'check' | 'peek' | 'reset' | 'ipv6Subnet'>
  }
  interface FastifyRequest {
    /** What its policies say of this request; empty before it is counted, and where nothing is. */
    readonly rateLimit: readonly PolicyStatus[]
  }
}

type Plan = RouteLimits<FastifyRequest, FastifyReply>

const requestCheck = Symbol('prism.request-check')
/** Undefined in a scope that was created before this plugin was registered: its requests lack later decorators. */
type LimitedRequest = FastifyRequest & { [requestCheck]: RequestCheck<FastifyRequest, FastifyReply> | null | undefined }

/**
 * Rejects requests that exceed a quota with 429, before other work is done for them.
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
  const partitions = new ObservedPartitions<FastifyRequest, FastifyReply>((quota, { error }) => {
    fastify.log.warn({ quota, err: error }, error === undefined
      ? "rateLimit.by names no client in onRequest but does in preHandler, so requests were counted by address: set hook: 'preHandler' beside it"
      : "rateLimit.by threw in onRequest: where it reads what a later hook sets, such as request.user, set hook: 'preHandler' beside it")
  })
  const quotas = new PublishedQuotas(pool.batch, pool.keyspace.rateLimitQuotas())
  const limits = new ProgrammaticLimits(limiter, pool.keyspace, plans, global.ipv6Subnet, quotas)
  const recover = () => {
    limiter.recover()
    quotas.publish()
  }
  pool.on('outage', (isOut: boolean) => { if (!isOut) recover() }).on('server', recover)
  fastify.addHook('onClose', () => {
    limiter.close()
    quotas.close()
  })
  fastify.addHook('onReady', async () => {
    if (plans.some(({ needsSession }) => needsSession) && !isInEffect(declaredRoutes(fastify), 'session', fastify)) {
      throw new OptionError('rateLimit', "counted by 'ip', an API key or a function where no sessions are registered", "by 'user' or 'session', or has a quota of { user, anonymous }, and would count addresses")
    }
    quotas.start()
  })

  // @fastify/rate-limit decorates `rateLimit`: both plugins must work in one app.
  fastify.decorate('rateLimits', { getter: () => limits })
  fastify.decorateRequest(requestCheck, null)
  fastify.decorateRequest('rateLimit', { getter (this: FastifyRequest) { return (this as LimitedRequest)[requestCheck]?.statuses ?? [] } })
  keepDecorators()

  fastify.requestLifecycle.join<Plan | undefined>({
    name: 'rateLimit',
    resolve (choices, route?: RouteOptions) {
      const policies = resolveLimitPolicies<FastifyRequest, FastifyReply>(stack, choices, route !== undefined)
      if (policies === undefined) return undefined
      groups.check(policies)
      const methods = [route?.method ?? []].flat()
      const plan = new RouteLimits(policies.map((policy) => partitions.observe(policy)), pool.keyspace, methods, route?.url)
      plans.push(plan)
      if (route !== undefined) addPreHandlers(route, plan)
      quotas.add(policies, methods, route?.url)
      return plan
    },
    describe: (plan) => plan === undefined ? [] : [plan, plan.sessionDependent, plan.atPreHandler].flatMap((limits) => limits?.policies ?? []).map(describeLimit),
    policyForInternal: () => undefined,
    enqueueReads (request, reply, plan) {
      if (plan === undefined) return
      const { partition, isAllowed } = clients.resolve(request)
      if (isAllowed) return
      const session = plan.needsSession ? (request as RequestWithIdentity)[unverifiedSession] : undefined
      const check = new RequestCheck(session?.confirm === undefined ? plan : plan.withSeparateSessions, limiter, request, { partition, session }, pool.server?.isCluster === true)
      ;(request as LimitedRequest)[requestCheck] = check
      if (plan.hasSlots) onClosed(request.raw, reply.raw, () => { check.release() })
      // Rejected by the deny cache: later plugins enqueue nothing.
      if (check.decision.value?.isAllowed === false) return 'stop'
    },
    useReplies (request, reply) {
      const check = (request as LimitedRequest)[requestCheck]
      if (check == null) return
      const { limits: plan, decision, confirm } = check
      if (decision.value === undefined) return decision
      const result = applyDecision(plan, decision.value, request, reply)
      // Sessions in another Redis: check users as soon as it has replied, before a hook may reject the request uncounted.
      return result === undefined && confirm !== undefined && plan.sessionDependent !== undefined ? checkLate(check, plan.sessionDependent, request, reply) : result
    },
    // A quota that is a function needs the loaded session: a second round trip.
    useRepliesLate (request, reply) {
      const check = (request as LimitedRequest)[requestCheck]
      if (check?.limits.sessionDependent !== undefined && check.confirm === undefined) return checkLate(check, check.limits.sessionDependent, request, reply)
    }
  })

  // Requests without a route have no route-level hooks. Those of other routes run after the hooks of all scopes.
  if (stack.hook === 'preHandler') {
    fastify.addHook('preHandler', async function checkWithoutRoute (request, reply) {
      return (request as LimitedRequest)[requestCheck]?.limits.hasRoute === false ? await checkAtPreHandler(request, reply) : undefined
    })
  }

  /** The last hooks of the route: what the app's guards set is there. */
  function addPreHandlers (route: RouteOptions, plan: Plan): void {
    const hooks: (preHandlerHookHandler | preHandlerAsyncHookHandler)[] = []
    for (const each of partitions.of([...plan.policies, ...plan.sessionDependent?.policies ?? []])) {
      hooks.push(function verifyPartition (request, _reply, done) {
        const verified = each.verify(request)
        if (verified === undefined) done()
        else verified.then(() => { done() }, done)
      })
    }
    if (plan.atPreHandler !== undefined) hooks.push(checkAtPreHandler)
    if (hooks.length > 0) addLastPreHandlers(route, hooks)
  }

  async function checkAtPreHandler (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
    const check = (request as LimitedRequest)[requestCheck]
    const limits = check?.limits.atPreHandler
    if (check == null || limits === undefined || check.hasDecided(limits)) return undefined
    const isLive = check.confirm === undefined || await check.confirm()
    const hasRedisFailed = check.confirm === undefined && sessionStateOf(request) === 'unavailable'
    const decision = await check.checkLater(limits, request, isLive, hasRedisFailed).promise()
    return await applyDecision(limits, decision, request, reply) === 'stop' ? reply : undefined
  }

  async function checkLate (check: RequestCheck<FastifyRequest, FastifyReply>, late: Plan, request: FastifyRequest, reply: FastifyReply): Promise<StepResult> {
    const state = sessionStateOf(request)
    const isLive = check.confirm === undefined ? state === 'live' : await check.confirm()
    const hasRedisFailed = check.confirm === undefined && state === 'unavailable'
    return await applyDecision(late, await check.checkLater(late, request, isLive, hasRedisFailed).promise(), request, reply)
  }

  function applyDecision (plan: Plan, decision: RequestDecision, request: FastifyRequest, reply: FastifyReply): StepResult | Promise<StepResult> {
    const check = (request as LimitedRequest)[requestCheck]
    check?.record(plan, decision)
    if (plan.policies.length === 0) return undefined
    addField(reply, 'ratelimit-policy', plan.policyField(check?.isUser === true))
    const field = plan.field(decision)
    if (field !== undefined) addField(reply, 'ratelimit', field)
    if (global.legacyHeaders) reply.headers(legacyRateLimitFields(request.rateLimit))
    if (!decision.isAllowed) return reject(plan, decision, request, reply)
  }

  /** Bypasses the app's error handler: clients rely on the format of this response. `onExceeded` may throw to reach it. */
  function reject (plan: Plan, decision: RequestDecision, request: FastifyRequest, reply: FastifyReply): StepResult | Promise<StepResult> {
    const { violated, retryMs } = plan.violations(decision)
    const names = violated.map(({ name }) => name)
    const seconds = retryAfterSecondsOf(retryMs, global.jitter)
    reply.code(429).header('cache-control', 'no-store').header('retry-after', String(seconds))
    const onExceeded = violated.find((policy) => policy.onExceeded !== undefined)?.onExceeded
    if (onExceeded !== undefined) return rejectByApp(onExceeded, names, seconds, request, reply)
    sendExceeded(names, seconds, reply)
    return 'stop'
  }

  async function rejectByApp (onExceeded: NonNullable<Plan['policies'][number]['onExceeded']>, names: readonly string[], seconds: number, request: FastifyRequest, reply: FastifyReply): Promise<StepResult> {
    const payload = await onExceeded(request, reply, quotaExceeded(names, seconds))
    if (reply.sent) return 'stop'
    if (payload === undefined) sendExceeded(names, seconds, reply)
    else reply.send(payload)
    return 'stop'
  }
}, { name: 'fastify-prism/rate-limit', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** Undefined where no sessions are registered. */
function sessionStateOf (request: FastifyRequest): string | undefined {
  return (request as RequestWithIdentity)[sessionIdentity]?.state
}

function describeLimit ({ name, unit, quota: { quota, windowMs }, failureMode }: Plan['policies'][number]): DescribedLimit {
  return { name, quota, unit, windowMs: unit === 'concurrent-requests' ? null : windowMs, failureMode }
}

/** As text, which Node writes in one piece with the head. Without a serializer Fastify would add a `charset`, which JSON types do not have. */
function sendExceeded (names: readonly string[], seconds: number, reply: FastifyReply): void {
  reply.type(problemType).serializer(identity).send(quotaExceededDocument(names, seconds, reply.request.id))
}

function identity (payload: string): string {
  return payload
}

/** Appends to a list header. */
function addField (reply: FastifyReply, name: string, value: string): void {
  const before = reply.getHeader(name)
  reply.header(name, before === undefined ? value : `${before}, ${value}`)
}
