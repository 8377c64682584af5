import fastifyRedis from '@fastify/redis'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Cluster, Redis } from 'ioredis'
import { ScopeError } from '../src/shared/errors.ts'
import { resolveRedisPolicy } from '../src/redis/options.ts'
import type { RedisOptions } from '../src/redis/options.ts'
import { neededRights } from '../src/redis/health/error-class.ts'
import { AppAnnouncer, defaultAppName } from '../src/redis/app-announcer.ts'
import { PooledRedis } from '../src/redis/client.ts'
import { logReasons } from '../src/redis/health/reason-log.ts'
import { checkRouteConfigs } from '../src/route-config/check.ts'
import { declaredRoutes } from '../src/route-config/declared-routes.ts'

// Re-exported so that the type of `fastify.redis` reaches the package's users.
export type { FastifyRedis } from '@fastify/redis'
export { addressFault } from '../src/redis/address.ts'
export type { UnreachableReason } from '../src/redis/health/unreachable-reason.ts'
export type { RedisOptions } from '../src/redis/options.ts'
export { pemOf, readRedisTls } from '../src/redis/tls.ts'
export type { RedisTls } from '../src/redis/tls.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The process's Redis connection pool: `batch`, `lease()`, `state` and all ioredis methods. `fastify.redis` is the same object, unless the app has registered @fastify/redis before. */
    redisPool: PooledRedis
  }
}

/**
 * Opens the Redis connection pool that sessions, rate limits, cache and events share. Waits at most 1 s for Redis, and not at all if the
 * connection is refused: the app then starts in degraded mode and reconnects in the background.
 *
 * If the app has registered @fastify/redis before and the options name no server, the pool uses that client's address and credentials.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 * @throws {ScopeError} PRISM_ERR_SCOPE if this scope or one around it has a pool already.
 */
export default fp<RedisOptions>(async (fastify, options) => {
  if (fastify.hasDecorator('redisPool')) throw new ScopeError('register(redis)', 'this scope or a scope around it has a Redis pool already')
  const policy = resolveRedisPolicy(withClientOfApp(fastify, options))
  await policy.memory?.load()
  const pool = new PooledRedis(policy)
  const declared = declaredRoutes(fastify)
  // Checked here because each feature depends on this plugin: a route config that names an unregistered feature is rejected too.
  fastify.addHook('onReady', async () => checkRouteConfigs(declared, (facts, text) => fastify.log.warn(facts, text)))

  pool.on('outage', (isOut: boolean) => {
    // To a replica the pool reconnects every second, until the address names the master: its reason is logged once.
    if (pool.reason?.code === 'read_only') return
    const subject = pool.server?.isCluster ? 'A node of the Redis Cluster' : 'Redis'
    if (isOut) fastify.log.warn(`${subject} unavailable: cache bypassed, rate limits and sessions use their failure policies`)
    else fastify.log.info('Redis connection restored')
  })
  logReasons(pool, fastify.log)
  pool.on('denied', (what: string) => {
    fastify.log.warn({ denied: what }, `Redis ACL denies ${what}; affected features run degraded. Grant ${neededRights}`)
  })
  pool.once('server', ({ version, isCluster, maxmemoryBytes, maxmemoryPolicy }) => {
    fastify.log.info({ redis: { version, isCluster, maxmemoryBytes, maxmemoryPolicy } }, 'Connected to Redis')
  })
  const announcer = announcerFor(fastify, pool, policy.app ?? defaultAppName())
  pool.on('server', () => announcer.announce())
  fastify.addHook('onClose', () => {
    announcer.close()
    return pool.quit()
  })

  fastify.decorate('redisPool', pool)
  if (!fastify.hasDecorator('redis')) await fastify.register(fastifyRedis, { client: pool })
  if (!await pool.start()) fastify.log.warn({ redis: { reason: pool.reason?.code } }, 'Redis not reachable, starting in degraded mode')
}, { name: 'fastify-prism/redis', fastify: '5.x' })

function announcerFor ({ log }: FastifyInstance, { batch, keyspace }: PooledRedis, name: string): AppAnnouncer {
  return new AppAnnouncer(name, batch, keyspace, (others) => {
    log.warn({ app: name, others }, 'Another app uses the same Redis with the same key prefix: they serve each other\'s cached responses and share sessions and rate limits. Set redis.prefix in one of them, or the same redis.app in both if that is intended')
  })
}

function withClientOfApp (fastify: FastifyInstance, options: RedisOptions): RedisOptions {
  const namesServer = options.url !== undefined || options.client !== undefined || options.connection?.sentinels !== undefined
  const existing: unknown = fastify.hasDecorator('redis') ? fastify.redis : undefined
  // With namespaces, `fastify.redis` is an object of several clients: it is unknown which one to use.
  return !namesServer && (existing instanceof Redis || existing instanceof Cluster) ? { ...options, client: existing } : options
}
