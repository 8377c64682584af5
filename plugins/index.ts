import fp from 'fastify-plugin'
import cache from './cache.ts'
import type { CacheOptions } from './cache.ts'
import connectionLimits from './connection-limits.ts'
import type { ConnectionOptions } from './connection-limits.ts'
import events from './events.ts'
import type { EventsOptions } from './events.ts'
import journey from './request-lifecycle.ts'
import rateLimit from './rate-limit.ts'
import type { RateLimitOptions } from './rate-limit.ts'
import redis from './redis.ts'
import type { RedisOptions } from './redis.ts'
import session from './session.ts'
import type { SessionOptions } from './session.ts'
import { ScopeError } from '../src/shared/errors.ts'
import { readRecord } from '../src/shared/option-readers.ts'

// A package loses its augmentations of fastify's types unless its entry re-exports a type of each file that makes one.
export type { Cache, CacheChoice, CacheOptions, CacheRequest, WrapOptions } from './cache.ts'
export type { ConnectionOptions } from './connection-limits.ts'
export type { CloudEvent, EventsOptions, NewEvent, SubscribeOptions, Subscription } from './events.ts'
export type { LifecycleParticipant, RequestLifecycle, RouteDefaults } from './request-lifecycle.ts'
export { rateLimitStore } from './rate-limit.ts'
export type { Checked, NamedQuota, PolicyStatus, RateLimitOptions, RouteRateLimit } from './rate-limit.ts'
export type { FastifyRedis, RedisOptions } from './redis.ts'
export type { Device, KeyRule, Revocation, Session, SessionChoice, SessionOptions, Sessions, SessionState, SignInOptions } from './session.ts'
export type { Duration } from '../src/shared/option-readers.ts'
export * as errors from '../src/shared/errors.ts'

/** The whole stack's options; any part may be `false`. */
export interface PrismOptions {
  /** where Redis is; default `redis://127.0.0.1:6379` */
  redis?: RedisOptions
  /** default: on, which needs `secrets` */
  session?: SessionOptions | false
  /** default: on; a route is cached when it, or its scope, names `cache` */
  cache?: CacheOptions | false
  /** default: on; the stack's quota counts every request */
  rateLimit?: RateLimitOptions | false
  /** default: on */
  events?: EventsOptions | false
  /** limits of HTTP/1 connections; always on */
  connections?: ConnectionOptions
}

/**
 * Sessions, response cache, rate limits and an event bus over one Redis pool, in one round trip a request.
 *
 * Register it first: routes declared before it cannot be seen by it.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration, for anything that cannot be meant
 * @throws {ScopeError} PRISM_ERR_SCOPE where a scope has it already
 */
export default fp<PrismOptions>(async (fastify, options) => {
  readRecord('prism', options, ['redis', 'session', 'cache', 'rateLimit', 'events', 'connections'])
  if (fastify.hasDecorator('requestLifecycle')) throw new ScopeError('register(prism)', 'this scope has the stack already, or a part of it, from here or from a scope around it')
  warnOfEarlierRoutes(fastify.printRoutes({ commonPrefix: false }), fastify.log)

  await fastify.register(connectionLimits, options.connections ?? {})
  await fastify.register(redis, options.redis ?? {})
  await fastify.register(journey)
  // In this order they take part in every beat of a request.
  if (options.rateLimit !== false) await fastify.register(rateLimit, options.rateLimit ?? {})
  if (options.session !== false) await fastify.register(session, options.session ?? { secrets: [] })
  if (options.cache !== false) await fastify.register(cache, options.cache ?? {})
  if (options.events !== false) await fastify.register(events, options.events ?? {})
}, { name: 'fastify-prism', fastify: '5.x' })

function warnOfEarlierRoutes (tree: string, log: { warn: (facts: object, text: string) => void }): void {
  const routes = tree.split('\n').filter((line) => / \([A-Z, ]+\)/.test(line)).map((line) => line.replace(/^[│├└─\s]+/, ''))
  if (routes.length > 0) log.warn({ routes }, 'These routes were declared before fastify-prism was registered: it cannot cache them, and they inherit nothing')
}
