import type { InjectOptions } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { isStored, expectStored, originOf } from '../support/caching-origin.ts'
import { until } from '../support/until.ts'

t.test('RFC 9213: cache prefers CDN-Cache-Control to Cache-Control', (t) => expectStored(t, {
  'a lifetime of its own': [true, { 'cdn-cache-control': 'max-age=60', 'cache-control': 'no-store' }],
  'its own no-store': [false, { 'cdn-cache-control': 'no-store', 'cache-control': 'max-age=60' }],
  'an invalid value': [true, { 'cdn-cache-control': 'max-age=&', 'cache-control': 'max-age=60' }],
  'an empty value': [true, { 'cdn-cache-control': '', 'cache-control': 'max-age=60' }]
}))

t.test('RFC 5861: cache serves a stale response instead of an error within stale-if-error', async (t) => {
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

t.test('RFC 5861: cache serves a stale response to all requests during the revalidation', async (t) => {
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
  await until(async () => (await app.inject('/')).body === 'run 2', { what: 'the response is revalidated' })
})

t.test('RFC 9875: cache groups are tags, and a response to an unsafe request purges the groups that it names', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', 'cache-groups': '"a", "b"' }
  t.equal(await isStored(origin), true)

  origin.fields = { 'cache-group-invalidation': '"b"' }
  await origin.get({ method: 'POST', url: '/other' })
  origin.fields = { 'cache-control': 'max-age=60', 'cache-groups': '"a", "b"' }
  t.match((await origin.get()).headers['cache-status'], /fwd=miss/)
  await origin.app.cache.purge('a')
  t.match((await origin.get()).headers['cache-status'], /fwd=miss/)
})

t.test('RFC 9211: cache appends its member to Cache-Status on every response of a cached route', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', 'cache-status': 'inner; hit' }
  const statusOf = async (options: InjectOptions) => (await origin.get(options)).headers['cache-status']

  t.equal(await statusOf({}), 'inner; hit, prism; fwd=miss; stored')
  t.match(await statusOf({}), /^inner; hit, prism; hit; ttl=(5\d|60)$/)
  t.equal(await statusOf({ method: 'POST' }), 'inner; hit, prism; fwd=method')
})
