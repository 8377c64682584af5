import { stringifySetCookie } from 'cookie'
import type { FastifyInstance, SessionData } from 'fastify'
import { raiseEpoch } from '../../src/cache/storage/cache-store.ts'
import { readEntry } from '../../src/events/event.ts'
import type { CloudEvent } from '../../src/events/event.ts'
import { RequestSession } from '../../src/session/request-session.ts'
import type { SessionManager } from '../../src/session/session-manager.ts'
import { SessionCookies } from '../../src/session/session-cookie.ts'
import type { SignInOptions } from '../../src/session/session.ts'
import { advanceClock } from '../../src/shared/clock.ts'
import { ScopeError } from '../../src/shared/errors.ts'
import { readDuration } from '../../src/shared/option-readers.ts'
import type { Duration } from '../../src/shared/option-readers.ts'

/** Options of {@link signInAs}. */
export interface TestSignIn extends Omit<SignInOptions<SessionData>, 'keep'> {
  /** values of the session */
  data?: Partial<SessionData> & Readonly<Record<string, unknown>>
  /** protocol of the requests that will carry the cookie: over `https` it has another name; default `http`, as in `app.inject` */
  protocol?: 'http' | 'https'
}

/**
 * Signs a user in as `session.signIn()` does, without a request.
 *
 * @returns the `Cookie` header of the user's requests: `app.inject({ url: '/me', headers: { cookie } })`
 * @throws {ScopeError} PRISM_ERR_SCOPE if the app has no sessions, or is not ready
 */
export async function signInAs (app: FastifyInstance, userId: string, { data = {}, protocol = 'http', ...options }: TestSignIn = {}): Promise<string> {
  requireDecorator(app, 'sessions', 'signInAs()')
  const sessions = app.sessions as SessionManager
  const session = new RequestSession<Record<string, unknown>>(sessions, {})
  await session.signIn(userId, options)
  for (const [key, value] of Object.entries(data)) session.set(key, value)
  await session.save()
  const cookies = new SessionCookies(sessions.policy, sessions.keys, (name, value) => stringifySetCookie({ name, value }))
  const change = session.takeCookie()
  session.close()
  return cookies.write(change ?? 'clear', { protocol, headers: {} })
}

/**
 * Reads the events of a topic that its log holds, oldest first: those that the app published, and has not trimmed or lost by `events.retain`.
 *
 * @throws {ScopeError} PRISM_ERR_SCOPE if the app has no events, or is not ready
 */
export async function publishedEvents (app: FastifyInstance, topic: string): Promise<CloudEvent[]> {
  requireDecorator(app, 'events', 'publishedEvents()')
  const { redisPool: pool } = app
  const entries = await pool.xrange(pool.keyspace.topicLog(topic), '-', '+')
  return entries.flatMap(([id, fields]) => {
    const [first, prev = '', third, rest = ''] = fields
    const event = first === 'prev' && third === 'rest' ? readEntry(id, prev, rest)?.event : undefined
    return event === undefined ? [] : [event]
  })
}

const epochTtlMs = 86_400_000
/** Higher than any sequence: the epoch is raised whatever it is. */
const always = 1e300

/**
 * Purges every cached response and every value of `cache.wrap`, also those whose handlers run now.
 *
 * @throws {ScopeError} PRISM_ERR_SCOPE if the app has no cache, or is not ready, or Redis is a Cluster
 */
export async function purgeAll (app: FastifyInstance): Promise<void> {
  requireDecorator(app, 'cache', 'purgeAll()')
  const { redisPool: { batch, keyspace, server } } = app
  if (server?.isCluster === true) throw new ScopeError('purgeAll()', 'Redis is a Cluster')
  await batch.runScript(raiseEpoch, [keyspace.cacheSequence(), keyspace.cacheEpoch(server?.runId ?? '')], [epochTtlMs, 0, always])
}

/**
 * Moves the clock forward: that of each in-memory Redis in this process, and that by which the stack judges the age of responses and rejections.
 * `Date.now()` and timers are not moved.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function advance (duration: Duration): void {
  advanceClock(readDuration('advance(duration)', duration))
}

function requireDecorator (app: FastifyInstance, name: 'sessions' | 'events' | 'cache', call: string): void {
  if (!app.hasDecorator('redisPool') || !app.hasDecorator(name)) throw new ScopeError(call, `the app has no fastify.${name}: register fastify-prism, and await app.ready()`)
}
