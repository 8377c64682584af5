import fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import drain from '../../service/plugins/drain.ts'
import health from '../../service/plugins/health.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

/** An app with Redis and the health plugin only. */
async function healthy (t: Test, url: string): Promise<FastifyInstance> {
  const app = fastify()
  t.after(() => app.close())
  await app.register(redis, { url, commandTimeout })
  await app.register(drain)
  await app.register(health)
  await reached(app)
  return app
}

t.test('readiness is ready while Redis responds', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = await healthy(t, url)

  const reply = await app.inject('/healthz/ready')

  t.equal(reply.statusCode, 200)
  t.same(reply.json(), { status: 'ready', redis: 'ready' })
  t.equal(reply.headers['cache-control'], 'no-store')
})

t.test('readiness is degraded with 200 during an outage, and ready after it', async (t) => {
  const server = await startRedisProcess(t)
  const app = await healthy(t, server.url)
  const status = async () => (await app.inject('/healthz/ready')).json().status

  await server.kill()
  await until(async () => await status() === 'degraded', { what: 'degraded' })

  t.equal((await app.inject('/healthz/ready')).statusCode, 200)
  t.equal((await app.inject('/healthz/live')).statusCode, 200)

  await server.start()
  await until(async () => await status() === 'ready', { what: 'ready again' })
})

t.test('readiness is 503 and closes connections while the process drains, and liveness is 200', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = await healthy(t, url)
  await app.ready()

  app.drain()
  const ready = await app.inject('/healthz/ready')
  const live = await app.inject('/healthz/live')

  t.equal(ready.statusCode, 503)
  t.match(ready.json(), { status: 'draining' })
  t.equal(ready.headers.connection, 'close')
  t.equal(live.statusCode, 200)
  t.same(live.json(), { status: 'live' })
})
