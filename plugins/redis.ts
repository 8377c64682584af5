import fastifyRedis from '@fastify/redis'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Cluster, Redis } from 'ioredis'
import { ScopeError } from '../src/shared/errors.ts'
import { resolveRedisPolicy } from '../src/redis/options.ts'
import type { RedisOptions } from '../src/redis/options.ts'
import { neededRights } from '../src/redis/health/error-class.ts'
import { PooledRedis } from '../src/redis/client.ts'
import { logReasons } from '../src/redis/health/reason-log.ts'
import { checkRouteConfigs } from '../src/route-config/check.ts'
import { declaredRoutes } from '../src/route-config/declared-routes.ts'

// Brings the type of `fastify.redis` along.
export type { FastifyRedis } from '@fastify/redis'
export type { RedisOptions } from '../src/redis/options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The process's connections to Redis: `batch`, `lease()`, `state`, and every ioredis method. `fastify.redis` is the same, unless the app had registered @fastify/redis before. */
    redisPool: PooledRedis
  }
}

/**
 * Opens the pool that sessions, limits, cache and events share. Waits at most a second for Redis, and not at all where nobody answers: the app starts without it, and mends itself.
 *
 * Where the app has registered @fastify/redis before, and says nothing else, it opens them beside that client, with its address and login.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 * @throws {ScopeError} PRISM_ERR_SCOPE where a scope has a pool already.
 */
export default fp<RedisOptions>(async (fastify, options) => {
  if (fastify.hasDecorator('redisPool')) throw new ScopeError('register(redis)', 'this scope has a pool already, from here or from a scope around it')
  const pool = new PooledRedis(resolveRedisPolicy(withAppsOwn(fastify, options)))
  const declared = declaredRoutes(fastify)
  // Here, for every part needs it: a config that names a part which is not registered is refused too.
  fastify.addHook('onReady', async () => checkRouteConfigs(declared, (facts, text) => fastify.log.warn(facts, text)))

  pool.on('outage', (isOut: boolean) => {
    const who = pool.server?.isCluster ? 'A node of the Redis Cluster' : 'Redis'
    if (isOut) fastify.log.warn(`${who} does not answer: cache bypassed, limits and sessions as their policies say`)
    else fastify.log.info('Redis answers again')
  })
  logReasons(pool, fastify.log)
  pool.on('denied', (what: string) => {
    fastify.log.warn({ denied: what }, `Redis denies its user ${what}: what needs it goes on as without Redis, or fails. Let it do ${neededRights}`)
  })
  pool.once('server', ({ version, isCluster, maxmemoryBytes, maxmemoryPolicy }) => {
    fastify.log.info({ redis: { version, isCluster, maxmemoryBytes, maxmemoryPolicy } }, 'Redis is reached')
  })
  fastify.addHook('onClose', () => pool.quit())

  fastify.decorate('redisPool', pool)
  if (!fastify.hasDecorator('redis')) await fastify.register(fastifyRedis, { client: pool })
  if (!await pool.start()) fastify.log.warn({ redis: { reason: pool.reason?.code } }, 'Redis is not reached yet: starting without it')
}, { name: 'fastify-prism/redis', fastify: '5.x' })

function withAppsOwn (fastify: FastifyInstance, options: RedisOptions): RedisOptions {
  const isTold = options.url !== undefined || options.client !== undefined || options.connection?.sentinels !== undefined
  const own: unknown = fastify.hasDecorator('redis') ? fastify.redis : undefined
  // With namespaces it is an object of several clients: which one is meant nobody can know.
  return !isTold && (own instanceof Redis || own instanceof Cluster) ? { ...options, client: own } : options
}
