import fastifyRedis from '@fastify/redis'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import redis from '../../plugins/redis.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'

function open (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

t.test('fastify.redis is the connection pool', async (t) => {
  const app = open(t)
  await app.register(redis, { url: (await startRedis(t)).url })
  await reached(app)

  t.equal(app.redis, app.redisPool)
  t.equal(await app.redis.ping(), 'PONG')
})

t.test('the pool uses the address and credentials of an existing @fastify/redis client, and leaves that client unchanged', async (t) => {
  const server = await startRedis(t, { args: ['--requirepass', 'a,b@c'] })
  const app = open(t)
  await app.register(fastifyRedis, { host: server.host, port: server.port, password: 'a,b@c', db: 3 })
  const own = app.redis
  await app.register(redis, {})
  await reached(app)

  await app.redisPool.set('key', 'value')

  t.equal(app.redis, own)
  t.not(app.redisPool, own)
  t.equal(await own.get('key'), 'value')
})

t.test('an explicit url takes precedence over an existing client', async (t) => {
  const [theirs, ours] = [await startRedis(t), await startRedis(t)]
  const app = open(t)
  await app.register(fastifyRedis, { url: theirs.url })
  await app.register(redis, { url: ours.url })
  await reached(app)

  await app.redisPool.set('key', 'value')

  t.equal(await ours.client.get('key'), 'value')
  t.equal(await app.redis.get('key'), null)
})

t.test('the pool works beside named @fastify/redis clients', async (t) => {
  const [theirs, ours] = [await startRedis(t), await startRedis(t)]
  const app = open(t)
  await app.register(fastifyRedis, { url: theirs.url, namespace: 'jobs' })
  await app.register(redis, { url: ours.url })
  await reached(app)

  await app.redisPool.set('key', 'value')

  t.equal(await ours.client.get('key'), 'value')
  t.equal(await app.redis.jobs?.get('key'), null)
})

t.test('a second pool in one scope is rejected', async (t) => {
  const { url } = await startRedis(t)
  const app = open(t)
  await app.register(redis, { url })

  await t.rejects(async () => { await app.register(redis, { url }) }, { code: 'PRISM_ERR_SCOPE', message: /has a Redis pool already/ })
})
