import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { ScopeError } from '../src/shared/errors.ts'
import { discardPayload, unwrapResponse } from '../src/http/payload.ts'
import { endWithRefusal, isUpgrade, refusePipelinedUpgrades } from '../src/http/upgrade.ts'
import { readRecord } from '../src/shared/option-readers.ts'
import { PendingReply } from '../src/redis/batch/pending-reply.ts'
import { checkRouteConfigs, refuseUnresolved } from '../src/route-config/check.ts'
import { declaredRoutes, routeOf } from '../src/route-config/declared-routes.ts'

/** Whether a request goes on after a beat. */
export type StepResult = void | 'over'

/**
 * One concern's part in every request, beat by beat. `Policy` is what a route chose, resolved once, at onRoute.
 */
export interface LifecycleParticipant<Policy> {
  /** what routes and scopes call it in their config: `rateLimit`, `session`, `cache` */
  name: keyof RouteDefaults
  /**
   * Merges what the enclosing scopes and the route itself chose, outermost first, over the concern's own defaults.
   *
   * @param route absent for what has no route (404s), and for routes declared before the stack
   * @throws {OptionError} PRISM_ERR_OPTION, at the route's declaration
   */
  resolve (choices: readonly unknown[], route?: RouteOptions, scope?: FastifyInstance): Policy
  /** What a request of the app's own is given in place of the route's policy, where the concern speaks of visitors; such a request has none. */
  policyForInternal? (): Policy
  /** onRequest, first: states what it wants of Redis. Synchronous: all of one tick's wants leave together. Says `over` where its answer will end the request: nobody after it asks. */
  enqueueReads? (request: FastifyRequest, reply: FastifyReply, policy: Policy): StepResult
  /** onRequest, second: makes use of what was asked; says what it waits for where that is not here, and is called again. Throws to end the request here, or sends and says `over`: nothing after it runs. */
  useReplies? (request: FastifyRequest, reply: FastifyReply, policy: Policy): StepResult | PendingReply<unknown> | Promise<StepResult>
  /** onRequest, once all have their answers: what depends on those of others. As `answer`. */
  useRepliesLate? (request: FastifyRequest, reply: FastifyReply, policy: Policy): StepResult | PendingReply<unknown> | Promise<StepResult>
  /** onSend, before anybody settles: the answer is as handler, serialisers and earlier hooks made it. Synchronous. */
  beforeSend? (request: FastifyRequest, reply: FastifyReply, policy: Policy): void
  /** onSend, after the handler: may replace the payload by returning another, or null for none. Not called twice. */
  onSend? (request: FastifyRequest, reply: FastifyReply, payload: unknown, policy: Policy): unknown
  /** onResponse: the reply has left. */
  onResponse? (request: FastifyRequest, reply: FastifyReply, policy: Policy): void
}

/** A GET that no visitor has made. */
export interface InternalRequest {
  readonly url: string
  /** names in lower case */
  readonly fields: Readonly<Record<string, string>>
  /** ends it */
  readonly signal: AbortSignal
}

/** Where concerns join; their order is the order of joining, in every beat. */
export interface RequestLifecycle {
  join<Policy> (participant: LifecycleParticipant<Policy>): void
  /** What a route's `config` was resolved to, a policy a concern's name: for documents that tell of the route. */
  resolvedFrom (config: unknown): Readonly<Record<string, unknown>>
  /** Sends a request of the app's own through all hooks; it settles when the answer is complete. `internalRequestOf` tells it from others. */
  send (request: InternalRequest, mark: object): Promise<void>
  /** What a request of the app's own was sent with; null for a visitor's. */
  internalRequestOf (request: FastifyRequest): object | null
}

// Filled in by each concern's plugin, where its options are declared.
export interface RouteDefaults {}

declare module 'fastify' {
  interface FastifyInstance {
    /** Where rate limit, session and cache take part in every request. */
    requestLifecycle: RequestLifecycle
    /** What routes of this scope, and of the scopes inside it, inherit; call it before they are declared. */
    routeDefaults (defaults: RouteDefaults): void
  }
}

type Policies = readonly unknown[]

const chosen = Symbol('prism.scope')
const resolved = Symbol('prism.route')
const assigned = Symbol('prism.policies')
const marked = Symbol('prism.own')
/** Bears a secret of one request: what strangers send there is nothing. */
const internalHeader = 'x-prism-own'

interface Scope { [chosen]?: readonly Record<string, unknown>[] }
type RequestWithPolicies = FastifyRequest & { [assigned]?: Policies | null, [marked]?: object | null }
interface Config { [resolved]?: Policies }

/** The request's journey: ask → answer → handler → settle → tally. Redis is asked once, for all concerns together. */
export default fp(async (fastify) => {
  endRefusedUpgrades(fastify)
  const participants: LifecycleParticipant<unknown>[] = []
  const fallback: unknown[] = []
  const declared = declaredRoutes(fastify)
  const extent = { scope: fastify, features: new Set<string>() }
  declared.extents.push(extent)
  /** of each route declared so far: it grows with each concern that joins later */
  const resolutions: unknown[][] = []
  /** who answers, then who concludes, and whose policy that is */
  let steps: { readonly at: number, readonly take: NonNullable<LifecycleParticipant<unknown>['useReplies']> }[] = []
  const join = <Policy>(participant: LifecycleParticipant<Policy>) => {
    // What is there for nobody costs every request.
    if (participant.onResponse !== undefined && participants.every(({ onResponse }) => onResponse === undefined)) fastify.addHook('onResponse', tally)
    participants.push(participant as LifecycleParticipant<unknown>)
    extent.features.add(participant.name)
    const byDefault = participant.resolve([])
    for (const policies of [fallback, ...resolutions]) policies.push(byDefault)
    steps = (['useReplies', 'useRepliesLate'] as const).flatMap((step) => participants.flatMap((each, at) => each[step] === undefined ? [] : { at, take: each[step] }))
  }
  function tally (request: RequestWithPolicies, reply: FastifyReply, done: () => void): void {
    const policies = request[assigned] ?? fallback
    for (let index = 0; index < participants.length; index++) participants[index]?.onResponse?.(request, reply, policies[index])
    done()
  }
  const policiesOf = (request: FastifyRequest): Policies => (request.routeOptions.config as Config)?.[resolved] ?? policiesOfUnseen(request)
  /** What has no route, or one that was declared before: of the latter the start has refused each that names a feature, where it could see it. */
  const policiesOfUnseen = ({ routeOptions: { config, url }, server }: FastifyRequest): Policies => {
    if (!declared.isComplete) refuseUnresolved(config, url, server)
    return fallback
  }

  const resolvedFrom = (config: unknown) => {
    const policies = (config as Config | undefined)?.[resolved] ?? fallback
    return Object.fromEntries(participants.map(({ name }, index) => [name, policies[index]]))
  }

  const own = new Map<string, object>()
  const send = async ({ url, fields, signal }: InternalRequest, mark: object) => {
    const token = randomUUID()
    own.set(token, mark)
    try {
      await fastify.inject({ method: 'GET', url, headers: { ...fields, [internalHeader]: token }, signal })
    } finally {
      own.delete(token)
    }
  }
  const internalRequestOf = (request: RequestWithPolicies) => request[marked] ?? null
  /** What one of the app's own is given in place of its route's policies. */
  const claim = (request: RequestWithPolicies, policies: Policies): Policies => {
    const token = request.raw.headers[internalHeader]
    const mark = typeof token === 'string' ? own.get(token) : undefined
    if (mark === undefined) return policies
    delete request.raw.headers[internalHeader]
    request[marked] = mark
    return participants.map(({ policyForInternal }, index) => policyForInternal === undefined ? policies[index] : policyForInternal())
  }

  fastify.decorate('requestLifecycle', { getter: () => ({ join, resolvedFrom, send, internalRequestOf }) })
  fastify.decorate('routeDefaults', function routeDefaults (this: FastifyInstance & Scope, defaults: RouteDefaults) {
    if (this === fastify && participants.length === 0) throw new ScopeError('routeDefaults()', 'the stack is not loaded yet')
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
    config[resolved] = policies
    route.config = config as typeof route.config
    if (record !== undefined) record.isResolved = () => (route.config as Config | undefined)?.[resolved] === policies
  })
  fastify.addHook('onReady', async () => checkRouteConfigs(declared, (facts, text) => fastify.log.warn(facts, text)))

  // Hooks with a callback: of what has nothing to wait for, nothing waits.
  fastify.decorateRequest(assigned, null)
  fastify.decorateRequest(marked, null)
  fastify.addHook('onRequest', function ask (request: RequestWithPolicies, reply, done) {
    const given = policiesOf(request)
    const policies = request[assigned] = own.size === 0 ? given : claim(request, given)
    for (let index = 0; index < participants.length; index++) if (participants[index]?.enqueueReads?.(request, reply, policies[index]) === 'over') break
    done()
  })
  /** One step after the other, from this one on. */
  const answerFrom = (from: number, request: RequestWithPolicies, reply: FastifyReply, done: (error?: Error) => void): void => {
    const policies = request[assigned] ?? fallback
    try {
      for (let index = from; index < steps.length; index++) {
        const { at, take } = steps[index] as typeof steps[number]
        const going = take(request, reply, policies[at])
        if (going === 'over') return
        if (going === undefined) continue
        if (going instanceof PendingReply) going.settled().then(() => answerFrom(index, request, reply, done))
        else going.then((going) => { if (going !== 'over') answerFrom(index + 1, request, reply, done) }, done)
        return
      }
    } catch (error) {
      return done(error as Error)
    }
    done()
  }
  fastify.addHook('onRequest', function answer (request: RequestWithPolicies, reply, done) { answerFrom(0, request, reply, done) })

  /** What each concern makes of what the one before has made. */
  const settleFrom = (from: number, request: RequestWithPolicies, reply: FastifyReply, payload: unknown, done: (error: Error | null, payload?: unknown) => void): void => {
    const policies = request[assigned] ?? fallback
    try {
      for (let index = from; index < participants.length; index++) {
        const before = payload
        const changed = participants[index]?.onSend?.(request, reply, before, policies[index])
        if (changed instanceof Promise) {
          changed.then((changed: unknown) => settleFrom(index + 1, request, reply, changed === undefined ? before : changed, done), (error: Error) => giveUp(before, error, done))
          return
        }
        if (changed !== undefined) payload = changed
      }
    } catch (error) {
      return giveUp(payload, error as Error, done)
    }
    done(null, payload)
  }
  /** An error is sent in the place of the payload, which Fastify does not release. */
  const giveUp = (payload: unknown, error: Error, done: (error: Error) => void): void => {
    discardPayload(payload)
    done(error)
  }
  fastify.addHook('onSend', function settle (request: RequestWithPolicies, reply, sent, done) {
    const policies = request[assigned] ?? fallback
    const payload = unwrapResponse(sent, reply)
    for (let index = 0; index < participants.length; index++) participants[index]?.beforeSend?.(request, reply, policies[index])
    settleFrom(0, request, reply, payload, done)
  })
}, { name: 'fastify-prism/request-lifecycle', fastify: '5.x' })

const ending = Symbol('prism.refused-upgrades')
type Routing = FastifyInstance['routing'] & { [ending]?: true }

/**
 * Makes every refusal of an upgrade end its socket. Plugins that upgrade hand the request to `routing` of the root instance, which plain
 * requests do not pass: there the response is known before any hook runs, whatever was registered first.
 */
function endRefusedUpgrades (fastify: FastifyInstance): void {
  const root = ownerOf(fastify, 'routing') as { routing: Routing }
  const { routing } = root
  if (routing[ending] === true) return
  refusePipelinedUpgrades(fastify.server)
  root.routing = Object.assign<FastifyInstance['routing'], { [ending]: true }>((request, response) => {
    if (!isUpgrade(request)) return routing(request, response)
    endWithRefusal(response)
    try {
      routing(request, response)
    } catch (error) {
      response.socket?.destroy()
      throw error
    }
  }, { [ending]: true })
}

/** The object that holds a property which others inherit: scopes inherit from the root instance. */
function ownerOf (scope: object, name: string): object {
  return Object.hasOwn(scope, name) ? scope : ownerOf(Object.getPrototypeOf(scope) as object, name)
}

function choicesOf (scope: Scope, name: string): readonly unknown[] {
  return (scope[chosen] ?? []).map((defaults) => defaults[name]).filter((choice) => choice !== undefined)
}
