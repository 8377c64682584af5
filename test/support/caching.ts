import fastify from 'fastify'
import type { FastifyInstance, FastifyHttpOptions, RawServerDefault } from 'fastify'
import cache from '../../plugins/cache.ts'
import type { CacheOptions } from '../../plugins/cache.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import type { Owner } from './cleanup-scope.ts'
import { commandTimeout as patientTimeout } from './deadline.ts'
import { injectOverHttp2 } from './http2-inject.ts'
import { reached } from './wait-for-redis.ts'
import { startRedisProcess } from './redis-process.ts'
import { until } from './until.ts'

/** Options of {@link cachingApp}. */
export interface CachingOptions extends CacheOptions {
  /** Redis URL; by default the app starts its own server */
  url?: string
  server?: FastifyHttpOptions<RawServerDefault>
  /** deadline of Redis's replies in ms; default: 5,000 */
  commandTimeout?: number
  /** registers the session plugin before the cache */
  hasSessions?: boolean
}

/** Set by a test file that runs the tests of others over HTTP/2. */
export const isOverHttp2 = process.env.PRISM_TEST_HTTP2 === 'true'

/** An app with only the Redis and cache plugins. It is closed with its owner. With `PRISM_TEST_HTTP2`, `inject` sends real requests over HTTP/2. */
export async function cachingApp (owner: Owner, { url, server = {}, hasSessions = false, commandTimeout = patientTimeout, ...options }: CachingOptions = {}): Promise<FastifyInstance> {
  const redisUrl = url ?? (await startRedisProcess(owner)).url
  const app: FastifyInstance = fastify(isOverHttp2 ? { ...server, http2: true } as unknown as typeof server : server)
  if (isOverHttp2) injectOverHttp2(owner, app)
  owner.after(() => app.close())
  await app.register(redis, { url: redisUrl, commandTimeout })
  await app.register(requestLifecycle)
  if (hasSessions) await app.register(session, { secrets: ['a secret of the tests, 32 or more'] })
  await app.register(cache, options)
  await reached(app)
  return app
}

/** Whether a request is a hit. */
export async function isHit (app: FastifyInstance, url = '/a'): Promise<boolean> {
  return String((await app.inject(url)).headers['cache-status']).includes('; hit')
}

/** Waits until all pending writes have reached Redis: a write is sent one event-loop turn after the response, or when compression has finished. */
export async function stored (app: FastifyInstance): Promise<void> {
  const isDone = ({ write, write_ok: ok, write_failed: failed }: FastifyInstance['cache']['counts']) => write === ok + failed
  // Writes of `wrap` are not counted: a background PING is sent after them.
  await app.redisPool.batch.command('PING', [], 'background').catch(() => {})
  await until(() => isDone(app.cache.counts), { what: 'all writes have completed', everyMs: 1 })
}
