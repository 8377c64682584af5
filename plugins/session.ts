import { stringifySetCookie } from 'cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { claimDecorators } from '../src/shared/decorators.ts'
import { OriginError, SessionAssignmentError, SessionRequiredError } from '../src/shared/errors.ts'
import { sessionIdentity, unverifiedSession } from '../src/shared/session-identity.ts'
import type { UnverifiedSession } from '../src/shared/session-identity.ts'
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
import type { Session as ClientSession } from '../src/session/session.ts'
import { fieldsOf } from '../src/session/session-token.ts'
import { RequestSession } from '../src/session/request-session.ts'

export type { Revocation, Sessions } from '../src/session/session-manager.ts'
export type { ConflictRule, MergeFunction } from '../src/session/conflict-rules.ts'
export type { SessionChoice, SessionOptions } from '../src/session/options.ts'
export type { Device, Session, SessionState, SignInOptions } from '../src/session/session.ts'

declare module './request-lifecycle.ts' {
  interface RoutePolicies {
    session?: { readonly use: SessionRoute['use'] }
  }
  interface RouteDefaults {
    /** `required`: 401 without a signed-in user; `optional` (default); `false`: no session; `{ use, trustedOrigins }`: with further trusted origins */
    session?: SessionChoice
  }
}

declare module 'fastify' {
  /** Data of sessions; an app adds its own keys: `declare module 'fastify' { interface SessionData { cart: string[] } }`. */
  interface SessionData {}

  interface FastifyContextConfig {
    /** `required`: 401 without a signed-in user; `optional` (default); `false`: no session; `{ use, trustedOrigins }`: with further trusted origins */
    session?: SessionChoice
  }

  interface FastifyRequest {
    /** The client's session, for every hook after the stack's own; empty for a client without one. */
    session: ClientSession<SessionData>
    /** Whether a page of an origin that neither `session.trustedOrigins` nor the route trusts sent an unsafe request or a WebSocket upgrade. Its session is empty and cannot be changed. */
    readonly isFromOtherOrigin: boolean
  }

  interface FastifyInstance {
    /** Sessions of any user: lists them, revokes them, and calls listeners after a revocation. */
    sessions: Sessions
  }
}

const ownSession = Symbol('prism.session')
const ownReply = Symbol('prism.reply')
/** Undefined in a scope that was created before this plugin was registered: its requests lack later decorators. */
type RequestWithSession = FastifyRequest & { [ownSession]: RequestSession<object> | null | undefined, [ownReply]: FastifyReply | null | undefined }

/**
 * Loads the client's session with the request, and saves a changed one with the reply.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 */
export default fp<SessionOptions>(async (fastify, options) => {
  const policy = resolveSessionPolicy(options)
  const keepDecorators = claimDecorators(fastify, 'session', { instance: ['sessions'], request: ['session', 'isFromOtherOrigin'] })
  await policy.redis?.memory?.load()
  const pool = policy.redis === undefined ? fastify.redisPool : new PooledRedis(policy.redis, 'SESSION_REDIS_URL')
  if (pool !== fastify.redisPool) {
    fastify.redisPool.namedPools.set('sessions', pool)
    logReasons(pool, fastify.log, 'sessions')
  }
  const replyMonitor = new ReplyMonitor({
    setCookie: (change, reply) => { sendCookie(change, reply as FastifyReply) },
    warn: (reply, text) => { (reply as FastifyReply).log.warn({ route: (reply as FastifyReply).request.routeOptions.url }, text) }
  })
  const sessionManager = new SessionManager(policy, pool.batch, pool.keyspace, (err) => fastify.log.error({ err }, 'A listener of session revocations failed'), replyMonitor)
  const cookies = new SessionCookies(policy, sessionManager.keys, (name, value, attributes) => stringifySetCookie({ ...attributes, name, value }))

  fastify.decorate('sessions', { getter: () => sessionManager })
  fastify.decorateRequest(ownSession, null)
  fastify.decorateRequest(ownReply, null)
  fastify.decorateRequest(sessionIdentity, { getter (this: FastifyRequest) { return sessionOf(this as RequestWithSession) } })
  fastify.decorateRequest('session', {
    getter (this: FastifyRequest): FastifyRequest['session'] {
      return sessionOf(this as RequestWithSession)
    },
    setter () { throw new SessionAssignmentError('request.session', 'it belongs to the stack; call session.set(key, value), signIn() or signOut()') }
  } as { getter (this: FastifyRequest): FastifyRequest['session'] })
  fastify.decorateRequest('isFromOtherOrigin', { getter (this: FastifyRequest) { return isCrossOrigin(this) } })
  fastify.decorateRequest(unverifiedSession, { getter (this: FastifyRequest) { return unverifiedSessionOf(this) } })
  keepDecorators()
  fastify.addHook('onReady', async () => warnOfPassport(fastify))

  fastify.requestLifecycle.join<SessionRoute>({
    name: 'session',
    resolve: (choices) => ({ use: resolveSessionUse(choices), origins: resolveSessionOrigins(choices) }),
    describe: ({ use }) => ({ use }),
    enqueueReads (request, reply, { use }) {
      (request as RequestWithSession)[ownReply] = reply
      if (use === false) (request as RequestWithSession)[ownSession] = new RequestSession(sessionManager, { isSessionDisabled: true })
      else if (request.headers.cookie !== undefined && !isCrossOrigin(request)) ((request as RequestWithSession)[ownSession] = new RequestSession(sessionManager, cookies.open(request), reply)).load()
    },
    useReplies (request, _reply, { use }) {
      if (use !== false && isCrossOrigin(request) && (isOpaqueOrigin(request.headers.origin) || cookies.isIn(request))) throw new OriginError()
      const requestSession = (request as RequestWithSession)[ownSession]
      const loading = requestSession?.pendingLoad
      if (loading !== undefined || use !== 'required') return loading
      if (requestSession == null) throw new SessionRequiredError()
      requestSession.requireUser()
    },
    onSend (request, reply) {
      const requestSession = (request as RequestWithSession)[ownSession]
      if (requestSession == null) return
      // Most requests only read: they do not wait.
      if (requestSession.isSettled) close(requestSession, reply)
      else return requestSession.save().finally(() => { close(requestSession, reply) })
    }
  })

  const evictionMonitor = new EvictionMonitor({ readMemory: () => pool.memoryReader.read(maxReadingAgeMs), count: (keys) => { sessionManager.evictedKeys += keys }, warn: (facts, text) => fastify.log.warn(facts, text) })
  const republish = () => { sessionManager.tombstones.republish() }
  pool.on('server', republish)
  if (pool !== fastify.redisPool) await pool.start()
  fastify.addHook('onClose', () => {
    evictionMonitor.close()
    sessionManager.tombstones.close()
    pool.off('server', republish)
    if (pool !== fastify.redisPool) pool.disconnect()
  })

  /** Whether a page of an untrusted origin sent a request that it must not send with the client's session. */
  function isCrossOrigin (request: FastifyRequest): boolean {
    if (isSafeMethod(request.method) && !wantsWebSocket(request.headers.upgrade)) return false
    const requestOrigin = requestOriginOf(request)
    return !isAllowedOrigin(requestOrigin, policy.trustedOrigins) && !isAllowedOrigin(requestOrigin, originsOf(request))
  }

  function requestOriginOf ({ host, protocol, headers }: FastifyRequest): RequestOrigin {
    return { host, origin: headers.origin, site: headers['sec-fetch-site'] as string | undefined, isSecure: protocol === 'https' }
  }

  function originsOf ({ routeOptions }: FastifyRequest): readonly string[] {
    return (fastify.requestLifecycle.resolvedFrom(routeOptions.config).session as SessionRoute).origins
  }

  function sessionOf (request: RequestWithSession): RequestSession<object> {
    return (request[ownSession] ??= sessionWithoutLoad(request))
  }

  /** The request was rejected before the load of its session: whether the session in its cookie is live is unknown. */
  function sessionWithoutLoad (request: RequestWithSession): RequestSession<object> {
    const reply = request[ownReply] ?? undefined
    if (isCrossOrigin(request)) return new RequestSession(sessionManager, { isCrossOrigin: true }, reply)
    if (request.headers.cookie === undefined) return new RequestSession(sessionManager, {}, reply)
    const requestSession = new RequestSession(sessionManager, cookies.open(request), reply)
    requestSession.skipLoad()
    return requestSession
  }

  function unverifiedSessionOf (request: FastifyRequest): UnverifiedSession | undefined {
    const token = request.headers.cookie !== undefined && !isCrossOrigin(request) ? cookies.open(request).token : undefined
    if (token === undefined) return undefined
    const { userId, subject } = token
    if (pool === fastify.redisPool) return { userId, key: token.key, devices: fieldsOf(token) }
    const { keyspace } = fastify.redisPool
    return { userId, key: userId === undefined ? keyspace.anonymousSession(subject) : keyspace.userSession(userId), devices: fieldsOf(token), confirm: () => isLive(request as RequestWithSession) }
  }

  /** Whether the session in the cookie is live, also on a route without sessions. While Redis is unavailable the cookie counts: it is encrypted and authenticated. */
  async function isLive (request: RequestWithSession): Promise<boolean> {
    let requestSession = request[ownSession]
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
    // A client that receives this response from an intermediate cache would have this client's session.
    reply.removeHeader('cdn-cache-control')
    if (!/\b(?:private|no-store)\b/i.test(String(reply.getHeader('cache-control')))) reply.header('cache-control', 'no-store')
  }

  /** Sets the cookie on a reply that was hijacked, or is being hijacked: the handler may send the headers of either object. */
  function sendCookie (change: CookieChange, reply: FastifyReply): void {
    setCookie(change, reply)
    reply.raw.setHeader('set-cookie', reply.getHeader('set-cookie') ?? [])
    reply.raw.setHeader('cache-control', reply.getHeader('cache-control') ?? 'no-store')
  }
}, { name: 'fastify-prism/session', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** @fastify/passport expects the methods of @fastify/session or @fastify/secure-session, without which some of its calls fail. */
function warnOfPassport (fastify: FastifyInstance): void {
  const isRegistered = ['logIn', 'logOut', 'isAuthenticated'].every((name) => fastify.hasRequestDecorator(name))
  if (!isRegistered || fastify.hasPlugin('fastify-prism/session-adapter')) return
  fastify.log.warn('@fastify/passport is registered without sessionAdapter: logOut() will fail, and so will a login unless clearSessionOnLogin is false. Register sessionAdapter of fastify-prism/session after the stack')
}
