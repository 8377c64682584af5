import fastify from 'fastify'
import t, { type Test } from 'tap'
import prism from '../../../plugins/index.ts'
import { EntryFinder } from '../../../service/dashboard/entry-finder.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { testSecret } from '../../support/app.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const place = { protocol: 'http', host: 'service.example' }

/** An app with routes of each kind, and the finder of its stored responses. */
async function start (t: Test) {
  const redis = await startRedis(t)
  const app = fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: { secrets: [testSecret] }, rateLimit: false })
  const entries = new EntryFinder(app.cache)
  app.addHook('onRoute', (route) => { if (route.method === 'GET') entries.add(route.url) })
  app.get('/cities/:id', { config: { cache: { ttl: '5m', tags: ['cities', 'city:one'] } } }, (_request, reply) => reply.headers({ 'x-api-key': 'hidden', 'content-language': 'fr' }).send({ text: 'x'.repeat(50) }))
  app.get('/mine', { config: { cache: { ttl: '5m', partition: 'user' } } }, () => ({}))
  app.get('/plain', () => ({}))
  await app.ready()
  await reached(app)
  const send = async (url: string) => await until(async () => /hit/.test(String((await app.inject(url)).headers['cache-status'])), { what: 'a hit' })
  return { app, redis, send, find: async (url: string) => await entries.find(url, place) }
}

t.test('a stored response is described by age, size, tags and fields, without fields that contain secrets', async (t) => {
  const { send, find } = await start(t)
  await send('/cities/one?b=2&a=1')

  const view = await find('/cities/one?a=1&b=2')

  t.match(view, { found: 'fresh', route: '/cities/:id', status: 200, tags: ['cities', 'city:one'], bodyBytes: 61, coding: 'identity' })
  if (!('fields' in view)) return t.fail('it is stored')
  t.ok(view.ageSeconds >= 0 && view.freshSeconds > 200 && view.freshSeconds <= 300)
  t.same(Object.fromEntries(view.fields)['content-language'], 'fr')
  t.same(Object.fromEntries(view.fields)['x-api-key'], '[not shown]')
  t.notMatch(JSON.stringify(view), /hidden|xxx/)
})

t.test('a missing entry is explained', async (t) => {
  const { app, redis, send, find } = await start(t)

  t.same(await find('/cities/two'), { found: 'nothing', route: '/cities/:id' })
  t.same(await find('/mine'), { found: 'apart', route: '/mine' })
  t.same(await find('/plain'), { found: 'uncached', route: null })
  t.same(await find('http://'), { found: 'uncached', route: null })
  await send('/cities/two')
  t.match(await find('https://service.example/cities/two'), { found: 'fresh' })
  await app.cache.purge('cities')
  t.same(await find('/cities/two'), { found: 'nothing', route: '/cities/:id' })
  await redis.kill()
  await until(async () => (await find('/cities/two')).found === 'unavailable', { what: 'the outage is detected' })
})
