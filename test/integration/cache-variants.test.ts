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

const headersOf = async (app: FastifyInstance, url: string, headers: Record<string, string> = {}) => {
  const response = await app.inject({ url, headers })
  await stored(app)
  return { body: response.body, vary: String(response.headers.vary ?? ''), control: String(response.headers['cache-control'] ?? ''), status: String(response.headers['cache-status']), code: response.statusCode, etag: String(response.headers.etag) }
}

t.test('RFC 9110 section 12.5.5: responses of versioned routes, and of routes beside them, vary by Accept-Version on misses, hits and 304', async (t) => {
  const { url } = await startRedisProcess(t)
  for (const cache of [{ browserMaxAge: '1h' }, { ttl: '5m' }, { ttl: '5m', vary: ['accept-language'] }, { ttl: 'response' }, { ttl: '5m', trackInputs: false, browserMaxAge: '1h' }] as const) {
    const app = await cachingApp(t, { url })
    await app.redis.flushall()
    for (const version of ['1.0.0', '2.0.0']) app.get('/cities', { constraints: { version }, config: { cache } }, async (_request, reply) => { reply.header('cache-control', 'max-age=60').header('vary', 'Accept-Version'); return version })
    app.get('/cities', { config: { cache } }, async (_request, reply) => { reply.header('cache-control', 'max-age=60'); return 'none' })
    app.get('/:thing', { config: { cache } }, async (_request, reply) => { reply.header('cache-control', 'max-age=60'); return 'thing' })
    const requests: [string, Record<string, string>, string][] = [['/cities', { 'accept-version': '1.x' }, '1.0.0'], ['/cities', { 'accept-version': '2.x' }, '2.0.0'], ['/cities', {}, 'none'], ['/other', {}, 'thing']]
    for (const outcome of [/stored/, /hit/]) {
      for (const [path, headers, body] of requests) {
        const found = await headersOf(app, path, headers)
        t.match(found, { body, vary: /(?:^|, )accept-version(?:$|, )/i, status: outcome }, JSON.stringify(cache))
        t.equal(found.vary.toLowerCase().split(', ').filter((name) => name === 'accept-version').length, 1, found.vary)
      }
    }
    const { etag } = await headersOf(app, '/cities', { 'accept-version': '1.x' })
    if (cache.ttl !== 'response') t.match(await headersOf(app, '/cities', { 'accept-version': '1.x', 'if-none-match': etag }), { code: 304, vary: /accept-version/i })
  }
})

t.test('responses of routes that the app selects by constraints of its own vary by *, unless the route declares fields, and are cached by the key', async (t) => {
  const { url } = await startRedisProcess(t)
  const byField = (name: string, field: string) => ({
    name,
    storage: () => { const handlers = new Map<string, unknown>(); return { get: (key: string) => handlers.get(key) ?? null, set: (key: string, handler: unknown) => { handlers.set(key, handler) } } },
    deriveConstraint: (request: { headers: Record<string, unknown> }) => request.headers[field],
    mustMatchWhenDerived: true
  }) as never
  for (const [constraint, field] of [['tenant', 'x-tenant'], ['version', 'x-version'], ['host', 'x-forwarded-host']] as const) {
    const app = await cachingApp(t, { url })
    await app.redis.flushall()
    app.addConstraintStrategy(byField(constraint, field))
    for (const value of ['a', 'b']) {
      app.get('/page', { constraints: { [constraint]: value }, config: { cache: { browserMaxAge: '1h' } } }, async () => value)
      app.get('/declared', { constraints: { [constraint]: value }, config: { cache: { vary: [field] } } }, async () => value)
    }
    app.get('/page', { config: { cache: { browserMaxAge: '1h' } } }, async () => 'none')
    app.get('/other', { config: { cache: { browserMaxAge: '1h' } } }, async () => 'other')
    for (const status of [/stored/, /hit/]) {
      for (const value of ['a', 'b']) t.match(await headersOf(app, '/page', { [field]: value }), { body: value, vary: /^\*$/, status }, constraint)
      for (const value of ['a', 'b']) t.match(await headersOf(app, '/declared', { [field]: value }), { body: value, vary: new RegExp(`^${field}$`), status }, constraint)
      t.match(await headersOf(app, '/page'), { body: 'none', vary: /^\*$/, status }, constraint)
      t.match(await headersOf(app, '/other'), { body: 'other', vary: /^$/, status }, constraint)
    }
  }
})

t.test('responses of routes that are selected by host alone vary by nothing: the URL contains it', async (t) => {
  const app = await cachingApp(t)
  for (const host of ['a.example', 'b.example']) app.get('/page', { constraints: { host }, config: { cache: { browserMaxAge: '1h' } } }, async () => host)

  for (const host of ['a.example', 'b.example', 'a.example']) t.match(await headersOf(app, '/page', { host }), { body: host, vary: /^$/ })
})
