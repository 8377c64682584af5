import type { Server } from 'node:http'
import { RouteLimits } from '../src/rate-limit/route-limits.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { clientAddress } from '../src/http/client-key.ts'
import { AdminAuth } from '../src/http/admin-auth.ts'
import { MetricsRegistry, exposeRedis } from '../src/metrics/registry.ts'
import { importPeer } from '../src/shared/optional-peer.ts'
import { RedisCollector } from '../src/metrics/redis-collector.ts'
import { exposeProcess, readProcess } from '../src/metrics/process-metrics.ts'
import type { Parts } from '../src/metrics/process-metrics.ts'
import { History } from '../src/metrics/snapshot.ts'
import type { MetricsSnapshot } from '../src/metrics/snapshot.ts'
import { Presence } from '../src/metrics/presence.ts'
import type { Build } from '../src/metrics/presence.ts'
import { inFlightSlot, isEventStream } from '../src/metrics/in-flight-requests.ts'
import { listen } from '../src/metrics/metrics-server.ts'
import { TopRateLimited } from '../src/metrics/top-rate-limited.ts'
import { Requests } from '../src/metrics/requests.ts'
import type { RouteCounters, RouteTotals } from '../src/metrics/requests.ts'
import { readDuration, readPath, readRecord } from '../src/shared/option-readers.ts'
import type { Duration } from '../src/shared/option-readers.ts'
import type {} from './cache.ts'
import type {} from './events.ts'
import type {} from './live.ts'
import type {} from './rate-limit.ts'
import type {} from './redis.ts'
import type {} from './session.ts'

export { AdminAuth } from '../src/http/admin-auth.ts'
export type { Build, ProcessInfo } from '../src/metrics/presence.ts'
export type { NodeSample, SlowLog } from '../src/metrics/redis-collector.ts'
export { cacheOutcomeOf, cacheOutcomes } from '../src/metrics/requests.ts'
export type { CacheOutcome, RouteTotals } from '../src/metrics/requests.ts'
export type { History, MetricsSnapshot, SnapshotCount } from '../src/metrics/snapshot.ts'
export { memoryThresholds } from '../src/redis/health/memory-info.ts'
export { quantile } from '../src/shared/histogram.ts'

/** Access to the metrics, and the interval of Redis collection. */
export interface MetricsOptions {
  /** Path of the metrics, on the app's port and on the separate one. Default: `'/metrics'`. */
  path?: string | undefined
  /** Bearer token. Default: none, no authentication; with `isProduction` the endpoint is disabled then. */
  token?: string | undefined
  /** Disables the endpoint unless there is a token. Default: false. */
  isProduction?: boolean
  /** Separate port without authentication, for a private network. Default: none. */
  port?: number | undefined
  /** Address of the separate port. Default: `'::'`, all addresses. */
  host?: string | undefined
  /** Collection interval: `'5s'`. Default: `'5s'`. */
  every?: Duration | undefined
  /** Memory limit of Redis, in bytes, if `maxmemory` is not set. Default: none. */
  memoryLimitBytes?: number | undefined
  /** Whether sessions use a dedicated Redis, so that this one cannot evict them. Default: false. */
  areSessionsApart?: boolean
  /** Version and commit of the app, for `prism_build_info`. Default: unknown. */
  build?: Partial<Build> | undefined
}

/** Metrics of this process and of Redis. */
export interface Metrics {
  readonly registry: MetricsRegistry
  readonly collector: RedisCollector
  readonly history: History
  readonly topRateLimited: TopRateLimited
  /** this process, and all processes of the app */
  readonly presence: Presence
  /** totals of this process since its start, by method and route */
  readonly routes: readonly RouteTotals[]
  /** the port of `METRICS_PORT`, once it listens */
  readonly port: number | undefined
  /** calls the listener with each snapshot */
  onReading (listener: (snapshot: MetricsSnapshot) => void): void
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Counters of this process, figures of Redis, and their history of one hour. */
    metrics: Metrics
  }
}

const historyMs = 3_600_000
/** Keeps a route out of an OpenAPI document of @fastify/swagger. An `object`, because only that package's types know the key. */
const hidden: object = { hide: true }

/**
 * Counts requests by route, collects the figures of Redis, and exposes both at `GET /metrics` in the Prometheus text format.
 *
 * Register it after the stack and before the routes to count.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration
 * @throws {PeerMissingError} PRISM_ERR_PEER_MISSING, at registration, if prom-client is not installed
 */
export default fp<MetricsOptions>(async (fastify, options) => {
  readRecord('metrics', options, ['path', 'token', 'isProduction', 'port', 'host', 'every', 'memoryLimitBytes', 'areSessionsApart', 'build'])
  const path = readPath('metrics.path', options.path ?? '/metrics')
  const promClient = await importPeer('fastify-prism/metrics', 'prom-client', () => import('prom-client'))
  const everyMs = readDuration('metrics.every', options.every ?? '5s', 1)
  const adminAuth = new AdminAuth(options.token, options.isProduction ?? false)
  const build: Build = { version: options.build?.version ?? '', commit: options.build?.commit ?? '' }
  const requests = new Requests()
  const presence = new Presence(fastify.redisPool, build, everyMs)
  const topRateLimited = new TopRateLimited()
  const registry = new MetricsRegistry(promClient)
  const collector = new RedisCollector(fastify.redisPool, { everyMs, memoryLimitBytes: options.memoryLimitBytes })
  const history = new History(Math.ceil(historyMs / everyMs))
  const listeners: ((snapshot: MetricsSnapshot) => void)[] = []
  const parts = (): Parts => partsOf(fastify, requests, build, options)
  let metricsServer: Server | undefined

  exposeProcess(registry, parts, collector)
  exposeRedis(registry, collector)
  const port = () => {
    const address = metricsServer?.address()
    return typeof address === 'object' ? address?.port : undefined
  }
  fastify.decorate('metrics', { registry, collector, history, topRateLimited, presence, get routes () { return requests.totals }, get port () { return port() }, onReading: (listener) => { listeners.push(listener) } })

  fastify.decorateReply(inFlightSlot, null)
  fastify.requestLifecycle.join<CountedRoute>({
    name: 'metrics',
    resolve: (_choices, route) => new CountedRoute(route, (config) => fastify.requestLifecycle.resolvedFrom(config), requests),
    enqueueReads: (_request, reply) => requests.inFlight.add(reply),
    onResponse: (request, reply, route) => route.count(request, reply, topRateLimited)
  })

  const collect = async () => {
    await Promise.all([collector.collect(), presence.call()])
    const snapshot = readProcess(parts(), collector)
    history.add(snapshot)
    for (const listener of listeners) listener(snapshot)
  }
  // Collections must not overlap: one that waits for an unreachable Redis would otherwise finish after, and override, a later one.
  let isCollecting = false
  const collectOnce = async () => {
    if (isCollecting) return
    isCollecting = true
    await collect().finally(() => { isCollecting = false })
  }
  const timer = setInterval(() => { collectOnce() }, everyMs).unref()
  fastify.addHook('onReady', collectOnce)
  fastify.addHook('onListen', async () => {
    if (options.port !== undefined) metricsServer = await listen(registry, path, options.port, options.host)
  })
  fastify.addHook('onClose', async () => {
    clearInterval(timer)
    metricsServer?.closeAllConnections()
    metricsServer?.close()
  })

  fastify.get(path, { config: { rateLimit: false, cache: false, session: false }, schema: hidden }, async (request, reply) => {
    adminAuth.check(request.headers.authorization)
    return reply.type(registry.registry.contentType).header('cache-control', 'no-store').send(await registry.text())
  })
}, { name: 'fastify-prism/metrics', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** Counts the requests of one route. Counters are created with the first request, when the route's policies are resolved. */
class CountedRoute {
  readonly #route: RouteOptions | undefined
  readonly #resolvedFrom: (config: unknown) => Readonly<Record<string, unknown>>
  readonly #requests: Requests
  #counters: RouteCounters | undefined

  constructor (route: RouteOptions | undefined, resolvedFrom: (config: unknown) => Readonly<Record<string, unknown>>, requests: Requests) {
    this.#route = route
    this.#resolvedFrom = resolvedFrom
    this.#requests = requests
  }

  count (request: FastifyRequest, reply: FastifyReply, topRateLimited: TopRateLimited): void {
    const counters = this.#counters ??= this.#open()
    this.#requests.inFlight.delete(reply)
    counters.of(request.method).add(reply.statusCode, reply.getHeader('cache-status'), isEventStream(reply) ? undefined : reply.elapsedTime / 1000)
    if (counters.decisions.policies.length > 0) countDecision(counters, request, reply, topRateLimited)
  }

  #open (): RouteCounters {
    const plan = this.#resolvedFrom(this.#route?.config).rateLimit
    return this.#requests.open(this.#route?.url ?? 'none', plan instanceof RouteLimits ? plan.policies.map(({ name }) => name) : [])
  }
}

function countDecision ({ decisions }: RouteCounters, request: FastifyRequest, reply: FastifyReply, topRateLimited: TopRateLimited): void {
  // A rejected event stream is a 200 with Retry-After.
  if (reply.statusCode !== 429 && !(reply.statusCode === 200 && reply.hasHeader('retry-after'))) {
    if (reply.hasHeader('ratelimit-policy')) decisions.allowed += 1
    return
  }
  for (const { name, retryMs } of request.rateLimit) {
    if (retryMs <= 0) continue
    decisions.rejected.set(name, (decisions.rejected.get(name) ?? 0) + 1)
    topRateLimited.add(clientAddress(request), name)
  }
}

function partsOf (fastify: FastifyInstance, requests: Requests, build: Build, { areSessionsApart = false }: MetricsOptions): Parts {
  return {
    build,
    requests,
    areSessionsApart,
    pool: fastify.redisPool,
    cache: fastify.hasDecorator('cache') ? fastify.cache : undefined,
    sessions: fastify.hasDecorator('sessions') ? fastify.sessions : undefined,
    events: fastify.hasDecorator('events') ? { ...fastify.events.counts } : undefined,
    live: fastify.hasDecorator('live') ? fastify.live.counts : undefined
  }
}
