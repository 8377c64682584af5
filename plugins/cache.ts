import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { CachedRoute } from '../src/cache/cached-route.ts'
import { CacheStats } from '../src/cache/stats.ts'
import type { CacheEvent } from '../src/cache/stats.ts'
import { LockQueue } from '../src/cache/single-flight/lock-queue.ts'
import type { Entry } from '../src/cache/storage/entry-codec.ts'
import { SingleFlightGroup } from '../src/cache/single-flight/in-process-fill.ts'
import { isUnsafe } from '../src/cache/invalidation/unsafe-methods.ts'
import { FillLocks } from '../src/cache/single-flight/fill-lock.ts'
import { readPurge, resolveCachePolicy, readTags, resolveRoutePolicy } from '../src/cache/options.ts'
import type { CacheOptions, PurgeOptions, RouteCacheOptions } from '../src/cache/options.ts'
import { sections } from '../src/cache/admission/memory-level.ts'
import { BackgroundRefresh, BackgroundRefreshes } from '../src/cache/revalidation/background-refresh.ts'
import { PrefetchedLocks } from '../src/cache/single-flight/prefetched-locks.ts'
import { MemoryGuard } from '../src/cache/admission/memory-guard.ts'
import type { MemoryUsage } from '../src/cache/admission/memory-guard.ts'
import { CacheStore } from '../src/cache/storage/cache-store.ts'
import { CacheRequestState } from '../src/cache/request-state.ts'
import { LockWaiters } from '../src/cache/single-flight/lock-waiters.ts'
import { Memoizer } from '../src/cache/memoize.ts'
import { InvalidatingRoute } from '../src/cache/invalidation/invalidating-route.ts'
import { claimDecorators } from '../src/shared/decorators.ts'
import { Subscriber } from '../src/redis/subscriber.ts'

export type { CacheEvent } from '../src/cache/stats.ts'
export type { CacheOptions, PurgeOptions } from '../src/cache/options.ts'
export type { WrapOptions } from '../src/cache/memoize.ts'

/** A request as a route's options see it. */
export type CacheRequest = FastifyRequest<{ Params: Record<string, string>, Querystring: Record<string, string | string[] | undefined> }>

/** What a route may say of its answers; `false`: not cached, `true`: as the stack and the scopes say. */
export type CacheChoice = RouteCacheOptions<CacheRequest> | boolean

/** What `fastify.cache` offers. */
export interface Cache {
  /** How often what has happened in this process since the start. */
  readonly counts: Readonly<Record<CacheEvent, number>>
  /** Bytes that this process has stored since the start. */
  readonly storedBytes: number
  /** How full Redis is, as this process saw it last: `tight` stores only what is asked for twice, `full` gives stored answers up. */
  readonly memory: MemoryUsage
  /**
   * Drops every answer and every wrapped value that bears one of these tags, also those that are being made now. It costs the same for one as for a million.
   *
   * With `{ soft: true }` behind the tags answers become stale instead, and may be served while they are made anew (`staleWhileRevalidate`), or in the place of an error (`staleIfError`).
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may or may not have happened, and may be tried again
   * @throws {OptionError} PRISM_ERR_OPTION
   */
  purge (...tags: string[]): Promise<void>
  purge (...tagsAndOptions: [...tags: string[], options: PurgeOptions]): Promise<void>
  /** The same cache for any value that JSON can say. */
  wrap: Memoizer['wrap']
  /** Calls `listener` each time something happens, with how often it has. It must not throw. */
  on (event: CacheEvent, listener: (count: number) => void): void
}

declare module './request-lifecycle.ts' {
  interface RouteDefaults {
    /** answers of these routes are kept */
    cache?: CacheChoice
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** answers of this route are kept; adds to what its scopes say */
    cache?: CacheChoice
  }
  interface FastifyInstance {
    /** The response cache: `purge`, `wrap`, `counts`, `on`. */
    cache: Cache
  }
  interface FastifyReply {
    /** This reply and the cache. */
    readonly cache: {
      /** Neither serves this request from the store nor keeps its answer; the reason, one word, stands in `Cache-Status`. */
      bypass (reason: string): void
    }
    /** Names this answer, so that `fastify.cache.purge` drops it; a tag that the route's options name costs one look-up less. */
    tag (...tags: string[]): FastifyReply
  }
}

const requestState = Symbol('prism.cache')
type RequestWithSession = CacheRequest & { [requestState]?: CacheRequestState | null }
type CachePolicyHandler = CachedRoute<RequestWithSession> | InvalidatingRoute | undefined

/**
 * Keeps the answers of routes that name `cache`, and serves them: after every guard, in place of the handler.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration or at a route's declaration.
 */
export default fp<CacheOptions>(async (fastify, options) => {
  const policy = resolveCachePolicy(options)
  const keepDecorators = claimDecorators(fastify, 'cache', { instance: ['cache'], reply: ['cache', 'tag'] })
  const stats = new CacheStats()
  const memoryGuard = memoryGuardFor(fastify, stats)
  const store = new CacheStore(fastify.redisPool.batch, fastify.redisPool.keyspace, () => fastify.redisPool.server, memoryGuard)
  fastify.redisPool.on('server', () => store.reached())
  const locks = new FillLocks(fastify.redisPool.batch, store.keys, store)
  const waiters = new LockWaiters(new Subscriber(() => fastify.redisPool.openSubscriber(), (error) => fastify.redisPool.hear(error), fastify.redisPool.batch.deadlineMs), store.keys.cacheFilled())
  const lockQueue = new LockQueue(locks, waiters, stats)
  fastify.redisPool.on('outage', (isOut: boolean) => { if (isOut) lockQueue.outage() })
  const prefetchedLocks = new PrefetchedLocks(locks, store)
  const memoizer = new Memoizer(store, lockQueue)
  const { internalRequestOf, resolvedFrom, send } = fastify.requestLifecycle
  const shared = { store, stats, lockQueue, prefetchedLocks, refreshes: new BackgroundRefreshes(send), singleFlight: new SingleFlightGroup<Entry>(), unsafeRoutes: new Set<string>(), responseTtlRoutes: new Set<string>(), warn: (facts: object, text: string) => fastify.log.warn(facts, text) }
  const cache: Cache = {
    get counts () { return stats.all },
    get storedBytes () { return store.keptBytes },
    get memory () { return memoryGuard.usage },
    purge: async (...given) => {
      const { tags, isSoft } = readPurge(given)
      stats.add('purge')
      await store.purge(tags, { isSoft })
    },
    wrap: memoizer.wrap.bind(memoizer),
    on: stats.on.bind(stats)
  }

  fastify.addHook('onClose', async () => {
    lockQueue.close()
    prefetchedLocks.close()
    memoryGuard.close()
  })
  fastify.decorate('cache', { getter: () => cache })
  fastify.decorateRequest(requestState, null)
  fastify.decorateReply('cache', {
    getter (this: FastifyReply) {
      return { bypass: (reason: string) => { requestStateOf(this.request as RequestWithSession).bypass = reason } }
    }
  })
  fastify.decorateReply('tag', function tag (this: FastifyReply, ...tags: string[]) {
    const state = requestStateOf(this.request as RequestWithSession)
    state.tags = [...state.tags, ...readTags(tags)]
    return this
  })
  keepDecorators()

  const resolve = (choices: readonly unknown[], route?: RouteOptions): CachePolicyHandler => {
    const chosen = resolveRoutePolicy<RequestWithSession>(choices, policy, { querySchema: querySchemaOf(route), constraints: route?.constraints as Record<string, unknown> | undefined, isForUsers: () => isRequired(resolvedFrom(route?.config).session) })
    if (route === undefined) return undefined
    const methods = [route.method].flat()
    if (methods.some(isUnsafe)) shared.unsafeRoutes.add(route.url)
    if (chosen === undefined || !methods.some((method) => method === 'GET' || method === 'HEAD')) return methods.some(isUnsafe) ? new InvalidatingRoute(shared) : undefined
    if (chosen.ttlMs === undefined) shared.responseTtlRoutes.add(route.url)
    const cached = new CachedRoute(chosen, route.url, shared)
    wrapHandler(route, cached)
    sealAnswers(route, cached)
    return cached
  }

  fastify.requestLifecycle.join<CachePolicyHandler>({
    name: 'cache',
    resolve,
    enqueueReads: (request: RequestWithSession, _reply, part) => {
      if (!(part instanceof CachedRoute)) return
      const state = requestStateOf(request)
      const mark = internalRequestOf(request)
      if (mark instanceof BackgroundRefresh) state.refresh = mark
      part.ask(request, state)
    },
    beforeSend: (request: RequestWithSession, reply, part) => { if (part instanceof CachedRoute) part.close(requestStateOf(request), reply) },
    onSend: (request: RequestWithSession, reply, payload, part) => part?.settle(request, reply, requestStateOf(request), payload)
  })
}, { name: 'fastify-prism/cache', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** What this process may store, and may have to give up, where Redis's memory has a limit. */
function memoryGuardFor ({ redisPool: pool, log }: FastifyInstance, stats: CacheStats): MemoryGuard {
  const unlink = (names: readonly string[]) => {
    // What could not be given up ends by itself.
    const slots = pool.server?.isCluster === true ? names.map((name) => [name]) : [names]
    for (const each of slots) pool.batch.command('UNLINK', [...each], 'background').catch(() => {})
  }
  return new MemoryGuard({
    info: async () => String(await pool.batch.command('INFO', sections, 'background')),
    limitBytes: () => pool.server?.maxmemoryBytes,
    connections: () => pool.load.connections,
    unlink,
    count: (event) => stats.add(event),
    changed: (usage) => {
      if (usage.level === 'calm') log.info({ redis: usage }, 'Redis has room again: answers are stored as ever')
      else log.warn({ redis: usage }, usage.level === 'full' ? 'Redis is nearly full: stored answers are given up, so that nothing else is evicted' : 'Redis fills up: only answers that are asked for twice are stored')
    }
  })
}

function requestStateOf (request: RequestWithSession): CacheRequestState {
  request[requestState] ??= new CacheRequestState()
  return request[requestState]
}

function wrapHandler (route: RouteOptions, cached: CachedRoute<RequestWithSession>): void {
  const { handler } = route
  route.handler = function answer (this: FastifyInstance, request: RequestWithSession, reply: FastifyReply) {
    return cached.answer(request, reply, requestStateOf(request), () => handler.call(this, request, reply))
  } as typeof handler
}

/** Whether a route's resolved session choice refuses requests that are not signed in. Undefined where no sessions are registered. */
function isRequired (session: unknown): boolean {
  return (session as { readonly use?: unknown } | undefined)?.use === 'required'
}

function querySchemaOf (route: RouteOptions | undefined): unknown {
  const schema = route?.schema as { querystring?: unknown, query?: unknown } | undefined
  return schema?.querystring ?? schema?.query
}

/** Hooks of the route itself run after those of its scopes, also of such as are registered later. */
function sealAnswers (route: RouteOptions, cached: CachedRoute<RequestWithSession>): void {
  const seal: onSendHookHandler = (request, reply, payload, done) => {
    cached.seal(reply, requestStateOf(request as RequestWithSession))
    done(null, payload)
  }
  route.onSend = [...[route.onSend ?? []].flat(), seal]
}
