import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import cachePlugin from '../../plugins/cache.ts'
import type { CacheChoice } from '../../plugins/cache.ts'
import redis from '../../plugins/redis.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import { stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { reached } from '../support/wait-for-redis.ts'

type Route = Exclude<CacheChoice, boolean>

/** An app whose hook sets headers, as that of @fastify/helmet does, and whose handler removes some of them. */
async function embeddingApp (t: Test, cache: Route, { isHooked = false } = {}) {
  const app: FastifyInstance = fastify()
  t.after(() => app.close())
  app.addHook('onRequest', async (_request, reply) => { reply.headers({ 'x-frame-options': 'SAMEORIGIN', 'x-powered-by': 'hook', 'referrer-policy': 'no-referrer', vary: 'origin', 'set-cookie': 'of=client' }) })
  app.addHook('onRequest', async (_request, { raw }) => { raw.setHeader('x-raw', 'hook') })
  await app.register(redis, { url: (await startRedisProcess(t)).url })
  await app.register(requestLifecycle)
  await app.register(cachePlugin)
  await reached(app)
  if (isHooked) app.addHook('onSend', async (_request, _reply, payload) => payload)
  let status = 200
  app.get('/', { config: { cache: { ...cache, tags: ['embed'], staleIfError: '1h' } } }, async (_request, reply) => {
    for (const name of ['x-frame-options', 'x-powered-by', 'vary', 'set-cookie']) reply.removeHeader(name)
    reply.raw.removeHeader('x-raw')
    return reply.headers({ 'cache-control': 'max-age=60', etag: '"v1"' }).code(status).send(status === 304 ? undefined : 'page')
  })
  const get = async () => {
    const response = await app.inject('/')
    await stored(app)
    return response
  }
  return { app, get, respondWith: (next: number) => { status = next } }
}

const removed = { 'x-frame-options': undefined, 'x-powered-by': undefined, 'x-raw': undefined, 'referrer-policy': 'no-referrer' }

for (const isHooked of [false, true]) {
  for (const cache of [{ ttl: '5m' }, { ttl: 'response' }] as Route[]) {
    t.test(`a header of a hook that the handler has removed is on no hit, with ttl ${String(cache.ttl)}${isHooked ? ' and an onSend hook after the cache' : ''}`, async (t) => {
      const { app, get, respondWith } = await embeddingApp(t, cache, { isHooked })
      t.match(await get(), { headers: { ...removed, 'cache-status': /stored/ } })
      const hit = await get()
      t.match(hit, { body: 'page', headers: { ...removed, 'cache-status': /hit/ } })
      t.equal(hit.headers.vary, 'origin', 'caches on the way need it')
      t.equal(hit.headers['set-cookie'], 'of=client', 'it belongs to this request')

      for (const status of [304, 500]) {
        await app.cache.purge('embed', { soft: true })
        respondWith(status)
        t.match(await get(), { statusCode: 200, body: 'page', headers: removed }, `after ${status}`)
      }
    })
  }
}
