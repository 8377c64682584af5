import fastify from 'fastify'
import type { FastifyInstance, FastifyHttpOptions, RawServerDefault } from 'fastify'
import cache from '../../plugins/cache.ts'
import type { CacheOptions } from '../../plugins/cache.ts'
import journey from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import type { Owner } from './cleanup-scope.ts'
import { reached } from './wait-for-redis.ts'
import { startRedisProcess } from './redis-process.ts'
import { until } from './until.ts'

/** What a caching app is made of, where a test wants it otherwise. */
export interface CachingOptions extends CacheOptions {
  /** another app's Redis; a server of its own by default */
  url?: string
  server?: FastifyHttpOptions<RawServerDefault>
  /** with sessions, before the cache */
  hasSessions?: boolean
}

/** An app with the pool and the cache alone, for routes to be added; closed with its owner. */
export async function cachingApp (owner: Owner, { url, server = {}, hasSessions = false, ...options }: CachingOptions = {}): Promise<FastifyInstance> {
  const redisUrl = url ?? (await startRedisProcess(owner)).url
  const app: FastifyInstance = fastify(server)
  owner.after(() => app.close())
  await app.register(redis, { url: redisUrl })
  await app.register(journey)
  if (hasSessions) await app.register(session, { secrets: ['a secret of the tests, 32 or more'] })
  await app.register(cache, options)
  await reached(app)
  return app
}

/** Waits until all that was to be stored has reached Redis: it leaves one turn of the event loop after the answer, or once it is compressed. */
export async function stored (app: FastifyInstance): Promise<void> {
  const isDone = ({ write, write_ok: ok, write_failed: failed }: FastifyInstance['cache']['counts']) => write === ok + failed
  // What `wrap` stores is not counted: it leaves with this.
  await app.redisPool.batch.command('PING', [], 'background').catch(() => {})
  await until(() => isDone(app.cache.counts), { what: 'everything is stored', everyMs: 1 })
}
