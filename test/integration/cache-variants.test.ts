import type { FastifyInstance, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'

/** An app whose route sends these fields, with the number of the handler run. */
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

t.test('RFC 9111 section 4.1: cache finds a variant in one round trip once it knows the Vary field of a URL', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await originOf(t, url), await originOf(t, url)]
  one.fields = { vary: 'x-a' }
  for (const value of ['1', '2']) await one.get('/a', { 'x-a': value })

  t.match(await one.get('/a', { 'x-a': '1' }), { body: 'run 1 /a 1', status: /hit/, writes: 1 })
  t.match(await one.get('/a', { 'x-a': '2' }), { body: 'run 2 /a 2', status: /hit/, writes: 1 })
  t.match(await other.get('/a', { 'x-a': '1' }), { body: 'run 1 /a 1', status: /hit/, writes: 2 }, 'another process learns the fields with one extra write')
  t.match(await other.get('/a', { 'x-a': '2' }), { body: 'run 2 /a 2', status: /hit/, writes: 1 })
})

t.test('RFC 9111 section 4.1: cache serves no variant by fields that the Vary field of its URL no longer names', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await originOf(t, url), await originOf(t, url)]
  one.fields = { vary: 'x-a' }
  other.fields = { vary: 'x-b' }
  await one.get('/a', { 'x-a': '1' })
  await other.get('/a', { 'x-a': '2', 'x-b': '1' })

  t.match(await one.get('/a', { 'x-a': '1', 'x-b': '1' }), { body: 'run 1 /a 2', status: /hit/ }, 'by the fields of the last response')
  t.match(await one.get('/a', { 'x-a': '1', 'x-b': '2' }), { status: /fwd=vary-miss/ })
  other.fields = {}
  await one.app.redis.flushall()
  await other.get('/a', { 'x-a': '3' })
  t.match(await one.get('/a', { 'x-a': '1', 'x-b': '1' }), { body: 'run 2 /a 3', status: /hit/ }, 'by no field')
  t.match(await one.get('/a', { 'x-a': '4' }), { body: 'run 2 /a 3', status: /hit/, writes: 1 })
})
