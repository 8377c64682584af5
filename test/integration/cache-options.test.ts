import { gunzipSync } from 'node:zlib'
import type { FastifyInstance, InjectOptions } from 'fastify'
import fastify from 'fastify'
import t from 'tap'
import cache from '../../plugins/cache.ts'
import type { CacheEvent } from '../../plugins/cache.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'

const ttlOf = (status: unknown) => Number(/ttl=(-?\d+)/.exec(String(status))?.[1])

/** Sends two requests, and returns the second response. */
async function twice (app: FastifyInstance, request: InjectOptions | string) {
  await app.inject(request)
  await stored(app)
  return await app.inject(request)
}

t.test('cache rejects an invalid or unknown option by name, at registration and at a route', async (t) => {
  const { url } = await startRedisProcess(t)
  const wrong: [object, RegExp][] = [
    [{ ttl: 300 }, /cache\.ttl/], [{ ttl: '5 minutes' }, /cache\.ttl/], [{ version: '' }, /cache\.version/], [{ maxBytes: -1 }, /cache\.maxBytes/], [{ compression: 'zstd' }, /cache\.compression/],
    [{ debug: 'yes' }, /cache\.debug/], [{ tags: ['a'] }, /cache.*tags/]
  ]
  for (const [options, message] of wrong) {
    const app = fastify()
    t.after(() => app.close())
    await app.register(redis, { url, commandTimeout })
    await app.register(requestLifecycle)
    await t.rejects(async () => { await app.register(cache, options) }, { code: 'PRISM_ERR_OPTION', message })
  }

  const app = await cachingApp(t, { url })
  const wrongOfRoutes: [object, RegExp][] = [
    [{ ttl: '0s' }, /cache\.ttl/], [{ tags: 'a' }, /cache\.tags/], [{ tags: ['=a'] }, /cache\.tags/], [{ vary: ['*'] }, /cache\.vary/], [{ vary: ['a b'] }, /cache\.vary/], [{ partition: 'tenant' }, /cache\.partition/],
    [{ keepCookies: true }, /keepCookies/], [{ trackInputs: 1 }, /cache\.trackInputs/], [{ browserMaxAge: 60 }, /cache\.browserMaxAge/], [{ staleIfError: 'long' }, /cache\.staleIfError/], [{ querry: ['a'] }, /querry/],
    [{ hosts: ['*.example.com'] }, /cache\.hosts/], [{ hosts: ['https://example.com'] }, /cache\.hosts/]
  ]
  for (const [options, message] of wrongOfRoutes) t.throws(() => app.get(`/${String(message)}`, { config: { cache: options } }, async () => 'x'), { code: 'PRISM_ERR_OPTION', message })
})

t.test('cache rejects a partition by a user at start where no sessions are registered, because nothing would be cached', async (t) => {
  for (const partition of ['user', 'session'] as const) {
    for (const where of ['route', 'scope'] as const) {
      const app = await cachingApp(t)
      if (where === 'scope') app.routeDefaults({ cache: { partition } })
      app.get('/mine', where === 'route' ? { config: { cache: { partition } } } : {}, async () => 'mine')
      await t.rejects(async () => await app.ready(), { code: 'PRISM_ERR_ROUTE_CONFIG', message: /GET \/mine has the cache\.partition of a user or session, but no sessions/ }, `${partition} of a ${where}`)
    }
    const app = await cachingApp(t, { hasSessions: true })
    app.get('/mine', { config: { cache: { partition } } }, async () => 'mine')
    await t.resolves(async () => await app.ready(), partition)
  }
})

t.test('cache names a partition that works for the session of another plugin', async (t) => {
  const log: { read?: string, remedy?: string }[] = []
  const app = await cachingApp(t, { server: { logger: { level: 'warn', stream: { write: (line) => { log.push(JSON.parse(line) as object) } } } } })
  app.decorateRequest('session' as never, null as never)
  app.addHook('onRequest', async (request) => { (request as { session: unknown }).session = { user: request.headers.authorization } })
  const partition = (request: object) => (request as { session: { user: string } }).session.user
  app.get('/named', { config: { cache: true } }, async (request) => (request as unknown as { session: { user: string } }).session.user)
  app.get('/kept', { config: { cache: { partition } } }, async (request) => (request as unknown as { session: { user: string } }).session.user)

  await twice(app, { url: '/named', headers: { authorization: 'ada' } })
  t.match(log, [{ read: 'request.session', remedy: 'cache: { partition: (request) => … }' }])
  for (const user of ['ada', 'bob']) t.match(await twice(app, { url: '/kept', headers: { authorization: user } }), { body: user, headers: { 'cache-status': /hit/ } })
})

t.test('cache uses the shorter of its ttl and the lifetime of the response, less up to a tenth', async (t) => {
  const app = await cachingApp(t, { ttl: '10m' })
  app.get('/own/:id', { config: { cache: true } }, async () => 'x')
  app.get('/hour', { config: { cache: { ttl: '60m' } } }, async () => 'x')
  app.get('/shorter', { config: { cache: { ttl: '60m' } } }, async (_request, reply) => reply.header('cache-control', 'max-age=100').send('x'))
  app.get('/longer', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => reply.header('cache-control', 'max-age=9999').send('x'))

  const ttls = await Promise.all(Array.from({ length: 20 }, async (_, id) => ttlOf((await twice(app, `/own/${id}`)).headers['cache-status'])))
  t.ok(ttls.every((ttl) => ttl >= 535 && ttl <= 600), String(ttls))
  t.ok(new Set(ttls).size > 3, 'the lifetimes differ')
  const within = async (path: string, from: number, to: number) => {
    const ttl = ttlOf((await twice(app, path)).headers['cache-status'])
    t.ok(ttl >= from && ttl <= to, `${path}: ${ttl}`)
  }
  await within('/hour', 3200, 3600)
  await within('/shorter', 85, 100)
  await within('/longer', 265, 300)
  for (const key of await app.redis.keys('api:cache:*')) t.ok(await app.redis.pttl(key) > 0, `${key} ends`)
})

t.test('cache serves no response of another build, and identifies responses by 128 bits', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, same, other] = [await cachingApp(t, { url, version: 'a' }), await cachingApp(t, { url, version: 'a' }), await cachingApp(t, { url, version: 'b' })]
  for (const app of [one, same, other]) app.get('/', { config: { cache: true } }, async () => 'x')

  t.match((await twice(one, '/')).headers['cache-status'], /hit/)
  t.match((await same.inject('/')).headers['cache-status'], /hit/)
  t.match((await other.inject('/')).headers['cache-status'], /miss/)
  await stored(other)
  const keys = await one.redis.keys('api:cache:GET:*')
  t.equal(keys.length, 2)
  for (const key of keys) t.match(key, /^api:cache:GET:\/:\{[0-9a-f]{32}\}$/)
})

t.test('cache finds its responses under a version of any script, and stores them for any duration up to a year', async (t) => {
  const { url } = await startRedisProcess(t)
  const versions = ['v1-β', '版本-2', '🚀', 'é', 'a b%', 'two\nlines', 'x\ud800', 'x\ufffd', '\0']
  for (const version of versions) {
    const app = await cachingApp(t, { url, version })
    app.get('/', { config: { cache: true } }, async () => version)
    t.match((await app.inject('/')).headers['cache-status'], /miss/, JSON.stringify(version))
    await stored(app)
    t.match((await app.inject('/')).headers['cache-status'], /hit/, JSON.stringify(version))
  }

  const app = await cachingApp(t, { url })
  const names = ['ttl', 'staleIfError', 'staleWhileRevalidate', 'browserMaxAge']
  const paths = names.flatMap((name) => ['24d', '25d', '50d', '365d', '366d'].map((duration) => ({ path: `/${name}/${duration}`, cache: { [name]: duration } })))
  for (const { path, cache } of paths) app.get(path, { config: { cache } }, async () => 'x')
  for (const name of names) {
    t.throws(() => app.get('/long', { config: { cache: { [name]: '367d' } } }, async () => 'x'), { code: 'PRISM_ERR_OPTION', message: new RegExp(`cache\\.${name} must be a duration of at most 366 days`) })
  }
  for (const { path } of paths) t.match((await twice(app, path)).headers['cache-status'], /hit/, path)
  t.equal(app.cache.counts.write_failed, 0)
  await t.rejects(app.cache.wrap('x', {}, { ttl: '50000d' }, () => 1), { code: 'PRISM_ERR_OPTION', message: /wrap\.ttl/ })
})

t.test('cache stores no body above maxBytes, streamed or not, and compresses as configured', async (t) => {
  const { url } = await startRedisProcess(t)
  const small = await cachingApp(t, { url, maxBytes: 2000, compression: 'gzip', version: 'small' })
  small.get('/:bytes', { config: { cache: true } }, async (request) => ({ text: 'x'.repeat(Number((request.params as { bytes: string }).bytes)) }))
  const plain = await cachingApp(t, { url, compression: false, version: 'plain' })
  plain.get('/', { config: { cache: true } }, async () => ({ text: 'x'.repeat(5000) }))

  t.match((await twice(small, '/1980')).headers['cache-status'], /hit/)
  t.match((await twice(small, '/1990')).headers['cache-status'], /detail=too-large/)
  const coded = await small.inject({ url: '/1980', headers: { 'accept-encoding': 'gzip' } })
  t.equal(coded.headers['content-encoding'], 'gzip')
  t.equal(gunzipSync(coded.rawPayload).toString(), (await small.inject('/1980')).body)
  t.match((await twice(plain, { url: '/', headers: { 'accept-encoding': 'br, gzip' } })).headers, { 'cache-status': /hit/, 'content-encoding': undefined, vary: undefined })
})

t.test('cache honours request directives with honorRequestCacheControl: true, and ignores them with false', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/own', { config: { cache: { honorRequestCacheControl: true } } }, async () => `${++runs}`)
  app.get('/proxy', { config: { cache: { ttl: 'response', honorRequestCacheControl: false } } }, async (_request, reply) => reply.header('cache-control', 'max-age=60').send(`${++runs}`))
  const reload = { headers: { 'cache-control': 'no-cache' } }

  await twice(app, '/own')
  t.match((await app.inject({ url: '/own', ...reload })).headers['cache-status'], /fwd=request/)
  await twice(app, '/proxy')
  t.match((await app.inject({ url: '/proxy', ...reload })).headers['cache-status'], /hit/)
})

t.test('cache sends browsers no-cache, or max-age with browserMaxAge, or the Cache-Control of the response', async (t) => {
  const app = await cachingApp(t)
  app.get('/each', { config: { cache: true } }, async () => 'x')
  app.get('/minute', { config: { cache: { browserMaxAge: '1m' } } }, async () => 'x')
  app.get('/said', { config: { cache: true } }, async (_request, reply) => reply.header('cache-control', 'public, max-age=7').send('x'))

  t.match((await twice(app, '/each')).headers, { 'cache-control': 'no-cache', etag: /^".+"$/ })
  const { headers } = await twice(app, '/minute')
  t.equal(headers['cache-control'], `private, max-age=${60 + Number(headers.age)}`)
  t.equal((await twice(app, '/said')).headers['cache-control'], 'public, max-age=7')
})

t.test('cache marks a partitioned response as private, and never extends the lifetime that its handler set', async (t) => {
  const app = await cachingApp(t, { hasSessions: true })
  app.post('/sign-in', async (request) => {
    await request.session.signIn('alice')
    return 'in'
  })
  const said = { nothing: undefined, short: 'max-age=5, must-revalidate', fixed: 'no-transform', public: 'public, max-age=100', shared: 's-maxage=100' }
  const routes = { open: {}, members: { session: 'required' }, own: { cache: { partition: 'user' } } } as const
  await app.register(async (scope) => {
    scope.routeDefaults({ session: 'required' })
    scope.get('/scope/public', { config: { cache: { browserMaxAge: '1m' } } }, async (_request, reply) => reply.header('cache-control', 'public').send('x'))
  })
  for (const [kind, config] of Object.entries(routes)) {
    for (const [name, control] of Object.entries(said)) {
      app.get(`/${kind}/${name}`, { config: { ...config, cache: { ...'cache' in config ? config.cache : {}, ttl: '1h', browserMaxAge: '1m', staleIfError: '2h' } } }, async (request, reply) => {
        if (control !== undefined) reply.header('cache-control', control)
        return reply.type('text/plain').send('text '.repeat(600))
      })
    }
  }
  const { headers: { 'set-cookie': cookie } } = await app.inject({ method: 'POST', url: '/sign-in' })
  const headers = { cookie: String(cookie).split(';')[0] ?? '', 'accept-encoding': 'br' }
  const expected: Record<string, Record<keyof typeof said, RegExp>> = {
    open: { nothing: /^private, max-age=6\d$/, short: /^private, max-age=5, must-revalidate$/, fixed: /^private, max-age=6\d, no-transform$/, public: /^max-age=6\d, public$/, shared: /^max-age=6\d, s-maxage=100$/ },
    members: { nothing: /^private, max-age=6\d$/, short: /^private, max-age=5, must-revalidate$/, fixed: /^private, max-age=6\d, no-transform$/, public: /^private, max-age=6\d$/, shared: /^private, max-age=6\d$/ }
  }
  expected.own = expected.members as Record<keyof typeof said, RegExp>

  for (const [kind, controls] of Object.entries(expected)) {
    for (const [name, control] of Object.entries(controls)) {
      const url = `/${kind}/${name}`
      const miss = await app.inject({ url, headers })
      await stored(app)
      const hit = await app.inject({ url, headers })
      const confirmed = await app.inject({ url, headers: { ...headers, 'if-none-match': String(hit.headers.etag) } })
      t.match(hit.headers['cache-status'], /hit/, url)
      t.equal(confirmed.statusCode, 304)
      for (const reply of [miss, hit, confirmed]) t.match(reply.headers['cache-control'], control, url)
      if (name === 'fixed') t.equal(hit.headers['content-encoding'], undefined)
    }
  }
  for (const time of ['miss', 'hit']) {
    t.equal((await app.inject({ url: '/scope/public', headers })).headers['cache-control'], 'private, max-age=60', time)
    await stored(app)
  }
})

t.test('cache never stores a response with Set-Cookie', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: { ttl: 'response' } } }, async (_request, reply) => reply.headers({ 'cache-control': 'max-age=60', 'set-cookie': ['a=1', 'b=2'] }).send('x'))

  t.match((await twice(app, '/')).headers, { 'set-cookie': ['a=1', 'b=2'], 'cache-status': /fwd=miss; detail=set-cookie/, 'cache-control': /private/ })
})

t.test('cache bypasses a request on reply.cache.bypass, and reports the reason', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/before', { config: { cache: true }, preHandler: async (request, reply) => { if (request.headers['x-preview'] !== undefined) reply.cache.bypass('preview') } }, async () => `${++runs}`)
  app.get('/within', { config: { cache: true } }, async (_request, reply) => { reply.cache.bypass('partial'); return `${++runs}` })

  t.match((await twice(app, '/before')).headers['cache-status'], /hit/)
  t.equal((await app.inject({ url: '/before', headers: { 'x-preview': '1' } })).headers['cache-status'], 'prism; fwd=bypass; detail=preview')
  t.equal((await twice(app, '/within')).headers['cache-status'], 'prism; fwd=miss; detail=partial')
})

t.test('cache counts outcomes, and calls its listeners', async (t) => {
  const app = await cachingApp(t)
  const received: string[] = []
  for (const event of ['hit', 'stale', 'miss', 'bypass', 'write', 'write_ok', 'uncacheable', 'purge'] satisfies CacheEvent[]) app.cache.on(event, (count) => { received.push(`${event} ${count}`) })
  let isBroken = false
  app.get('/', { config: { cache: { tags: ['a'] } } }, async () => 'x')
  app.get('/private', { config: { cache: true } }, async (_request, reply) => reply.header('cache-control', 'private').send('x'))
  app.get('/stale', { config: { cache: { ttl: 'response' } } }, async (_request, reply) => isBroken ? reply.code(503).send() : reply.headers({ 'cache-control': 'max-age=1, stale-if-error=60', age: '5' }).send('x'))

  await twice(app, '/')
  await app.inject('/private')
  await app.inject({ url: '/', method: 'GET', payload: 'x' })
  await app.cache.purge('a')
  await app.inject('/stale')
  await stored(app)
  isBroken = true
  await app.inject('/stale')

  t.same(received, ['miss 1', 'write 1', 'write_ok 1', 'hit 1', 'miss 2', 'uncacheable 1', 'bypass 1', 'uncacheable 2', 'purge 1', 'miss 3', 'write 2', 'write_ok 2', 'miss 4', 'stale 1'])
  t.match(app.cache.counts, { hit: 1, stale: 1, miss: 4, bypass: 1, write: 2, write_ok: 2, uncacheable: 2, purge: 1 })
})
