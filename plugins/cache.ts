import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { CachedRoute } from '../src/cache/cached-route.ts'
import { inspectRoute } from '../src/cache/inspect-route.ts'
import type { InspectedTarget } from '../src/cache/inspect-route.ts'
import type { CacheEvent } from '../src/cache/stats.ts'
import type { EntryInspection } from '../src/cache/storage/inspect-entry.ts'
import { isUnsafe } from '../src/cache/invalidation/unsafe-methods.ts'
import { readPurge, resolveCachePolicy, readTags, resolveRoutePolicy } from '../src/cache/options.ts'
import type { CacheOptions, ConsistentCacheOptions, PurgeOptions, RouteCacheOptions } from '../src/cache/options.ts'
import type { CacheTag } from '../src/cache/cache-tags.ts'
import { createCacheRuntime } from '../src/cache/create-runtime.ts'
import { BackgroundRefresh } from '../src/cache/revalidation/background-refresh.ts'
import type { MemoryUsage } from '../src/cache/admission/memory-guard.ts'
import { CacheRequestState } from '../src/cache/request-state.ts'
import { finalHooks, laterHooksOf } from '../src/cache/response/later-hooks.ts'
import type { Memoizer } from '../src/cache/memoize.ts'
import { InvalidatingRoute } from '../src/cache/invalidation/invalidating-route.ts'
import { RouteConfigError } from '../src/shared/errors.ts'
import { claimDecorators } from '../src/shared/decorators.ts'
import type { RoutePolicies } from './request-lifecycle.ts'

export type * from '../src/cache/cache-tags.ts'
export type { InspectedTarget } from '../src/cache/inspect-route.ts'
export type { EntryInspection } from '../src/cache/storage/inspect-entry.ts'
export type { CacheEvent } from '../src/cache/stats.ts'
export type { CacheOptions, PurgeOptions } from '../src/cache/options.ts'
export type { WrapOptions } from '../src/cache/memoize.ts'

/** A request as a route's options see it. */
export type CacheRequest = FastifyRequest<{ Params: Record<string, string>, Querystring: Record<string, string | string[] | undefined> }>

/** The `cache` option of a route or scope. `false`: not cached. `true`: cached with the options of the outer scopes and the plugin. (In a route's config Fastify intersects the type with that of the value: without `object` any text or number would be accepted.) */
export type CacheChoice = (object & RouteCacheOptions<CacheRequest> & ConsistentCacheOptions) | boolean

/** What `fastify.cache` offers. */
export interface Cache {
  /** Number of events by type since this process started. */
  readonly counts: Readonly<Record<CacheEvent, number>>
  /** Bytes that this process has written to Redis since it started. */
  readonly storedBytes: number
  /** Redis memory usage at the last check. `high`: only responses requested at least twice are stored. `critical`: stored responses are evicted. */
  readonly memory: MemoryUsage
  /**
   * Invalidates every response and every `wrap` value that has one of these tags, including those whose handler is running now. The cost does not depend on the number of entries.
   *
   * With `{ soft: true }` as the last argument, entries become stale instead. They may be served while they are revalidated (`staleWhileRevalidate`) or instead of an error (`staleIfError`).
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the purge may or may not have been executed; it is safe to retry
   * @throws {OptionError} PRISM_ERR_OPTION
   */
  purge (...tags: CacheTag[]): Promise<void>
  purge (...tagsAndOptions: [...tags: CacheTag[], options: PurgeOptions]): Promise<void>
  /**
   * Reads what is stored for a URL, without its body and without the values of headers that may contain a secret. Never rejects: `found` is
   * `unavailable` while Redis is, `uncached` for a route that is not cached, and `apart` for one with `partition`, whose responses are private.
   *
   * @param route the pattern of the route that serves the URL
   */
  inspect (route: string, target: InspectedTarget): Promise<EntryInspection>
  /** Caches the result of a function. The result must be serializable as JSON. With `refresh: true` the function is called now, and its result replaces the stored one. */
  wrap: Memoizer['wrap']
  /** Reads a value that `wrap` has stored, and calls no function; undefined if there is none to use. */
  get: Memoizer['get']
  /** Deletes a value of `wrap`, and rejects the values of its functions that are running now, in every process. */
  delete: Memoizer['delete']
  /** Calls `listener` on each event with the number of such events so far. The listener must not throw. */
  on (event: CacheEvent, listener: (count: number) => void): void
}

declare module './request-lifecycle.ts' {
  interface RouteDefaults {
    /** caches the responses of these routes */
    cache?: CacheChoice
  }
  interface RoutePolicies {
    /** `ttlMs` null: as the response specifies; `partition` 'function': by a function of the route; false: not cached */
    cache?: { readonly ttlMs: number | null, readonly tags: readonly string[], readonly partition: 'user' | 'session' | 'function' | null } | false
  }
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** caches the responses of this route; merged with the options of its scopes */
    cache?: CacheChoice
  }
  interface FastifyInstance {
    /** The response cache: `purge`, `wrap`, `counts`, `on`. */
    cache: Cache
  }
  interface FastifyReply {
    /** Cache control for this reply. */
    readonly cache: {
      /** Does not serve this request from the cache and does not store its response. `reason`, one word, is reported in `Cache-Status`. */
      bypass (reason: string): void
    }
    /** Adds tags to this response for `fastify.cache.purge`. A tag from the route's options is cheaper: it is read in the same round trip as the entry. */
    tag (...tags: CacheTag[]): FastifyReply
  }
}

const requestState = Symbol('prism.cache')
type RequestWithCacheState = CacheRequest & { [requestState]?: CacheRequestState | null }
type CachePolicyHandler = CachedRoute<RequestWithCacheState> | InvalidatingRoute | undefined

/**
 * Stores the responses of routes with a `cache` option and serves them in place of the handler, after all onRequest and preHandler hooks.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration or when a route is declared.
 */
export default fp<CacheOptions>(async (fastify, options) => {
  const policy = resolveCachePolicy(options)
  const finishDecorators = claimDecorators(fastify, 'cache', { instance: ['cache'], reply: ['cache', 'tag'] })
  const { requestLifecycle } = fastify
  const { internalRequestOf, resolvedFrom, send } = requestLifecycle
  const { runtime, memoizer, memoryGuard, close } = createCacheRuntime(fastify.redisPool, policy, { send, log: fastify.log })
  const { store, stats } = runtime
  const routes = new Map<string, CachedRoute<RequestWithCacheState>>()
  const cache: Cache = {
    get counts () { return stats.all },
    get storedBytes () { return store.storedBytes },
    get memory () { return memoryGuard.usage },
    purge: async (...args) => {
      const { tags, isSoft } = readPurge(args)
      stats.add('purge')
      await store.purge(tags, { isSoft })
    },
    inspect: async (route, target) => await inspectRoute(route, routes.get(route), target),
    wrap: memoizer.wrap.bind(memoizer),
    get: memoizer.get.bind(memoizer),
    delete: async (name, params) => {
      stats.add('purge')
      await memoizer.delete(name, params)
    },
    on: stats.on.bind(stats)
  }

  /** routes whose responses are stored for each user or session */
  const routesOfSessions: RouteOptions[] = []
  fastify.addHook('onReady', async () => {
    warnOfUntrackedContext(fastify)
    for (const route of routesOfSessions) if (resolvedFrom(route.config).session === undefined) refuseWithoutSessions(route)
  })
  fastify.addHook('onClose', async () => { close() })
  fastify.decorate('cache', { getter: () => cache })
  fastify.decorateRequest(requestState, null)
  fastify.decorateReply('cache', {
    getter (this: FastifyReply) {
      return { bypass: (reason: string) => { requestStateOf(this.request as RequestWithCacheState).bypass = reason } }
    }
  })
  fastify.decorateReply('tag', function tag (this: FastifyReply, ...tags: string[]) {
    const state = requestStateOf(this.request as RequestWithCacheState)
    state.tags = [...state.tags, ...readTags(tags)]
    return this
  })
  finishDecorators()

  const resolve = (choices: readonly unknown[], route?: RouteOptions, scope?: FastifyInstance): CachePolicyHandler => {
    const routePolicy = resolveRoutePolicy<RequestWithCacheState>(choices, policy, { querySchema: querySchemaOf(route), constraints: route?.constraints as Record<string, unknown> | undefined, isForUsers: () => isRequired(resolvedFrom(route?.config).session) })
    if (route === undefined) return undefined
    const methods = [route.method].flat()
    refuseUncacheable(route, methods)
    runtime.constrainedRoutes.add(route.url, route.constraints, (name) => fastify.hasConstraintStrategy(name))
    if (methods.some(isUnsafe)) runtime.unsafeRoutes.add(route.url)
    if (routePolicy === undefined || isWebSocketRoute(route) || !methods.some((method) => method === 'GET' || method === 'HEAD')) return methods.some(isUnsafe) ? new InvalidatingRoute(runtime) : undefined
    if (routePolicy.partition === 'user' || routePolicy.partition === 'session') routesOfSessions.push(route)
    const cached = new CachedRoute(routePolicy, route.url, runtime, () => laterHooksOf({ scope, route, stackAt: requestLifecycle.onSendPosition, finalHook }))
    if (methods.includes('GET') && !routes.has(route.url)) routes.set(route.url, cached)
    wrapHandler(route, cached)
    const finalHook = addFinalHook(route, cached)
    return cached
  }

  fastify.requestLifecycle.join<CachePolicyHandler>({
    name: 'cache',
    resolve,
    describe: (part) => part instanceof CachedRoute && describePolicy(part.policy),
    beforeHooks: (request: RequestWithCacheState, part) => { if (part instanceof CachedRoute) part.receive(request, requestStateOf(request)) },
    enqueueReads: (request: RequestWithCacheState, _reply, part) => {
      if (!(part instanceof CachedRoute)) return
      const state = requestStateOf(request)
      const internalRequest = internalRequestOf(request)
      if (internalRequest instanceof BackgroundRefresh) state.refresh = internalRequest
      part.startLookup(request, state)
    },
    beforeSend: (request: RequestWithCacheState, reply, part, payload) => { if (part instanceof CachedRoute) part.close(requestStateOf(request), reply, payload) },
    onSend: (request: RequestWithCacheState, reply, payload, part) => part?.finalizeResponse(request, reply, requestStateOf(request), payload)
  })
}, { name: 'fastify-prism/cache', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/request-lifecycle'] })

/** The store of a version of @fastify/request-context that does not give it out cannot be tracked: one client's values could be shared with others. */
function warnOfUntrackedContext (fastify: FastifyInstance): void {
  const { requestContext } = fastify as { requestContext?: { getStore?: unknown } }
  if (requestContext === undefined || typeof requestContext.getStore === 'function') return
  fastify.log.warn('The cache cannot track what handlers read from @fastify/request-context: update it to version 7 or later, or do not cache routes that read it')
}

function describePolicy ({ ttlMs, tags, partition }: CachedRoute<RequestWithCacheState>['policy']): RoutePolicies['cache'] {
  return { ttlMs: ttlMs ?? null, tags, partition: typeof partition === 'function' ? 'function' : partition ?? null }
}

function requestStateOf (request: RequestWithCacheState): CacheRequestState {
  request[requestState] ??= new CacheRequestState()
  return request[requestState]
}

function wrapHandler (route: RouteOptions, cached: CachedRoute<RequestWithCacheState>): void {
  const { handler } = route
  const cachedHandler = function (this: FastifyInstance, request: RequestWithCacheState, reply: FastifyReply) {
    return cached.handle(request, reply, requestStateOf(request), () => handler.call(this, request, reply))
  } as typeof handler
  route.handler = cachedHandler
}

/** A route of @fastify/websocket. Until that plugin has replaced it, its handler takes a socket, so it must not be wrapped. */
function isWebSocketRoute (route: RouteOptions & { websocket?: boolean }): boolean {
  return route.websocket === true
}

/** Whether a route's resolved session policy rejects requests that are not signed in. `session` is undefined when the session plugin is not registered. */
function isRequired (session: unknown): boolean {
  return (session as { readonly use?: unknown } | undefined)?.use === 'required'
}

/** A `cache` option of a route's own must have an effect; one that a scope sets for all of its routes need not. */
function refuseUncacheable ({ url, config }: RouteOptions, methods: readonly string[]): void {
  const own = config?.cache
  if (own === undefined || own === false || methods.some((method) => method === 'GET' || method === 'HEAD')) return
  throw new RouteConfigError(`${methods.join(',')} ${url} has config.cache, but only responses to GET and HEAD are cached: take the key away`)
}

/** Without sessions no request has a user: nothing would ever be cached. */
function refuseWithoutSessions ({ method, url }: RouteOptions): never {
  throw new RouteConfigError(`${[method].flat().join(',')} ${url} has the cache.partition of a user or session, but no sessions of fastify-prism are registered: register them, or use partition: (request) => … with sessions of another plugin`)
}

function querySchemaOf (route: RouteOptions | undefined): unknown {
  const schema = route?.schema as { querystring?: unknown, query?: unknown } | undefined
  return schema?.querystring ?? schema?.query
}

/** Route-level hooks run after the hooks of the scopes, including those registered later. */
function addFinalHook (route: RouteOptions, cached: CachedRoute<RequestWithCacheState>): onSendHookHandler {
  const onSend: onSendHookHandler = (request, reply, payload, done) => {
    done(null, cached.finalizeHeaders(reply, requestStateOf(request as RequestWithCacheState), payload))
  }
  finalHooks.add(onSend)
  route.onSend = [...[route.onSend ?? []].flat(), onSend]
  return onSend
}
