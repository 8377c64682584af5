import { stringifySetCookie } from 'cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { claimDecorators } from '../src/shared/decorators.ts'
import { OriginError, SessionAssignmentError, SessionRequiredError } from '../src/shared/errors.ts'
import { isOpaqueOrigin, isSafeMethod, isAllowedOrigin } from '../src/http/origin.ts'
import type { RequestOrigin } from '../src/http/origin.ts'
import { wantsWebSocket } from '../src/http/upgrade.ts'
import { PooledRedis } from '../src/redis/client.ts'
import { logReasons } from '../src/redis/health/reason-log.ts'
import type { CookieChange } from '../src/session/parsed-cookie.ts'
import { SessionCookies } from '../src/session/session-cookie.ts'
import { EvictionMonitor, maxReadingAgeMs } from '../src/session/eviction-monitor.ts'
import { SessionManager } from '../src/session/session-manager.ts'
import type { Sessions } from '../src/session/session-manager.ts'
import { ReplyMonitor } from '../src/session/reply-monitor.ts'
import { resolveSessionOrigins, resolveSessionPolicy, resolveSessionUse } from '../src/session/options.ts'
import type { SessionChoice, SessionOptions, SessionRoute } from '../src/session/options.ts'
import type { Session as VisitorSession, SessionState } from '../src/session/session.ts'
import { fieldsOf } from '../src/session/session-token.ts'
import { RequestSession } from '../src/session/request-session.ts'

export type { Revocation, Sessions } from '../src/session/session-manager.ts'
export type { ConflictRule, MergeFunction } from '../src/session/conflict-rules.ts'
export type { SessionChoice, SessionOptions } from '../src/session/options.ts'
export type { Device, Session, SessionState, SignInOptions } from '../src/session/session.ts'

declare module './request-lifecycle.ts' {
  interface RouteDefaults {
    /** `required`: 401 without a signed-in user; `optional` (default); `false`: no session at all; `{ use, origins }`: with origins of its own */
    session?: SessionChoice
  }
}

declare module 'fastify' {
  /** What sessions hold; an app adds its own keys: `declare module 'fastify' { interface SessionData { cart: string[] } }`. */
  interface SessionData {}

  interface FastifyContextConfig {
    /** `required`: 401 without a signed-in user; `optional` (default); `false`: no session at all; `{ use, origins }`: with origins of its own */
    session?: SessionChoice
  }

  interface FastifyRequest {
    /** The visitor's session; there for every hook after the stack's own, empty for a new visitor. */
    session: VisitorSession<SessionData>
    /** How often `session` was taken from this request so far: a count that grew while something ran says that its outcome depends on the visitor. */
    sessionReads: number
    /** Who visits, for plugins that must know without using the session: it counts as no read of it. `unverified` is what the cookie names, live or not. */
    readonly visitor: { readonly state: SessionState, readonly userId: string | undefined, readonly id: string | undefined, readonly unverified: { readonly userId: string | undefined, readonly id: string } | undefined }
    /** Whether a page of an origin that neither `session.trustedOrigins` nor the route names makes an unsafe request or asks for a WebSocket. Its session is empty, and cannot be changed. */
    readonly isFromOtherOrigin: boolean
    /** Which session the cookie names, for who counts before Redis was asked: whether it lives is not known. `confirm` tells it where sessions have a Redis of their own, and is absent where the stack's can be asked. */
    readonly sessionClaim: { readonly userId: string | undefined, readonly key: string, readonly devices: readonly string[], readonly confirm?: () => Promise<boolean> } | undefined
  }

  interface FastifyInstance {
    /** Any user's sessions: list, revoke, hear of revocations. */
    sessions: Sessions
  }
}

const visiting = Symbol('prism.visit')
const replying = Symbol('prism.reply')
/** Undefined in a scope that was opened before this plugin was registered: its requests have no fields that were added later. */
type RequestWithSession = FastifyRequest & { [visiting]: RequestSession<object> | null | undefined, [replying]: FastifyReply | null | undefined }

/**
 * Loads the visitor's session with the request; saves it, when changed, with the reply.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 */
export default fp<SessionOptions>(async (fastify, options) => {
  const policy = resolveSessionPolicy(options)
  const keepDecorators = claimDecorators(fastify, 'session', { instance: ['sessions'], request: ['session', 'sessionReads', 'visitor', 'sessionClaim', 'isFromOtherOrigin'] })
  const pool = policy.redis === undefined ? fastify.redisPool : new PooledRedis(policy.redis)
  if (pool !== fastify.redisPool) {
    fastify.redisPool.others.set('sessions', pool)
    logReasons(pool, fastify.log, 'sessions')
  }
  const replyMonitor = new ReplyMonitor({
    setCookie: (change, reply) => { sendCookie(change, reply as FastifyReply) },
    warn: (reply, text) => { (reply as FastifyReply).log.warn({ route: (reply as FastifyReply).request.routeOptions.url }, text) }
  })
  const sessionManager = new SessionManager(policy, pool.batch, pool.keyspace, (err) => fastify.log.error({ err }, 'A listener of session revocations failed'), replyMonitor)
  const cookies = new SessionCookies(policy, sessionManager.keys, (name, value, attributes) => stringifySetCookie({ ...attributes, name, value }))

  fastify.decorate('sessions', { getter: () => sessionManager })
  fastify.decorateRequest(visiting, null)
  fastify.decorateRequest(replying, null)
  fastify.decorateRequest('sessionReads', 0)
  fastify.decorateRequest('visitor', { getter (this: FastifyRequest) { return visitOf(this as RequestWithSession) } })
  fastify.decorateRequest('session', {
    getter (this: FastifyRequest): FastifyRequest['session'] {
      this.sessionReads = (this.sessionReads ?? 0) + 1
      return visitOf(this as RequestWithSession)
    },
    setter () { throw new SessionAssignmentError('request.session', 'it belongs to the stack; call session.set(key, value), signIn() or signOut()') }
  } as { getter (this: FastifyRequest): FastifyRequest['session'] })
  fastify.decorateRequest('isFromOtherOrigin', { getter (this: FastifyRequest) { return isForeign(this) } })
  fastify.decorateRequest('sessionClaim', { getter (this: FastifyRequest) { return claimOf(this) } })
  keepDecorators()

  fastify.requestLifecycle.join<SessionRoute>({
    name: 'session',
    resolve: (choices) => ({ use: resolveSessionUse(choices), origins: resolveSessionOrigins(choices) }),
    enqueueReads (request, reply, { use }) {
      (request as RequestWithSession)[replying] = reply
      if (use === false) (request as RequestWithSession)[visiting] = new RequestSession(sessionManager, { isSessionDisabled: true })
      else if (request.headers.cookie !== undefined && !isForeign(request)) ((request as RequestWithSession)[visiting] = new RequestSession(sessionManager, cookies.open(request), reply)).load()
    },
    useReplies (request, _reply, { use }) {
      if (use !== false && isForeign(request) && (isOpaqueOrigin(request.headers.origin) || cookies.isIn(request))) throw new OriginError()
      const requestSession = (request as RequestWithSession)[visiting]
      const loading = requestSession?.pendingLoad
      if (loading !== undefined || use !== 'required') return loading
      if (requestSession == null) throw new SessionRequiredError()
      requestSession.requireUser()
    },
    onSend (request, reply) {
      const requestSession = (request as RequestWithSession)[visiting]
      if (requestSession == null) return
      // Most requests only read: nothing waits for them.
      if (requestSession.isSettled) close(requestSession, reply)
      else return requestSession.save().finally(() => { close(requestSession, reply) })
    }
  })

  const evictionMonitor = new EvictionMonitor({ readMemory: () => pool.memoryReader.read(maxReadingAgeMs), count: (keys) => { sessionManager.evictedKeys += keys }, warn: (facts, text) => fastify.log.warn(facts, text) })
  const retell = () => { sessionManager.tombstones.republish() }
  pool.on('server', retell)
  if (pool !== fastify.redisPool) await pool.start()
  fastify.addHook('onClose', () => {
    evictionMonitor.close()
    sessionManager.tombstones.close()
    pool.off('server', retell)
    if (pool !== fastify.redisPool) pool.disconnect()
  })

  /** Whether a page of an origin that is not trusted makes a request that such a page must not make with the visitor's session. */
  function isForeign (request: FastifyRequest): boolean {
    if (isSafeMethod(request.method) && !wantsWebSocket(request.headers.upgrade)) return false
    const requestOrigin = provenanceOf(request)
    return !isAllowedOrigin(requestOrigin, policy.trustedOrigins) && !isAllowedOrigin(requestOrigin, originsOf(request))
  }

  function provenanceOf ({ host, protocol, headers }: FastifyRequest): RequestOrigin {
    return { host, origin: headers.origin, site: headers['sec-fetch-site'] as string | undefined, isSecure: protocol === 'https' }
  }

  function originsOf ({ routeOptions }: FastifyRequest): readonly string[] {
    return (fastify.requestLifecycle.resolvedFrom(routeOptions.config).session as SessionRoute).origins
  }

  function visitOf (request: RequestWithSession): RequestSession<object> {
    return (request[visiting] ??= unaskedVisit(request))
  }

  /** A cookie that nobody has asked for, because the request was refused before: nobody knows whether its session lives. */
  function unaskedVisit (request: RequestWithSession): RequestSession<object> {
    const reply = request[replying] ?? undefined
    if (isForeign(request)) return new RequestSession(sessionManager, { isForeign: true }, reply)
    if (request.headers.cookie === undefined) return new RequestSession(sessionManager, {}, reply)
    const requestSession = new RequestSession(sessionManager, cookies.open(request), reply)
    requestSession.skipLoad()
    return requestSession
  }

  function claimOf (request: FastifyRequest): FastifyRequest['sessionClaim'] {
    const token = request.headers.cookie !== undefined && !isForeign(request) ? cookies.open(request).token : undefined
    if (token === undefined) return undefined
    const { userId, subject } = token
    if (pool === fastify.redisPool) return { userId, key: token.key, devices: fieldsOf(token) }
    const { keyspace } = fastify.redisPool
    return { userId, key: userId === undefined ? keyspace.anonymousSession(subject) : keyspace.userSession(userId), devices: fieldsOf(token), confirm: () => isLive(request as RequestWithSession) }
  }

  /** Whether the session lives that the cookie names, also on a route without sessions. While Redis does not tell, the cookie counts: it is sealed. */
  async function isLive (request: RequestWithSession): Promise<boolean> {
    let requestSession = request[visiting]
    if (requestSession?.unverified === undefined) {
      requestSession = new RequestSession(sessionManager, cookies.open(request))
      requestSession.load()
    }
    await requestSession.pendingLoad?.settled()
    return requestSession.id !== undefined || requestSession.state === 'unavailable'
  }

  function close (requestSession: RequestSession<object>, reply: FastifyReply): void {
    const change = requestSession.takeCookie()
    if (change !== undefined) setCookie(change, reply)
    requestSession.close()
  }

  function setCookie (change: CookieChange, reply: FastifyReply): void {
    reply.header('set-cookie', cookies.write(change, reply.request))
    // Whoever is given this answer by a cache in between has this visitor's session.
    reply.removeHeader('cdn-cache-control')
    if (!/\b(?:private|no-store)\b/i.test(String(reply.getHeader('cache-control')))) reply.header('cache-control', 'no-store')
  }

  /** Sets the cookie on a reply that a handler has taken over, or takes over now: it may send the fields of either. */
  function sendCookie (change: CookieChange, reply: FastifyReply): void {
    setCookie(change, reply)
    reply.raw.setHeader('set-cookie', reply.getHeader('set-cookie') ?? [])
    reply.raw.setHeader('cache-control', reply.getHeader('cache-control') ?? 'no-store')
  }
}, { name: 'fastify-prism/session', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })
