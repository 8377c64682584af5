import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { CachedRoute } from '../src/cache/cached-route.ts'
import type { Visit } from '../src/cache/cached-route.ts'
import type { Entry } from '../src/cache/entry.ts'
import { Fills } from '../src/cache/fill.ts'
import { readTags, resolveCachePolicy, resolveRoutePolicy } from '../src/cache/policy.ts'
import type { CacheOptions, RouteCacheOptions } from '../src/cache/policy.ts'
import { CacheStore } from '../src/cache/store.ts'
import { Wraps } from '../src/cache/wrap.ts'

export type { CacheOptions } from '../src/cache/policy.ts'
export type { WrapOptions } from '../src/cache/wrap.ts'

/** A request as a route's options see it. */
export type CacheRequest = FastifyRequest<{ Params: Record<string, string>, Querystring: Record<string, string | string[] | undefined> }>

/** What a route may say of its answers; `false`: not cached, `true`: as the stack and the scopes say. */
export type CacheChoice = RouteCacheOptions<CacheRequest> | boolean

/** What `fastify.cache` offers. */
export interface Cache {
  /**
   * Drops every answer and every wrapped value that bears one of these tags, also those that are being made now. It costs the same for one as for a million.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may or may not have happened, and may be tried again
   */
  purge (...tags: string[]): Promise<void>
  /** The same cache for any value that JSON can say. */
  wrap: Wraps['wrap']
}

declare module './journey.ts' {
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
    /** The response cache: `purge`, `wrap`. */
    cache: Cache
  }
  interface FastifyReply {
    /** Names this answer, so that `fastify.cache.purge` drops it; a tag that the route's options name costs one look-up less. */
    tag (...tags: string[]): FastifyReply
  }
}

const visited = Symbol('prism.cache')
type Visitor = CacheRequest & { [visited]?: Visit | null }

/**
 * Keeps the answers of routes that name `cache`, and serves them: after every guard, in place of the handler.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration or at a route's declaration.
 */
export default fp<CacheOptions>(async (fastify, options) => {
  const policy = resolveCachePolicy(options)
  const store = new CacheStore(fastify.redisPool.batch, fastify.redisPool.keyspace)
  const fills = new Fills<Entry>()
  const wraps = new Wraps(store)

  fastify.decorate('cache', { getter: () => ({ purge: (...tags: string[]) => store.purge(readTags(tags)), wrap: wraps.wrap.bind(wraps) }) })
  fastify.decorateRequest(visited, null)
  fastify.decorateReply('tag', function tag (this: FastifyReply, ...tags: string[]) {
    (this.request as Visitor)[visited]?.tags.push(...readTags(tags))
    return this
  })

  const resolve = (choices: readonly unknown[], route?: RouteOptions): CachedRoute<Visitor> | undefined => {
    const schema = route?.schema as { querystring?: unknown, query?: unknown } | undefined
    const chosen = resolveRoutePolicy<Visitor>(choices, policy, schema?.querystring ?? schema?.query)
    if (chosen === undefined || route === undefined || !isRead(route.method)) return undefined
    const cached = new CachedRoute(chosen, route.url, store, fills)
    const { handler } = route
    route.handler = function answer (request: Visitor, reply) {
      const visit = request[visited] ?? { tags: [] }
      return cached.answer(request, reply, visit, () => {
        noteSession(request, visit)
        return handler.call(this, request, reply)
      })
    } as typeof handler
    return cached
  }

  fastify.journey.join<CachedRoute<Visitor> | undefined>({
    name: 'cache',
    resolve,
    ask: (request: Visitor, _reply, route) => {
      if (route === undefined) return
      const visit: Visit = request[visited] = { tags: [] }
      route.ask(request, visit)
    },
    settle: (request: Visitor, reply, payload, route) => {
      const visit = request[visited]
      return route === undefined || visit == null ? undefined : route.settle(request, reply, visit, payload)
    }
  })
}, { name: 'cache', fastify: '5.x', dependencies: ['redis', 'journey'] })

function isRead (method: RouteOptions['method']): boolean {
  return [method].flat().some((each) => each === 'GET' || each === 'HEAD')
}

/** An answer whose handler looked at the session is that visitor's alone. */
function noteSession (request: FastifyRequest, visit: Visit): void {
  if (!('session' in request)) return
  let session: unknown = request.session
  Object.defineProperty(request, 'session', {
    configurable: true,
    get: () => {
      if (visit.run !== undefined) visit.run.touched = 'session'
      return session
    },
    set: (value) => { session = value }
  })
}
