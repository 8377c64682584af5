import type { FastifyInstance, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'

/** An app whose route answers with these fields, and tells which run answered what. */
interface Origin {
  app: FastifyInstance
  fields: Record<string, string>
  get: (url: string, headers?: InjectOptions['headers']) => Promise<{ body: string, status: string, writes: number }>
}

async function originOf (t: Test, url?: string): Promise<Origin> {
  const app = await cachingApp(t, url === undefined ? {} : { url })
  let runs = 0
  const origin: Origin = {
    app,
    fields: {},
    get: async (url, headers = {}) => {
      const before = app.redisPool.batch.counts.writes
      const { body, headers: { 'cache-status': status } } = await app.inject({ url, headers })
      const writes = app.redisPool.batch.counts.writes - before
      await stored(app)
      return { body, status: String(status), writes }
    }
  }
  app.all('/*', { config: { cache: { ttl: 'response' } } }, async (request, reply) => reply.headers({ 'cache-control': 'max-age=60', ...origin.fields }).send(`run ${++runs} ${request.url} ${String(request.headers['x-a'])}`))
  return origin
}

t.test('RFC 9111 section 4.1: cache asks for a variant in one round trip, once it knows by what the answers of a URL vary', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await originOf(t, url), await originOf(t, url)]
  one.fields = { vary: 'x-a' }
  for (const value of ['1', '2']) await one.get('/a', { 'x-a': value })

  t.match(await one.get('/a', { 'x-a': '1' }), { body: 'run 1 /a 1', status: /hit/, writes: 1 })
  t.match(await one.get('/a', { 'x-a': '2' }), { body: 'run 2 /a 2', status: /hit/, writes: 1 })
  t.match(await other.get('/a', { 'x-a': '1' }), { body: 'run 1 /a 1', status: /hit/, writes: 2 }, 'another process hears of it once')
  t.match(await other.get('/a', { 'x-a': '2' }), { body: 'run 2 /a 2', status: /hit/, writes: 1 })
})

t.test('RFC 9111 section 4.1: cache serves no variant by fields that its URL does not vary by any more', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await originOf(t, url), await originOf(t, url)]
  one.fields = { vary: 'x-a' }
  other.fields = { vary: 'x-b' }
  await one.get('/a', { 'x-a': '1' })
  await other.get('/a', { 'x-a': '2', 'x-b': '1' })

  t.match(await one.get('/a', { 'x-a': '1', 'x-b': '1' }), { body: 'run 1 /a 2', status: /hit/ }, 'by what the last answer named')
  t.match(await one.get('/a', { 'x-a': '1', 'x-b': '2' }), { status: /fwd=vary-miss/ })
  other.fields = {}
  await one.app.redis.flushall()
  await other.get('/a', { 'x-a': '3' })
  t.match(await one.get('/a', { 'x-a': '1', 'x-b': '1' }), { body: 'run 2 /a 3', status: /hit/ }, 'by nothing')
  t.match(await one.get('/a', { 'x-a': '4' }), { body: 'run 2 /a 3', status: /hit/, writes: 1 })
})

t.test('No-Vary-Search: cache gives one answer to all queries that it stands for, in one round trip', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'no-vary-search': 'key-order, params=("utm")' }

  t.match(await origin.get('/a?x=1&utm=1'), { body: 'run 1 /a?x=1&utm=1 undefined', status: /miss; stored/ })
  t.match(await origin.get('/a?utm=2&x=%31'), { body: 'run 1 /a?x=1&utm=1 undefined', status: /hit/, writes: 1 })
  t.match(await origin.get('/a?x=1&y=2'), { body: 'run 2 /a?x=1&y=2 undefined', status: /miss; stored/ })
  t.match(await origin.get('/a?y=2&x=1'), { body: 'run 2 /a?x=1&y=2 undefined', status: /hit/, writes: 1 })
  t.match(await origin.get('/a'), { body: 'run 3 /a undefined', status: /miss; stored/ })
  t.match(await origin.get('/a?utm=3'), { body: 'run 3 /a undefined', status: /hit/ })
  t.match(await origin.get('/b?utm=3'), { body: 'run 4 /b?utm=3 undefined', status: /miss/ }, 'another path')
})

t.test('No-Vary-Search: cache goes back to whole queries when an answer does not bear it any more', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'no-vary-search': 'params' }
  await origin.get('/a?x=1')
  t.match(await origin.get('/a?x=2'), { status: /hit/ })
  await origin.app.redis.flushall()
  origin.fields = {}

  const [one, other] = await Promise.all([origin.get('/a?x=1'), origin.get('/a?x=2')])

  t.match([one.body, other.body], [/\/a\?x=1/, /\/a\?x=2/], 'neither is given the other\'s, though they were one before')
  t.match(await origin.get('/a?x=1'), { body: one.body })
  t.match(await origin.get('/a?x=2'), { body: other.body })
})

t.test('No-Vary-Search: cache drops what stands for several queries with an unsafe request to any of them', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await originOf(t, url), await originOf(t, url)]
  one.fields = other.fields = { 'no-vary-search': 'params=("utm")' }
  await one.get('/a?x=1&utm=1')
  t.match(await one.get('/a?x=1&utm=2'), { status: /hit/, writes: 1 })

  await other.app.inject({ method: 'POST', url: '/a?utm=9' })

  t.match(await one.get('/a?x=1&utm=2'), { status: /miss/ })
})

t.test('No-Vary-Search: cache does not take an answer at its word where the route decides what its handler may read', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: { ttl: '5m' } } }, async (request, reply) => reply.header('no-vary-search', 'params').send(request.url))

  for (const url of ['/?x=evil', '/?x=1']) {
    t.equal((await app.inject(url)).body, url)
    await stored(app)
  }
})
