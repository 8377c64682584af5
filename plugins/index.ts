import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import cache from './cache.ts'
import type { CacheOptions } from './cache.ts'
import connectionLimits from './connection-limits.ts'
import type { ConnectionOptions } from './connection-limits.ts'
import events from './events.ts'
import type { EventsOptions } from './events.ts'
import requestLifecycle from './request-lifecycle.ts'
import rateLimit from './rate-limit.ts'
import type { RateLimitOptions } from './rate-limit.ts'
import redis from './redis.ts'
import type { RedisOptions } from './redis.ts'
import session from './session.ts'
import type { SessionOptions } from './session.ts'
import { declaredRoutes } from '../src/route-config/declared-routes.ts'
import { losesNothing, RegistrationOrder } from '../src/route-config/registration-order.ts'
import { ScopeError } from '../src/shared/errors.ts'
import { readRecord } from '../src/shared/option-readers.ts'

// TypeScript drops a file's augmentations of Fastify's types from the package unless the entry point re-exports one of its types.
export type * from '../src/cache/cache-tags.ts'
export type { Cache, CacheChoice, CacheOptions, CacheRequest, EntryInspection, InspectedTarget, PurgeOptions, WrapOptions } from './cache.ts'
export type { ConnectionOptions } from './connection-limits.ts'
export type { CloudEvent, EventsOptions, NewEvent, SubscribeOptions, Subscription } from './events.ts'
export type { LifecycleParticipant, RequestLifecycle, RouteDefaults, RoutePolicies } from './request-lifecycle.ts'
export { rateLimitStore } from './rate-limit.ts'
export type { Checked, DescribedLimit, NamedQuota, PolicyStatus, RateLimitOptions, RouteRateLimit } from './rate-limit.ts'
export type { FastifyRedis, RedisOptions, UnreachableReason } from './redis.ts'
export type { Device, ConflictRule, MergeFunction, Revocation, Session, SessionChoice, SessionOptions, Sessions, SessionState, SignInOptions } from './session.ts'
export type { Duration } from '../src/shared/option-readers.ts'
export * as errors from '../src/shared/errors.ts'

/** Options of the whole stack. `false` turns a feature off. */
export interface PrismOptions {
  /** Connection to Redis. Default: the app's @fastify/redis, else `redis://127.0.0.1:6379`. `'memory'`: a Redis in this process, for development and tests. */
  redis?: RedisOptions | 'memory'
  /** Sessions: `{ secrets: [secret] }`; false: none. Required: `secrets`, or false. */
  session?: SessionOptions | false
  /** Response cache: a route is cached only if it or its scope sets `cache`; false: none. Default: on. */
  cache?: CacheOptions | false
  /** Rate limits: the quota counts each request, `{ quota: 100, window: '1m' }`; false: none. Default: on, 1000 a minute for each client address. */
  rateLimit?: RateLimitOptions | false
  /** Event bus; false: none. Default: on. */
  events?: EventsOptions | false
  /** Limits of HTTP/1 connections; always on. Default: `{ sendTimeout: '30s' }`. */
  connections?: ConnectionOptions
}

/**
 * Sessions, response cache, rate limits and an event bus over one Redis connection pool, with one round trip for each request.
 *
 * Register it after plugins whose hooks must run first (cors, helmet, websocket, under-pressure, request-context, tracing), and before authentication, your hooks and your
 * routes. A plugin of these that is registered later, and routes that are declared earlier, are named in a warning.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration, for an unknown or invalid option
 * @throws {ScopeError} PRISM_ERR_SCOPE if this scope or one around it has the stack already
 */
export default fp<PrismOptions>(async (fastify, options) => {
  readRecord('prism', options, ['redis', 'session', 'cache', 'rateLimit', 'events', 'connections'])
  if (fastify.hasDecorator('requestLifecycle')) throw new ScopeError('register(prism)', 'this scope or a scope around it has already registered the stack or a part of it')
  warnOfEarlierRoutes(fastify)
  const order = new RegistrationOrder(fastify)
  fastify.addHook('onReady', async () => { order.warn(declaredRoutes(fastify).routes, (facts, text) => fastify.log.warn(facts, text)) })

  await fastify.register(connectionLimits, options.connections ?? {})
  await fastify.register(redis, options.redis === 'memory' ? { url: options.redis } : options.redis ?? {})
  await fastify.register(requestLifecycle)
  // This order is the order of the plugins in each step of the request lifecycle.
  if (options.rateLimit !== false) await fastify.register(rateLimit, options.rateLimit ?? {})
  if (options.session !== false) await fastify.register(session, options.session ?? { secrets: [] })
  if (options.cache !== false) await fastify.register(cache, options.cache ?? {})
  if (options.events !== false) await fastify.register(events, options.events ?? {})
}, { name: 'fastify-prism', fastify: '5.x' })

/** Routes that were declared already. Where the instance is older than this module, its routes are known by name alone. */
function warnOfEarlierRoutes (fastify: FastifyInstance): void {
  const { routes, isComplete } = declaredRoutes(fastify)
  const names = isComplete
    ? [...new Set(routes.filter((route) => !losesNothing(route)).map(({ options }) => options.url))].map((url) => `${url} (${routes.filter(({ options }) => options.url === url).flatMap(({ options }) => options.method).join(', ')})`)
    : fastify.printRoutes({ commonPrefix: false }).split('\n').filter((line) => / \([A-Z, ]+\)/.test(line)).map((line) => line.replace(/^[│├└─\s]+/, '')).filter((line) => line !== '* (OPTIONS)')
  if (names.length > 0) fastify.log.warn({ routes: names }, 'Routes declared before fastify-prism are not cached and inherit no route defaults: declare them after it')
}
