import cookie from '@fastify/cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { OriginError, SessionRequiredError } from '../src/errors.ts'
import { isWelcome } from '../src/http/origin.ts'
import { readCookie } from '../src/session/cookie-field.ts'
import { House } from '../src/session/house.ts'
import type { Sessions } from '../src/session/house.ts'
import { resolveSessionPolicy, resolveSessionUse } from '../src/session/policy.ts'
import type { SessionOptions, SessionUse } from '../src/session/policy.ts'
import { Seal } from '../src/session/seal.ts'
import type { Session, SessionState } from '../src/session/session.ts'
import { unavailable, Visit } from '../src/session/visit.ts'
import type {} from './redis.ts'

export type { SessionOptions } from '../src/session/policy.ts'
export type { Revocation, Sessions } from '../src/session/house.ts'
export type { Device, Session, SessionState, SignInOptions } from '../src/session/session.ts'

declare module './journey.ts' {
  interface RouteDefaults {
    /** `required`: 401 without a signed-in user; `optional` (default); `false`: no session at all */
    session?: SessionUse
  }
}

declare module 'fastify' {
  /** What sessions hold; each app adds its own keys: `declare module 'fastify' { interface SessionData { cart: string[] } }`. */
  interface SessionData {}

  interface FastifyContextConfig {
    /** `required`: 401 without a signed-in user; `optional` (default); `false`: no session at all */
    session?: SessionUse
  }

  interface FastifyRequest {
    /** The visitor's session; there for every hook after the stack's own, empty for a new visitor. */
    session: Session<SessionData>
    /** How often `session` was taken from this request so far: compare before and after, to know whether something in between depends on the visitor. */
    sessionReads: number
    /** Who visits, for plugins that must know without using the session: taking this counts as no read of it. */
    readonly visitor: { readonly state: SessionState, readonly userId: string | undefined }
  }

  interface FastifyInstance {
    /** Other users' sessions: list, revoke, hear of revocations. */
    sessions: Sessions
  }
}

const visiting = Symbol('prism.visit')
type Visitor = FastifyRequest & { [visiting]: Visit<object> | null }

/**
 * Loads the visitor's session with the request; saves it, when changed, with the reply.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 */
export default fp<SessionOptions>(async (fastify, options) => {
  const policy = resolveSessionPolicy(options)
  const house = new House(policy, fastify.redisPool.batch, fastify.redisPool.keyspace)
  const sealOf = (name: string) => ({ name, seal: new Seal(name, policy.secrets, house.keys) })
  const secured = sealOf(`__Host-${policy.cookie.name}`)
  const plain = sealOf(policy.cookie.name)
  if (!fastify.hasDecorator('serializeCookie')) await fastify.register(cookie)

  const isSecure = (request: FastifyRequest) => policy.cookie.secure === 'auto' ? request.protocol === 'https' : policy.cookie.secure
  const mayCome = ({ method, headers, host }: FastifyRequest) => isWelcome({ method, host, origin: headers.origin, site: headers['sec-fetch-site'] as string | undefined }, policy.origins)

  fastify.decorate('sessions', { getter: () => house })
  fastify.decorateRequest(visiting, null)
  fastify.decorateRequest('sessionReads', 0)
  fastify.decorateRequest('visitor', { getter (this: FastifyRequest) { return visitOf(this as Visitor) } })
  fastify.decorateRequest('session', {
    getter (this: FastifyRequest) {
      this.sessionReads += 1
      return visitOf(this as Visitor) as Session<object> as FastifyRequest['session']
    }
  })

  fastify.journey.join<SessionUse>({
    name: 'session',
    resolve: resolveSessionUse,
    ask (request, _reply, use) {
      if (use === false) (request as Visitor)[visiting] = new Visit(house, { isOff: true })
      if (use === false || request.headers.cookie === undefined || !mayCome(request)) return
      const visit = (request as Visitor)[visiting] = arrive(request, request.headers.cookie)
      visit.ask()
    },
    answer (request, _reply, use) {
      if (use !== false && !mayCome(request)) throw new OriginError()
      const visit = (request as Visitor)[visiting]
      if (visit !== null) return visit.answer().then(() => admit(visit, use))
      if (use === 'required') throw new SessionRequiredError()
    },
    settle (request, reply) {
      const visit = (request as Visitor)[visiting]
      return visit === null ? undefined : settle(visit, request, reply)
    }
  })

  function visitOf (request: Visitor): Visit<object> {
    request[visiting] ??= new Visit(house, {})
    return request[visiting]
  }

  function arrive (request: FastifyRequest, field: string): Visit<object> {
    const { name, seal } = isSecure(request) ? secured : plain
    const value = readCookie(field, name)
    const opened = value === undefined ? undefined : seal.open(value)
    return new Visit(house, { ...opened, hasCookie: field.includes(`${name}=`) })
  }

  async function settle (visit: Visit<object>, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    await visit.save()
    const change = visit.cookie
    if (change === undefined) return
    visit.cookie = undefined
    const secure = isSecure(request)
    const { name, seal } = secure ? secured : plain
    const attributes = { path: '/', httpOnly: true, sameSite: 'lax', secure, partitioned: secure && policy.cookie.partitioned } as const
    reply.header('set-cookie', change === 'clear'
      ? fastify.serializeCookie(name, '', { ...attributes, maxAge: 0, expires: new Date(0) })
      : fastify.serializeCookie(name, seal.seal(change.ticket), { ...attributes, maxAge: change.maxAgeSeconds }))
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store')
  }
}, { name: 'session', fastify: '5.x', dependencies: ['redis', 'journey'] })

function admit (visit: Visit<object>, use: SessionUse): void {
  if (use !== 'required' || visit.state === 'live') return
  throw visit.failure === undefined ? new SessionRequiredError() : unavailable(visit.failure)
}
