import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import rateLimit from '../../plugins/rate-limit.ts'
import { cachingApp } from '../support/caching.ts'
import { watchReleases } from '../support/lock-releases.ts'
import { startRedis } from '../support/redis.ts'
import type { TestRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** An app whose routes reject requests in different ways, and the lock releases that its Redis publishes. */
interface Scene {
  app: FastifyInstance
  redis: TestRedis
  releases: string[]
  runs: number
}

const isAccepted = ({ headers }: FastifyRequest) => headers['x-who'] === 'accepted'
const accepted = { 'x-who': 'accepted' }
const query = { type: 'object', properties: { n: { type: 'integer' } } }

type Hooks = Record<string, (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>>

/** Hooks of one route each, by the way in which they reject a request. */
const refusals: Record<string, { hooks?: Hooks, schema?: object, url?: string, rateLimit?: object, handler?: never }> = {
  'a guard that sends': { hooks: { onRequest: async (request, reply) => isAccepted(request) ? undefined : await reply.code(403).send('no') } },
  'a guard that throws': { hooks: { preHandler: async (request) => { if (!isAccepted(request)) throw Object.assign(new Error('no'), { statusCode: 403 }) } } },
  'a guard that hijacks the reply': { hooks: { preValidation: async (request, reply) => { if (!isAccepted(request)) reply.hijack().raw.end('no') } } },
  'a slow guard': { hooks: { preHandler: async (request, reply) => { if (!isAccepted(request)) { await new Promise((resolve) => setTimeout(resolve, 300)); await reply.code(403).send('no') } } } },
  'a hook that bypasses the cache': { hooks: { preHandler: async (request, reply) => { if (!isAccepted(request)) reply.cache.bypass('test') } } },
  'a hook that rewrites the URL': { hooks: { preValidation: async (request) => { if (!isAccepted(request)) request.raw.url = '/else' } } },
  validation: { schema: { querystring: query }, url: '?n=none' },
  'a quota': { rateLimit: { quota: 1, window: '1m' } }
}

async function start (t: Test, { hooks = {}, schema, rateLimit: quota }: typeof refusals[string]): Promise<Scene> {
  const redis = await startRedis(t)
  const app = await cachingApp(t, { url: redis.url })
  await app.register(rateLimit, { quota: 1000, window: '1m' })
  const scene: Scene = { app, redis, releases: [], runs: 0 }
  const limit = quota === undefined ? {} : { rateLimit: quota }
  app.get('/:id', { ...hooks, ...(schema && { schema }), config: { cache: { tags: ['a'] }, ...limit } }, async () => ({ run: ++scene.runs }))
  app.get('/known', { config: { cache: true } }, async () => 'known')
  // The sequence and the server epoch exist.
  await until(async () => /hit/.test(String((await app.inject('/known')).headers['cache-status'])), { what: 'the cache hits' })
  scene.releases = await watchReleases(t, redis.client)
  return scene
}

for (const [name, refusal] of Object.entries(refusals)) {
  t.test(`cache releases a prefetched lock if the request is rejected by ${name}`, async (t) => {
    const scene = await start(t, refusal)
    const { app, redis } = scene
    if (refusal.rateLimit !== undefined) await app.inject({ url: '/first', headers: accepted })
    await until(() => refusal.rateLimit === undefined || scene.releases.length > 0, { what: 'the earlier response is stored' })
    scene.releases.length = 0

    const refused = app.inject(`/x${refusal.url ?? ''}`)
    await until(() => scene.releases.length > 0, { what: 'the lock is released' })
    await refused

    t.equal(scene.releases.length, 1)
    t.same(await redis.client.keys('api:cache:lock:*'), [])
  })
}

t.test('cache lets a waiting process fill if the request with the prefetched lock is rejected', async (t) => {
  const gate = Promise.withResolvers<void>()
  const scene = await start(t, {
    hooks: {
      preHandler: async (_request, reply) => {
        await gate.promise
        await reply.code(403).send('no')
      }
    }
  })
  const other = await cachingApp(t, { url: scene.redis.url })
  other.get('/:id', { config: { cache: { tags: ['a'] } } }, async () => ({ by: 'another process' }))

  const refused = scene.app.inject('/1')
  await until(async () => scene.releases.length > 0 || (await scene.redis.client.keys('api:cache:lock:*')).length > 0, { what: 'a lock was requested' })
  const response = await other.inject('/1')
  gate.resolve()

  t.same(response.json(), { by: 'another process' })
  t.equal((await refused).statusCode, 403)
})

t.test('cache fills with the first request that reaches its handler, using the lock that another request prefetched', async (t) => {
  const held = Promise.withResolvers<void>()
  const scene = await start(t, { hooks: { preHandler: async (request) => { if (!isAccepted(request)) await held.promise } } })
  const { app } = scene

  const slow = app.inject('/1')
  const quick = await app.inject({ url: '/1', headers: accepted })
  held.resolve()

  t.match(quick.headers['cache-status'], /fwd=miss; stored/)
  t.match((await slow).headers['cache-status'], /hit|collapsed|stored/)
  t.same(quick.json(), { run: 1 })
})

t.test('cache releases the lock of a client that has disconnected, and delays no other request', async (t) => {
  const scene = await start(t, { hooks: { preHandler: async (request) => { if (!isAccepted(request)) await new Promise(() => {}) } } })
  await scene.app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = scene.app.server.address() as AddressInfo

  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.end('GET /gone HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => scene.releases.length > 0, { what: 'the lock is released' })
  socket.destroy()

  t.equal(scene.releases.length, 1)
  t.match((await scene.app.inject({ url: '/gone', headers: accepted })).headers['cache-status'], /stored/)
})

t.test('cache prefetches no locks while requests of a route are rejected one after the other', async (t) => {
  const scene = await start(t, refusals['a guard that sends'] ?? {})
  const begunAt = performance.now()

  for (let count = 0; count < 300; count++) t.equal((await scene.app.inject(`/${count}`)).statusCode, 403)
  const seconds = (performance.now() - begunAt) / 1000
  await scene.app.redisPool.batch.command('PING', [])

  t.ok(scene.releases.length <= 1 + seconds, `${scene.releases.length} locks in ${seconds} s`)
})
