import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { CachedRoute } from '../src/cache/cached-route.ts'
import { Counts } from '../src/cache/counts.ts'
import type { CacheEvent } from '../src/cache/counts.ts'
import { Entrance } from '../src/cache/fill/entrance.ts'
import type { Entry } from '../src/cache/entry.ts'
import { Fills } from '../src/cache/fill/fill.ts'
import { isUnsafe } from '../src/cache/invalidation.ts'
import { Locks } from '../src/cache/fill/lock.ts'
import { readPurge, resolveCachePolicy, readTags, resolveRoutePolicy } from '../src/cache/policy.ts'
import type { CacheOptions, PurgeOptions, RouteCacheOptions } from '../src/cache/policy.ts'
import { sections } from '../src/cache/memory/pressure.ts'
import { Refresh, Refreshes } from '../src/cache/refresh.ts'
import { Reservations } from '../src/cache/fill/reservations.ts'
import { Room } from '../src/cache/memory/room.ts'
import type { Standing } from '../src/cache/memory/room.ts'
import { CacheStore } from '../src/cache/store.ts'
import { Visit } from '../src/cache/visit.ts'
import { Waiters } from '../src/cache/fill/waiters.ts'
import { Wraps } from '../src/cache/wrap.ts'
import { Writer } from '../src/cache/writer.ts'
import { claimDecorators } from '../src/decorators.ts'
import { Subscriber } from '../src/redis/subscriber.ts'

export type { CacheEvent } from '../src/cache/counts.ts'
export type { CacheOptions, PurgeOptions } from '../src/cache/policy.ts'
export type { WrapOptions } from '../src/cache/wrap.ts'

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
  readonly memory: Standing
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
  wrap: Wraps['wrap']
  /** Calls `listener` each time something happens, with how often it has. It must not throw. */
  on (event: CacheEvent, listener: (count: number) => void): void
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

const visited = Symbol('prism.cache')
type Visitor = CacheRequest & { [visited]?: Visit | null }
type Part = CachedRoute<Visitor> | Writer | undefined

/**
 * Keeps the answers of routes that name `cache`, and serves them: after every guard, in place of the handler.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration or at a route's declaration.
 */
export default fp<CacheOptions>(async (fastify, options) => {
  const policy = resolveCachePolicy(options)
  const keepDecorators = claimDecorators(fastify, 'cache', { instance: ['cache'], reply: ['cache', 'tag'] })
  const counts = new Counts()
  const room = roomIn(fastify, counts)
  const store = new CacheStore(fastify.redisPool.batch, fastify.redisPool.keyspace, () => fastify.redisPool.server, room)
  fastify.redisPool.on('server', () => store.reached())
  const locks = new Locks(fastify.redisPool.batch, store.keys, store)
  const waiters = new Waiters(new Subscriber(() => fastify.redisPool.openSubscriber(), (error) => fastify.redisPool.hear(error), fastify.redisPool.batch.deadlineMs), store.keys.cacheFilled())
  const entrance = new Entrance(locks, waiters, counts)
  fastify.redisPool.on('outage', (isOut: boolean) => { if (isOut) entrance.outage() })
  const reservations = new Reservations(locks, store)
  const wraps = new Wraps(store, entrance)
  const { markOf, resolvedFrom, send } = fastify.journey
  const shared = { store, counts, entrance, reservations, refreshes: new Refreshes(send), fills: new Fills<Entry>(), writers: new Set<string>(), proxies: new Set<string>(), warn: (facts: object, text: string) => fastify.log.warn(facts, text) }
  const cache: Cache = {
    get counts () { return counts.all },
    get storedBytes () { return store.keptBytes },
    get memory () { return room.standing },
    purge: async (...given) => {
      const { tags, isSoft } = readPurge(given)
      counts.add('purge')
      await store.purge(tags, { isSoft })
    },
    wrap: wraps.wrap.bind(wraps),
    on: counts.on.bind(counts)
  }

  fastify.addHook('onClose', async () => {
    entrance.close()
    reservations.close()
    room.close()
  })
  fastify.decorate('cache', { getter: () => cache })
  fastify.decorateRequest(visited, null)
  fastify.decorateReply('cache', {
    getter (this: FastifyReply) {
      return { bypass: (reason: string) => { visitOf(this.request as Visitor).bypass = reason } }
    }
  })
  fastify.decorateReply('tag', function tag (this: FastifyReply, ...tags: string[]) {
    const visit = visitOf(this.request as Visitor)
    visit.tags = [...visit.tags, ...readTags(tags)]
    return this
  })
  keepDecorators()

  const resolve = (choices: readonly unknown[], route?: RouteOptions): Part => {
    const chosen = resolveRoutePolicy<Visitor>(choices, policy, { querySchema: querySchemaOf(route), constraints: route?.constraints as Record<string, unknown> | undefined, isForUsers: () => isRequired(resolvedFrom(route?.config).session) })
    if (route === undefined) return undefined
    const methods = [route.method].flat()
    if (methods.some(isUnsafe)) shared.writers.add(route.url)
    if (chosen === undefined || !methods.some((method) => method === 'GET' || method === 'HEAD')) return methods.some(isUnsafe) ? new Writer(shared) : undefined
    if (chosen.ttlMs === undefined) shared.proxies.add(route.url)
    const cached = new CachedRoute(chosen, route.url, shared)
    wrapHandler(route, cached)
    sealAnswers(route, cached)
    return cached
  }

  fastify.journey.join<Part>({
    name: 'cache',
    resolve,
    ask: (request: Visitor, _reply, part) => {
      if (!(part instanceof CachedRoute)) return
      const visit = visitOf(request)
      const mark = markOf(request)
      if (mark instanceof Refresh) visit.refresh = mark
      part.ask(request, visit)
    },
    close: (request: Visitor, reply, part) => { if (part instanceof CachedRoute) part.close(visitOf(request), reply) },
    settle: (request: Visitor, reply, payload, part) => part?.settle(request, reply, visitOf(request), payload)
  })
}, { name: 'fastify-prism/cache', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/journey'] })

/** What this process may store, and may have to give up, where Redis's memory has a limit. */
function roomIn ({ redisPool: pool, log }: FastifyInstance, counts: Counts): Room {
  const unlink = (names: readonly string[]) => {
    // What could not be given up ends by itself.
    const slots = pool.server?.isCluster === true ? names.map((name) => [name]) : [names]
    for (const each of slots) pool.batch.command('UNLINK', [...each], 'background').catch(() => {})
  }
  return new Room({
    info: async () => String(await pool.batch.command('INFO', sections, 'background')),
    limitBytes: () => pool.server?.maxmemoryBytes,
    connections: () => pool.load.connections,
    unlink,
    count: (event) => counts.add(event),
    changed: (standing) => {
      if (standing.level === 'calm') log.info({ redis: standing }, 'Redis has room again: answers are stored as ever')
      else log.warn({ redis: standing }, standing.level === 'full' ? 'Redis is nearly full: stored answers are given up, so that nothing else is evicted' : 'Redis fills up: only answers that are asked for twice are stored')
    }
  })
}

function visitOf (request: Visitor): Visit {
  request[visited] ??= new Visit()
  return request[visited]
}

function wrapHandler (route: RouteOptions, cached: CachedRoute<Visitor>): void {
  const { handler } = route
  route.handler = function answer (this: FastifyInstance, request: Visitor, reply: FastifyReply) {
    return cached.answer(request, reply, visitOf(request), () => handler.call(this, request, reply))
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
function sealAnswers (route: RouteOptions, cached: CachedRoute<Visitor>): void {
  const seal: onSendHookHandler = (request, reply, payload, done) => {
    cached.seal(reply, visitOf(request as Visitor))
    done(null, payload)
  }
  route.onSend = [...[route.onSend ?? []].flat(), seal]
}
