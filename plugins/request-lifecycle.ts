import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { ScopeError } from '../src/shared/errors.ts'
import { InternalRequests } from '../src/http/internal-requests.ts'
import type { InternalRequest } from '../src/http/internal-requests.ts'
import { isPreflight } from '../src/http/preflight.ts'
import { endRejectedUpgrades } from '../src/http/rejected-upgrades.ts'
import { discardPayload, unwrapResponse } from '../src/http/payload.ts'
import { onSendHooksOf, prependOnRequest } from '../src/shared/on-send-hooks.ts'
import { readRecord } from '../src/shared/option-readers.ts'
import { PendingReply } from '../src/redis/batch/pending-reply.ts'
import type { PooledRedis } from '../src/redis/client.ts'
import { routeConfigOf } from '../src/shared/route-config.ts'
import { checkRouteConfigs, refuseUnresolved } from '../src/route-config/check.ts'
import { declaredRoutes, isPreflightOnly, routeOf } from '../src/route-config/declared-routes.ts'
import type { LifecycleParticipant } from './lifecycle-participant.ts'

export type { LifecycleParticipant, StepResult } from './lifecycle-participant.ts'

/** Registry of the plugins that take part in each request. In each step they run in the order in which they joined. */
export interface RequestLifecycle {
  join<Policy> (participant: LifecycleParticipant<Policy>): void
  /** The policies of a route as plain data, from the route's `config` in an onRoute hook or later; for documentation of routes. */
  describe (config: unknown): RoutePolicies
  /** The resolved policies of a route's `config`, by plugin name; internal. */
  resolvedFrom (config: unknown): Readonly<Record<string, unknown>>
  /** Injects an internal request, which runs all hooks. Resolves when the response is complete. `internalRequestOf` returns `mark` for it. */
  send (request: InternalRequest, mark: object): Promise<void>
  /** The `mark` of an internal request; null for the request of a client. */
  internalRequestOf (request: FastifyRequest): object | null
  /** Position of the hook that runs `beforeSend` and `onSend` of the plugins among the onSend hooks of its scope and the scopes inside it; -1 if unknown. */
  readonly onSendPosition: number
}

/** The policies of a route as plain data; a part that is not registered is missing. Each plugin adds its own by declaration merging. */
export interface RoutePolicies {}

/** Options that `routeDefaults` accepts. Each plugin adds its own by declaration merging. */
export interface RouteDefaults {}

declare module 'fastify' {
  interface FastifyInstance {
    /** Runs rate limit, session and cache in each request's hooks. */
    requestLifecycle: RequestLifecycle
    /** Sets the options that routes of this scope and of its child scopes inherit. Call it before the routes are declared. */
    routeDefaults (defaults: RouteDefaults): void
  }
}

type Policies = readonly unknown[]

const chosen = Symbol('prism.scope')
const resolved = Symbol('prism.route')
const assigned = Symbol('prism.policies')
const received = Symbol('prism.received-policies')
const marked = Symbol('prism.internal')

interface Scope { [chosen]?: readonly Record<string, unknown>[] }
type RequestWithPolicies = FastifyRequest & { [assigned]?: Policies | null, [received]?: Policies | null, [marked]?: object | null }
interface Config { [resolved]?: Policies }

/**
 * Runs each request's lifecycle: enqueue reads → use replies → handler → onSend → onResponse.
 * The Redis reads of all plugins are sent in one write.
 */
export default fp(async (fastify) => {
  endRejectedUpgrades(fastify)
  const participants: LifecycleParticipant<unknown>[] = []
  let onSendPosition = -1
  const fallback: unknown[] = []
  const declared = declaredRoutes(fastify)
  const extent = { scope: fastify, features: new Set<string>() }
  declared.extents.push(extent)
  /** The policies of each declared route; a plugin that joins later appends its own. */
  const resolutions: unknown[][] = []
  /** `useReplies` of all plugins, then `useRepliesLate`; `at` is the index of the plugin's policy. */
  let steps: { readonly at: number, readonly run: NonNullable<LifecycleParticipant<unknown>['useReplies']> }[] = []
  const join = <Policy>(participant: LifecycleParticipant<Policy>) => {
    // Register the onResponse hook only when a plugin uses it: an unused hook costs time on every request.
    if (participant.onResponse !== undefined && participants.every(({ onResponse }) => onResponse === undefined)) fastify.addHook('onResponse', runOnResponse)
    participants.push(participant as LifecycleParticipant<unknown>)
    extent.features.add(participant.name)
    const byDefault = participant.resolve([])
    for (const policies of [fallback, ...resolutions]) policies.push(byDefault)
    steps = (['useReplies', 'useRepliesLate'] as const).flatMap((step) => participants.flatMap((each, at) => each[step] === undefined ? [] : { at, run: each[step] }))
  }
  function runOnResponse (request: RequestWithPolicies, reply: FastifyReply, done: () => void): void {
    const policies = request[assigned] ?? fallback
    for (let index = 0; index < participants.length; index++) participants[index]?.onResponse?.(request, reply, policies[index])
    done()
  }
  const policiesOf = (request: FastifyRequest): Policies => (routeConfigOf(request) as Config | undefined)?.[resolved] ?? policiesOfUnresolved(request)
  /** For requests without a route, and for routes declared before the stack. The check at start rejects such a route if it configures a feature, but cannot see every route. */
  const policiesOfUnresolved = ({ routeOptions: { config, url }, server }: FastifyRequest): Policies => {
    if (!declared.isComplete) refuseUnresolved(config, url, server)
    return fallback
  }

  const resolvedFrom = (config: unknown) => {
    const policies = (config as Config | undefined)?.[resolved] ?? fallback
    return Object.fromEntries(participants.map(({ name }, index) => [name, policies[index]]))
  }

  const describe = (config: unknown): RoutePolicies => {
    const policies = (config as Config | undefined)?.[resolved] ?? fallback
    return Object.fromEntries(participants.flatMap(({ name, describe }, index) => describe === undefined ? [] : [[name, describe(policies[index])]]))
  }

  const internalRequests = new InternalRequests((options) => fastify.inject(options))
  const internalRequestOf = (request: RequestWithPolicies) => request[marked] ?? null
  /** The policies of an internal request; marks the request as internal. */
  const applyInternal = (request: RequestWithPolicies, policies: Policies): Policies => {
    const mark = internalRequests.reveal(request)
    if (mark === undefined) return policies
    request[marked] = mark
    return participants.map(({ policyForInternal }, index) => policyForInternal === undefined ? policies[index] : policyForInternal())
  }

  fastify.decorate('requestLifecycle', { getter: () => ({ join, describe, resolvedFrom, send: (request, mark) => internalRequests.send(request, mark), internalRequestOf, get onSendPosition () { return onSendPosition } }) })
  fastify.decorate('routeDefaults', function routeDefaults (this: FastifyInstance & Scope, defaults: RouteDefaults) {
    if (this === fastify && participants.length === 0) throw new ScopeError('routeDefaults()', 'the stack is not registered in this scope yet; register it first')
    const names = participants.map(({ name }) => name)
    const record = readRecord('routeDefaults', defaults, names)
    this[chosen] = [...this[chosen] ?? [], record]
    for (const participant of participants) participant.resolve(choicesOf(this, participant.name))
  })

  fastify.addHook('onRoute', function resolve (this: FastifyInstance & Scope, route) {
    const config = { ...route.config } as Record<string, unknown> & Config
    const record = routeOf(declared, route)
    const policies = participants.map((participant) => {
      const own = config[participant.name]
      record?.read.set(participant.name, own)
      return participant.resolve(own === undefined ? choicesOf(this, participant.name) : [...choicesOf(this, participant.name), own], route, this)
    })
    resolutions.push(policies)
    deferPreflights(route, config)
    config[resolved] = policies
    route.config = config as typeof route.config
    const isResolved = () => (route.config as Config | undefined)?.[resolved] === policies
    if (record !== undefined) record.isResolved = isResolved
  })
  fastify.addHook('onReady', async () => checkRouteConfigs(declared, (facts, text) => fastify.log.warn(facts, text)))

  // Callback hooks instead of async functions: a step that has nothing to wait for costs no microtask.
  fastify.decorateRequest(assigned, null)
  fastify.decorateRequest(received, null)
  fastify.decorateRequest(marked, null)
  /**
   * A preflight to which no plugin replies in onRequest takes part in the lifecycle only where its route has more methods, or opts in: see `deferPreflights`.
   * Of a route that was not resolved only the methods are known.
   */
  const isExempt = ({ raw, routeOptions: { config, method } }: FastifyRequest) =>
    isPreflight(raw.method, raw.headers) && (method === undefined || method === 'OPTIONS' || (config as Config | undefined)?.[resolved] !== undefined)
  function enqueueReads (request: RequestWithPolicies, reply: FastifyReply): void {
    const given = request[received] ?? policiesOf(request)
    const policies = request[assigned] = internalRequests.isEmpty ? given : applyInternal(request, given)
    for (let index = 0; index < participants.length; index++) if (participants[index]?.enqueueReads?.(request, reply, policies[index]) === 'stop') break
  }
  // Hooks in front of the stack may change what a plugin needs as received.
  prependOnRequest(fastify, function receive (request: RequestWithPolicies, _reply: FastifyReply, done: () => void) {
    const policies = request[received] = (routeConfigOf(request) as Config | undefined)?.[resolved]
    if (policies !== undefined) for (let index = 0; index < participants.length; index++) participants[index]?.beforeHooks?.(request, policies[index])
    done()
  })
  const repliesOfTick = (isFirstWait: boolean): Promise<void> | undefined => isFirstWait ? (fastify as { redisPool?: PooledRedis }).redisPool?.batch.replies : undefined
  /** Runs the steps in order, starting at index `from`. */
  const runStepsFrom = (from: number, request: RequestWithPolicies, reply: FastifyReply, done: (error?: Error) => void, isFirstWait = true): void => {
    const policies = request[assigned] ?? fallback
    try {
      for (let index = from; index < steps.length; index++) {
        const { at, run } = steps[index] as typeof steps[number]
        const result = run(request, reply, policies[at])
        if (result === 'stop') return
        if (result === undefined) continue
        // All replies of a tick arrive together: one promise for its requests. The step runs again, and waits for its own reply if that is not there yet.
        if (result instanceof PendingReply) (repliesOfTick(isFirstWait) ?? result.settled()).then(() => runStepsFrom(index, request, reply, done, false))
        else result.then((result) => { if (result !== 'stop') runStepsFrom(index + 1, request, reply, done) }, done)
        return
      }
    } catch (error) {
      return done(error as Error)
    }
    done()
  }
  fastify.addHook('onRequest', function enqueueReadsAndUseReplies (request: RequestWithPolicies, reply, done) {
    if (request.raw.method === 'OPTIONS' && isExempt(request)) return done()
    enqueueReads(request, reply)
    runStepsFrom(0, request, reply, done)
  })
  /**
   * @fastify/cors replies to preflights in onRequest, wherever it is registered. A preflight that still reaches a route which serves other methods too, or
   * whose own config sets a limit or a session, is a request like any other: else two headers would evade both. Route-level hooks run after those of all scopes.
   */
  function deferPreflights (route: RouteOptions, config: Record<string, unknown>): void {
    if (![route.method].flat().includes('OPTIONS')) return
    if (isPreflightOnly({ method: route.method }) && participants.every(({ name }) => config[name] === undefined)) return
    const deferred: onRequestHookHandler = function deferred (request: RequestWithPolicies, reply, done) {
      if (request[assigned] !== null) return done()
      enqueueReads(request, reply)
      runStepsFrom(0, request, reply, done)
    }
    route.onRequest = [deferred, ...[route.onRequest ?? []].flat()]
  }

  /** Runs `onSend` of the plugins in order, starting at index `from`; each receives the payload of the one before. */
  const runOnSendFrom = (from: number, request: RequestWithPolicies, reply: FastifyReply, payload: unknown, done: (error: Error | null, payload?: unknown) => void): void => {
    const policies = request[assigned] ?? fallback
    try {
      for (let index = from; index < participants.length; index++) {
        const before = payload
        const changed = participants[index]?.onSend?.(request, reply, before, policies[index])
        if (changed instanceof Promise) {
          changed.then((changed: unknown) => runOnSendFrom(index + 1, request, reply, changed === undefined ? before : changed, done), (error: Error) => failSend(before, error, done))
          return
        }
        if (changed !== undefined) payload = changed
      }
    } catch (error) {
      return failSend(payload, error as Error, done)
    }
    done(null, payload)
  }
  /** Fastify sends the error instead of the payload, and does not release the payload. */
  const failSend = (payload: unknown, error: Error, done: (error: Error) => void): void => {
    discardPayload(payload)
    done(error)
  }
  fastify.addHook('onSend', function onSend (request: RequestWithPolicies, reply, sent, done) {
    const policies = request[assigned] ?? fallback
    const payload = unwrapResponse(sent, reply)
    for (let index = 0; index < participants.length; index++) participants[index]?.beforeSend?.(request, reply, policies[index], sent)
    runOnSendFrom(0, request, reply, payload, done)
  })
  // Fastify adds a hook once what was registered before is loaded.
  fastify.after(() => { onSendPosition = (onSendHooksOf(fastify)?.length ?? 0) - 1 })
}, { name: 'fastify-prism/request-lifecycle', fastify: '5.x' })

function choicesOf (scope: Scope, name: string): readonly unknown[] {
  return (scope[chosen] ?? []).map((defaults) => defaults[name]).filter((choice) => choice !== undefined)
}
