import fastifyRedis from '@fastify/redis'
import fp from 'fastify-plugin'
import { resolveRedisPolicy } from '../src/redis/policy.ts'
import type { RedisOptions } from '../src/redis/policy.ts'
import { Pool } from '../src/redis/pool.ts'

export type { RedisOptions } from '../src/redis/policy.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The process's connections to Redis: `batch`, `lease()`, `state`, and every ioredis method. `fastify.redis` is the same, unless the app had registered @fastify/redis before. */
    redisPool: Pool
  }
}

/**
 * Opens the pool that sessions, limits, cache and events share. Waits at most half a second for Redis: the app starts without it, and mends itself.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 */
export default fp<RedisOptions>(async (fastify, options) => {
  const pool = new Pool(resolveRedisPolicy(options))

  pool.on('outage', (isOut: boolean) => {
    if (isOut) fastify.log.warn('Redis does not answer: cache bypassed, limits and sessions as their policies say')
    else fastify.log.info('Redis answers again')
  })
  pool.once('server', ({ version, isCluster, maxmemoryBytes, maxmemoryPolicy }) => {
    fastify.log.info({ redis: { version, isCluster, maxmemoryBytes, maxmemoryPolicy } }, 'Redis is reached')
  })
  fastify.addHook('onClose', () => pool.quit())

  fastify.decorate('redisPool', pool)
  if (!fastify.hasDecorator('redis')) await fastify.register(fastifyRedis, { client: pool })
  if (!await pool.start(500)) fastify.log.warn('Redis is not reached yet: starting without it')
}, { name: 'redis', fastify: '5.x' })
