import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import rateLimit from '../../plugins/rate-limit.ts'
import { cachingApp } from '../support/caching.ts'
import { watchGiveBacks } from '../support/lock-releases.ts'
import { startRedis } from '../support/redis.ts'
import type { TestRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** An app whose routes refuse strangers, each in its own way; and all that its Redis publishes of fills. */
interface Door {
  app: FastifyInstance
  redis: TestRedis
  givenBack: string[]
  runs: number
}

const isFriend = ({ headers }: FastifyRequest) => headers['x-who'] === 'friend'
const friend = { 'x-who': 'friend' }
const query = { type: 'object', properties: { n: { type: 'integer' } } }

type Hooks = Record<string, (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>>

/** Hooks of one route, by what they do to strangers. */
const refusals: Record<string, { hooks?: Hooks, schema?: object, url?: string, rateLimit?: object, handler?: never }> = {
  'a guard that sends': { hooks: { onRequest: async (request, reply) => isFriend(request) ? undefined : await reply.code(403).send('no') } },
  'a guard that throws': { hooks: { preHandler: async (request) => { if (!isFriend(request)) throw Object.assign(new Error('no'), { statusCode: 403 }) } } },
  'a guard that hijacks the reply': { hooks: { preValidation: async (request, reply) => { if (!isFriend(request)) reply.hijack().raw.end('no') } } },
  'a guard that takes its time': { hooks: { preHandler: async (request, reply) => { if (!isFriend(request)) { await new Promise((resolve) => setTimeout(resolve, 300)); await reply.code(403).send('no') } } } },
  'a hook that bypasses the cache': { hooks: { preHandler: async (request, reply) => { if (!isFriend(request)) reply.cache.bypass('test') } } },
  'a hook that rewrites the URL': { hooks: { preValidation: async (request) => { if (!isFriend(request)) request.raw.url = '/else' } } },
  validation: { schema: { querystring: query }, url: '?n=none' },
  'a quota': { rateLimit: { quota: 1, window: '1m' } }
}

async function start (t: Test, { hooks = {}, schema, rateLimit: quota }: typeof refusals[string]): Promise<Door> {
  const redis = await startRedis(t)
  const app = await cachingApp(t, { url: redis.url })
  await app.register(rateLimit, { quota: 1000, window: '1m' })
  const door: Door = { app, redis, givenBack: [], runs: 0 }
  const limit = quota === undefined ? {} : { rateLimit: quota }
  app.get('/:id', { ...hooks, ...(schema && { schema }), config: { cache: { tags: ['a'] }, ...limit } }, async () => ({ run: ++door.runs }))
  app.get('/known', { config: { cache: true } }, async () => 'known')
  // Sequence and global marker stand.
  await until(async () => /hit/.test(String((await app.inject('/known')).headers['cache-status'])), { what: 'the cache hits' })
  door.givenBack = await watchGiveBacks(t, redis.client)
  return door
}

for (const [name, refusal] of Object.entries(refusals)) {
  t.test(`cache gives a lock back that it had asked for ahead, when a request comes to nothing by ${name}`, async (t) => {
    const door = await start(t, refusal)
    const { app, redis } = door
    if (refusal.rateLimit !== undefined) await app.inject({ url: '/first', headers: friend })
    await until(() => refusal.rateLimit === undefined || door.givenBack.length > 0, { what: 'what came before is stored' })
    door.givenBack.length = 0

    const refused = app.inject(`/x${refusal.url ?? ''}`)
    await until(() => door.givenBack.length > 0, { what: 'it is given back' })
    await refused

    t.equal(door.givenBack.length, 1)
    t.same(await redis.client.keys('api:cache:lock:*'), [])
  })
}

t.test('cache lets another process fill that waits for a request which is refused', async (t) => {
  const gate = Promise.withResolvers<void>()
  const door = await start(t, {
    hooks: {
      preHandler: async (_request, reply) => {
        await gate.promise
        await reply.code(403).send('no')
      }
    }
  })
  const other = await cachingApp(t, { url: door.redis.url })
  other.get('/:id', { config: { cache: { tags: ['a'] } } }, async () => ({ by: 'the other' }))

  const refused = door.app.inject('/1')
  await until(async () => door.givenBack.length > 0 || (await door.redis.client.keys('api:cache:lock:*')).length > 0, { what: 'a lock was asked for' })
  const answer = await other.inject('/1')
  gate.resolve()

  t.same(answer.json(), { by: 'the other' })
  t.equal((await refused).statusCode, 403)
})

t.test('cache lets who comes to his handler first fill with what another had asked for', async (t) => {
  const held = Promise.withResolvers<void>()
  const door = await start(t, { hooks: { preHandler: async (request) => { if (!isFriend(request)) await held.promise } } })
  const { app } = door

  const slow = app.inject('/1')
  const quick = await app.inject({ url: '/1', headers: friend })
  held.resolve()

  t.match(quick.headers['cache-status'], /fwd=miss; stored/)
  t.match((await slow).headers['cache-status'], /hit|collapsed|stored/)
  t.same(quick.json(), { run: 1 })
})

t.test('cache holds nobody up by a client that has gone', async (t) => {
  const door = await start(t, { hooks: { preHandler: async (request) => { if (!isFriend(request)) await new Promise(() => {}) } } })
  await door.app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = door.app.server.address() as AddressInfo

  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.end('GET /gone HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => door.givenBack.length > 0, { what: 'it is given back' })
  socket.destroy()

  t.equal(door.givenBack.length, 1)
  t.match((await door.app.inject({ url: '/gone', headers: friend })).headers['cache-status'], /stored/)
})

t.test('cache asks for no locks ahead while requests of a route are refused one after the other', async (t) => {
  const door = await start(t, refusals['a guard that sends'] ?? {})
  const begunAt = performance.now()

  for (let count = 0; count < 300; count++) t.equal((await door.app.inject(`/${count}`)).statusCode, 403)
  const seconds = (performance.now() - begunAt) / 1000
  await door.app.redisPool.batch.command('PING', [])

  t.ok(door.givenBack.length <= 1 + seconds, `${door.givenBack.length} locks in ${seconds} s`)
})
