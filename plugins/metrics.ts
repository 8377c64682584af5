import type { Server } from 'node:http'
import { RouteLimits } from '../src/rate-limit/route-limits.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { clientAddress } from '../src/http/client-key.ts'
import { AdminAuth } from '../src/http/admin-auth.ts'
import { MetricsRegistry, exposeRedis } from '../src/metrics/registry.ts'
import { RedisCollector } from '../src/metrics/redis-collector.ts'
import { exposeProcess, readProcess } from '../src/metrics/process-metrics.ts'
import type { Parts } from '../src/metrics/process-metrics.ts'
import { History } from '../src/metrics/snapshot.ts'
import type { MetricsSnapshot } from '../src/metrics/snapshot.ts'
import { listen } from '../src/metrics/metrics-server.ts'
import { TopRateLimited } from '../src/metrics/top-rate-limited.ts'
import { Requests } from '../src/metrics/requests.ts'
import type { RouteCounters } from '../src/metrics/requests.ts'
import { readDuration } from '../src/shared/option-readers.ts'
import type { Duration } from '../src/shared/option-readers.ts'
import type {} from './cache.ts'
import type {} from './events.ts'
import type {} from './live.ts'
import type {} from './rate-limit.ts'
import type {} from './redis.ts'
import type {} from './session.ts'

/** Who may read metrics, and how often Redis is looked at. */
export interface MetricsOptions {
  /** bearer token; undefined: everybody may read, unless `isProduction` */
  token?: string | undefined
  isProduction?: boolean
  /** a port of their own, without a token, for a private network; undefined: none */
  port?: number | undefined
  host?: string | undefined
  /** default '5s' */
  every?: Duration | undefined
  /** what Redis may use where it names no `maxmemory` itself */
  memoryLimitBytes?: number | undefined
  /** whether sessions have a Redis of their own, so that this one cannot evict them */
  areSessionsApart?: boolean
}

/** What is known of this process and of Redis. */
export interface Metrics {
  readonly registry: MetricsRegistry
  readonly collector: RedisCollector
  readonly history: History
  readonly topRateLimited: TopRateLimited
  /** the port of `METRICS_PORT`, once it listens */
  readonly port: number | undefined
  /** calls the listener after each reading */
  onReading (listener: (snapshot: MetricsSnapshot) => void): void
}

declare module './request-lifecycle.ts' {
  interface RouteDefaults {
    /** Not to be chosen: every route is counted. */
    metrics?: never
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts of this process, figures of Redis, and their last hour. */
    metrics: Metrics
  }
}

const keptMs = 3_600_000

/**
 * Counts every request by route, reads Redis's figures for all processes, and tells both at `GET /metrics` as Prometheus reads them.
 *
 * Register it after the stack and before the routes that shall be counted.
 */
export default fp<MetricsOptions>(async (fastify, options) => {
  const everyMs = readDuration('metrics.every', options.every ?? '5s')
  const adminAuth = new AdminAuth(options.token, options.isProduction ?? false)
  const requests = new Requests()
  const topRateLimited = new TopRateLimited()
  const registry = new MetricsRegistry()
  const collector = new RedisCollector(fastify.redisPool, { everyMs, memoryLimitBytes: options.memoryLimitBytes })
  const history = new History(Math.ceil(keptMs / everyMs))
  const listeners: ((snapshot: MetricsSnapshot) => void)[] = []
  const parts = (): Parts => partsOf(fastify, requests, options)
  let own: Server | undefined

  exposeProcess(registry, parts, collector)
  exposeRedis(registry, collector)
  const port = () => {
    const address = own?.address()
    return typeof address === 'object' ? address?.port : undefined
  }
  fastify.decorate('metrics', { registry, collector, history, topRateLimited, get port () { return port() }, onReading: (listener) => { listeners.push(listener) } })

  fastify.requestLifecycle.join<CountedRoute>({
    name: 'metrics',
    resolve: (_choices, route) => new CountedRoute(route, (config) => fastify.requestLifecycle.resolvedFrom(config), requests),
    onResponse: (request, reply, route) => route.tally(request, reply, topRateLimited)
  })

  const look = async () => {
    await collector.collect()
    const snapshot = readProcess(parts(), collector)
    history.add(snapshot)
    for (const listener of listeners) listener(snapshot)
  }
  // One at a time: a look that waits for a Redis that is gone must not be told after a later one that was answered.
  let isLooking = false
  const lookAlone = async () => {
    if (isLooking) return
    isLooking = true
    await look().finally(() => { isLooking = false })
  }
  const timer = setInterval(() => { lookAlone() }, everyMs).unref()
  fastify.addHook('onReady', lookAlone)
  fastify.addHook('onListen', async () => {
    if (options.port !== undefined) own = await listen(registry, options.port, options.host)
  })
  fastify.addHook('onClose', async () => {
    clearInterval(timer)
    own?.closeAllConnections()
    own?.close()
  })

  fastify.get('/metrics', { config: { rateLimit: false, cache: false, session: false }, schema: { hide: true } }, async (request, reply) => {
    adminAuth.check(request.headers.authorization)
    return reply.type(registry.registry.contentType).header('cache-control', 'no-store').send(await registry.text())
  })
}, { name: 'fastify-prism/metrics', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** Counts one route's requests; opened with the first of them, when all that the route chose is known. */
class CountedRoute {
  readonly #route: RouteOptions | undefined
  readonly #resolvedFrom: (config: unknown) => Readonly<Record<string, unknown>>
  readonly #requests: Requests
  #tally: RouteCounters | undefined

  constructor (route: RouteOptions | undefined, resolvedFrom: (config: unknown) => Readonly<Record<string, unknown>>, requests: Requests) {
    this.#route = route
    this.#resolvedFrom = resolvedFrom
    this.#requests = requests
  }

  tally (request: FastifyRequest, reply: FastifyReply, topRateLimited: TopRateLimited): void {
    const tally = this.#tally ??= this.#open()
    tally.of(request.method).add(reply.statusCode, reply.getHeader('cache-status'), reply.elapsedTime / 1000)
    if (tally.decisions.policies.length > 0) decide(tally, request, reply, topRateLimited)
  }

  #open (): RouteCounters {
    const plan = this.#resolvedFrom(this.#route?.config).rateLimit
    return this.#requests.open(this.#route?.url ?? 'none', plan instanceof RouteLimits ? plan.policies.map(({ name }) => name) : [])
  }
}

function decide ({ decisions }: RouteCounters, request: FastifyRequest, reply: FastifyReply, topRateLimited: TopRateLimited): void {
  // A refused event stream is a 200 that says when to come again.
  if (reply.statusCode !== 429 && !(reply.statusCode === 200 && reply.hasHeader('retry-after'))) {
    if (reply.hasHeader('ratelimit-policy')) decisions.allowed += 1
    return
  }
  for (const { name, retryMs } of request.rateLimit) {
    if (retryMs <= 0) continue
    decisions.refused.set(name, (decisions.refused.get(name) ?? 0) + 1)
    topRateLimited.add(clientAddress(request), name)
  }
}

function partsOf (fastify: FastifyInstance, requests: Requests, { areSessionsApart = false }: MetricsOptions): Parts {
  return {
    requests,
    areSessionsApart,
    pool: fastify.redisPool,
    cache: fastify.hasDecorator('cache') ? fastify.cache : undefined,
    sessions: fastify.hasDecorator('sessions') ? fastify.sessions : undefined,
    events: fastify.hasDecorator('events') ? { ...fastify.events.counts } : undefined,
    live: fastify.hasDecorator('live') ? fastify.live.counts : undefined
  }
}
