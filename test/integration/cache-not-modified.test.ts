import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { CacheChoice } from '../../plugins/cache.ts'
import { cachingApp, stored } from '../support/caching.ts'
import type { Owner } from '../support/cleanup-scope.ts'

const text = 'lorem ipsum '.repeat(200)
type Route = Exclude<CacheChoice, boolean>

/** An app with a route whose handler has an ETag, responds with 304 to it, and counts its runs; `/stale` makes its response stale. */
async function validatedApp (owner: Owner, route: Route, fields: Record<string, string> = {}, of304: Record<string, string> = {}) {
  const app = await cachingApp(owner)
  let runs = 0
  app.get('/page', { config: { cache: { ...route, tags: ['page'], staleIfError: '1m' } } }, async (request, reply) => {
    runs += 1
    const isSame = request.headers['if-none-match'] === '"v1"'
    return reply.headers({ etag: '"v1"', 'content-type': 'text/plain', ...isSame ? of304 : fields }).code(isSame ? 304 : 200).send(isSame ? undefined : text)
  })
  const get = async (headers: Record<string, string> = {}) => {
    const response = await app.inject({ url: '/page', headers })
    await stored(app)
    return { status: response.statusCode, cache: String(response.headers['cache-status']), body: response.body, headers: response.headers }
  }
  const makeStale = () => app.cache.purge('page', { soft: true })
  return { app, get, makeStale, get runs () { return runs } } as { app: FastifyInstance, get: typeof get, makeStale: typeof makeStale, readonly runs: number }
}

const freshened: Record<string, [Route, Record<string, string>?]> = {
  'a ttl alone': [{ ttl: '5m' }],
  'a ttl and stored headers of the handler': [{ ttl: '5m' }, { 'cache-control': 'max-age=200, public', vary: 'accept-language' }],
  'a ttl and vary': [{ ttl: '5m', vary: ['accept-language', 'accept-encoding'] }],
  'a ttl and a partition': [{ ttl: '5m', partition: () => 'everyone' }],
  'a ttl, a partition and a lifetime of the handler': [{ ttl: '5m', partition: () => 'everyone' }, { 'cache-control': 'max-age=200' }],
  'a ttl and browserMaxAge': [{ ttl: '5m', browserMaxAge: '1m' }],
  'a lifetime of the response': [{ ttl: 'response' }, { 'cache-control': 'max-age=200' }]
}

for (const [name, [route, fields = {}]] of Object.entries(freshened)) {
  t.test(`RFC 9111 section 4.3.4: a 304 from the handler makes a response fresh again on a route with ${name}`, async (t) => {
    const world = await validatedApp(t, { ...route, ...fields.vary === undefined ? {} : { vary: ['accept-language'] } }, fields)
    await world.get()
    await world.makeStale()

    t.match(await world.get(), { status: 200, cache: /fwd=stale; fwd-status=304; stored/ })
    for (let count = 0; count < 3; count++) {
      const hit = await world.get()
      t.match(hit, { status: 200, cache: /hit; ttl=\d/ })
      t.equal(hit.body, text)
    }
    t.equal(world.runs, 2)
  })
}

t.test('RFC 9111 section 4.3.4: what the 304 itself says about its lifetime counts', async (t) => {
  for (const [name, of304, isStored] of [['no-cache', { 'cache-control': 'no-cache' }, false], ['no-store', { 'cache-control': 'no-store' }, false], ['a shorter lifetime', { 'cache-control': 'max-age=100' }, true]] as const) {
    const world = await validatedApp(t, { ttl: '5m' }, {}, of304)
    await world.get()
    await world.makeStale()
    await world.get()
    const next = await world.get()
    if (isStored) t.match(next.cache, /hit; ttl=\d\d$/, name)
    else t.notMatch(next.cache, /hit/, name)
  }
  const world = await validatedApp(t, { ttl: 'response' }, { 'cache-control': 'max-age=200' }, { age: '150' })
  await world.get()
  await world.makeStale()
  await world.get()
  t.match((await world.get()).cache, /hit; ttl=[34]\d$/, 'and its Age')
})

t.test('a compressed response stays compressed after a 304', async (t) => {
  const world = await validatedApp(t, { ttl: '5m' })
  await world.get()
  await world.makeStale()
  await world.get()
  const { headers } = await world.get({ 'accept-encoding': 'br' })
  t.match(headers, { 'content-encoding': 'br', vary: /accept-encoding/ })
})
