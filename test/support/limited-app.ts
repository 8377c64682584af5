import Fastify from 'fastify'
import type { FastifyHttpOptions, FastifyInstance, RawServerDefault } from 'fastify'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import rateLimit from '../../plugins/rate-limit.ts'
import type { RateLimitOptions } from '../../plugins/rate-limit.ts'
import redis from '../../plugins/redis.ts'
import type { Owner } from './cleanup-scope.ts'
import { commandTimeout as patientTimeout } from './deadline.ts'
import { reached } from './wait-for-redis.ts'
import { startRedisProcess } from './redis-process.ts'
import type { Test } from 'tap'

/** Options of a limited app. */
export interface LimitedAppOptions {
  /** default: the app's own Redis */
  url?: string
  server?: FastifyHttpOptions<RawServerDefault>
  limit: RateLimitOptions
  /** deadline of Redis's replies in ms; default: 5,000 */
  commandTimeout?: number
  routes?: (app: FastifyInstance) => void
}

/** An app with the limiter, without the service's own plugins; closed with the test. */
export async function buildLimitedApp (t: Test & Owner, { url, server, limit, commandTimeout = patientTimeout, routes = one }: LimitedAppOptions): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.after(() => app.close())
  await app.register(redis, { url: url ?? (await startRedisProcess(t)).url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(rateLimit, limit)
  routes(app)
  await app.ready()
  await reached(app)
  return app
}

function one (app: FastifyInstance): void {
  app.get('/', async () => ({ fine: true }))
}
