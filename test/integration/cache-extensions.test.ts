import type { InjectOptions } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { isKept, keeps, originOf } from '../support/caching-origin.ts'
import { until } from '../support/until.ts'

t.test('RFC 9213: cache heeds directives that are meant for it before all others', (t) => keeps(t, {
  'a lifetime of its own': [true, { 'cdn-cache-control': 'max-age=60', 'cache-control': 'no-store' }],
  'a prohibition of its own': [false, { 'cdn-cache-control': 'no-store', 'cache-control': 'max-age=60' }],
  'nothing that can be read': [true, { 'cdn-cache-control': 'max-age=&', 'cache-control': 'max-age=60' }],
  'nothing at all': [true, { 'cdn-cache-control': '', 'cache-control': 'max-age=60' }]
}))

t.test('RFC 5861: cache lets a stale answer stand in for an error, as long as it may', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=30, stale-if-error=100', age: '60' }
  await origin.get()
  Object.assign(origin, { status: 503, fields: { 'retry-after': '5' } })

  const reply = await origin.get()
  t.equal(reply.statusCode, 200)
  t.equal(reply.body, 'run 1')
  t.match(reply.headers, { 'cache-status': /^prism; fwd=stale; fwd-status=503; ttl=-3\d$/, 'retry-after': undefined })

  Object.assign(origin, { status: 200, fields: { 'cache-control': 'max-age=30, stale-if-error=10', age: '60', etag: '"a"' } })
  await origin.get()
  origin.status = 503
  t.equal((await origin.get()).statusCode, 503)
})

t.test('RFC 5861: cache serves stale to all while the answer is made anew', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  const gate = Promise.withResolvers<void>()
  app.get('/', { config: { cache: { ttl: 'response' } } }, async (_request, reply) => {
    if (++runs > 1) await gate.promise
    return reply.headers({ 'cache-control': 'max-age=30, stale-while-revalidate=100', age: '60' }).send(`run ${runs}`)
  })
  await app.inject('/')
  await stored(app)

  const replies = await Promise.all(Array.from({ length: 6 }, () => app.inject('/')))
  gate.resolve()

  for (const reply of replies) t.match([reply.body, reply.headers['cache-status']], ['run 1', /^prism; hit; ttl=-3\d$/])
  await until(async () => (await app.inject('/')).body === 'run 2', { what: 'it was made anew' })
})

t.test('RFC 9875: cache groups are tags, and an unsafe answer drops those that it names', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', 'cache-groups': '"a", "b"' }
  t.equal(await isKept(origin), true)

  origin.fields = { 'cache-group-invalidation': '"b"' }
  await origin.get({ method: 'POST', url: '/other' })
  origin.fields = { 'cache-control': 'max-age=60', 'cache-groups': '"a", "b"' }
  t.match((await origin.get()).headers['cache-status'], /fwd=miss/)
  await origin.app.cache.purge('a')
  t.match((await origin.get()).headers['cache-status'], /fwd=miss/)
})

t.test('RFC 9211: cache tells what it did on every answer of a cached route, after what others told', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', 'cache-status': 'inner; hit' }
  const statusOf = async (options: InjectOptions) => (await origin.get(options)).headers['cache-status']

  t.equal(await statusOf({}), 'inner; hit, prism; fwd=miss; stored')
  t.match(await statusOf({}), /^inner; hit, prism; hit; ttl=(5\d|60)$/)
  t.equal(await statusOf({ method: 'POST' }), 'inner; hit, prism; fwd=method')
})
