import { Writable } from 'node:stream'
import fastifyCookie from '@fastify/cookie'
import Fastify from 'fastify'
import { test } from 'tap'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redisPlugin from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import { commandTimeout } from '../support/deadline.ts'
import { Browser } from '../support/session-browser.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'
import { buildSessionApp, sessionSecrets } from '../support/session-app.ts'
import { until } from '../support/until.ts'
import { atRest, countWrites } from '../support/writes.ts'

test('session plugin', async (t) => {
  const redis = await startRedis(t)
  const app = await buildSessionApp(t, redis.url)

  t.test('signs in, identifies the user, and signs out', async (t) => {
    const browser = new Browser(app)
    const { setCookie: [given = ''], body: id } = await browser.post('/sign-in/ada')

    t.match(given, /^sid=v1\.[\w-]{8}\.[\w-]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Lax$/)
    t.match((await browser.get('/me')).body, { state: 'live', userId: 'ada', id, isNew: false })
    t.match((await browser.post('/sign-out')).setCookie, [/^sid=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax$/])
    t.match((await browser.get('/me')).body, { state: 'anonymous' })
  })

  t.test('rejects anonymous requests where a route requires a session', async (t) => {
    const browser = new Browser(app)
    await browser.post('/set/test-a/1')

    t.match(await browser.get('/required'), { status: 401, body: { code: 'PRISM_ERR_SESSION_REQUIRED' } })
    await browser.post('/sign-in/ada')
    t.match(await browser.get('/required'), { status: 200, body: 'ada' })
    t.match(await browser.get('/off'), { status: 200, body: 'anonymous' })
    t.match(await browser.post('/off/sign-out'), { status: 500, body: { code: 'PRISM_ERR_SESSION_DISABLED' } })
  })

  t.test('stores nothing and sets no cookie before a write to the session', async (t) => {
    const browser = new Browser(app)
    const read = await browser.get('/get/test-a')
    const keysBefore = await redis.client.keys('session:{a:*')
    const written = await browser.post('/push/test-a/tea')
    const again = await browser.post('/push/test-a/milk')

    t.same([read.setCookie, written.setCookie.length, again.setCookie], [[], 1, []])
    t.same((await browser.get('/get/test-a')).body, { value: ['tea', 'milk'] })
    t.equal((await redis.client.keys('session:{a:*')).length, keysBefore.length + 1)
  })

  t.test('sends Redis nothing without a cookie, one command without a write to read, two to write', async (t) => {
    const anonymous = new Browser(app)
    const browser = new Browser(app)
    await browser.post('/sign-in/ada')
    const count = countWrites(t, redis.port)
    await atRest(count, app.redisPool.batch)
    const costOf = async (pending: Promise<unknown>) => {
      await pending
      const { writes, commandCount } = count
      count.clear()
      return [writes, commandCount]
    }

    t.same(await costOf(anonymous.get('/me')), [0, 0])
    t.same(await costOf(browser.get('/get/test-a')), [1, 1])
    t.same(await costOf(browser.post('/set/test-a/1')), [2, 2])
    t.same(await costOf(Promise.all([browser.get('/me'), browser.get('/me'), browser.get('/required')])), [1, 1], 'requests of one tick share a load')
  })

  t.test('loads the session once for concurrent requests of one tick, in the same write', async (t) => {
    const one = new Browser(app)
    const other = new Browser(app)
    await one.post('/sign-in/one')
    await other.post('/sign-in/other')
    await redis.client.config('RESETSTAT')
    await Promise.all([one.get('/me'), one.get('/me'), other.get('/me')])
    const stats = await redis.client.info('commandstats')

    t.match(stats, /cmdstat_hget:calls=2,/)
    t.match(stats, /cmdstat_evalsha:calls=1,/)
    t.notMatch(stats, /cmdstat_hset/)
  })

  t.test('saves changes of a request whose handler failed', async (t) => {
    const browser = new Browser(app)
    await browser.post('/sign-in/ada')
    await browser.post('/set/test-a/before?throws=1')

    t.same((await browser.get('/get/test-a')).body, {}, 'a handler that did not run changed nothing')
    t.equal((await browser.post('/fail/test-a/kept')).status, 500)
    t.same((await browser.get('/get/test-a')).body, { value: 'kept' })
    t.equal((await browser.post('/fill/test-b/8200')).status, 413)
    t.same((await browser.get('/get/test-b')).body, {})
  })

  t.test('lists devices, ends one, ends all others', async (t) => {
    const [laptop, phone, tablet] = [new Browser(app), new Browser(app), new Browser(app)]
    await laptop.post('/sign-in/grace', { label: 'Laptop – blue' })
    const { body: phoneId } = await phone.post('/sign-in/grace')
    await tablet.post('/sign-in/grace')

    const { body: devices } = await laptop.get('/devices')
    t.equal((devices as unknown[]).length, 3)
    t.match((devices as { isCurrent: boolean }[]).find(({ isCurrent }) => isCurrent), { label: 'Laptop – blue' })
    t.same((await laptop.delete(`/devices/${phoneId}`)).body, { done: true })
    t.same((await laptop.delete(`/devices/${phoneId}`)).body, { done: false })
    t.match(await phone.get('/required'), { status: 401 })
    t.same((await laptop.delete('/devices')).body, { count: 1 })
    t.match(await tablet.get('/required'), { status: 401 })
    t.match(await laptop.get('/required'), { status: 200 })
    t.equal((await new Browser(app).get('/devices')).status, 401)
  })

  t.test('reports revocations, and no rotations', async (t) => {
    const received: unknown[] = []
    const stop = app.sessions.onRevoked((revocation) => received.push(revocation))
    const browser = new Browser(app)
    await browser.post('/sign-in/hedy')
    await browser.post('/rotate')
    const { body: { id } } = await browser.get('/me') as { body: { id: string } }
    const { body } = await browser.post('/revoke-all/hedy')
    await browser.post('/revoke-all/hedy')
    stop()

    t.same(body, { count: 1 })
    t.same(received, [{ userId: 'hedy', devices: [id] }])
  })

  t.test('signs out even if a listener throws, and calls the other listeners', async (t) => {
    const received: unknown[] = []
    const stops = [app.sessions.onRevoked(() => { throw new Error('a listener that fails') }), app.sessions.onRevoked((revocation) => received.push(revocation))]
    const browser = new Browser(app)
    await browser.post('/sign-in/frances')

    t.match(await browser.post('/sign-out'), { status: 200 })
    for (const stop of stops) stop()
    t.match(received, [{ userId: 'frances' }])
    t.match(await browser.get('/required'), { status: 401 })
  })

  t.test('leaves every name but its public decorators to the app', async (t) => {
    const own = Fastify()
    own.decorateRequest('user', null).decorateRequest('sessionReads', 0).decorateRequest('sessionClaim', null)
    await own.register(redisPlugin, { url: redis.url, commandTimeout })
    await own.register(requestLifecycle)
    await own.register(session, { secrets: sessionSecrets })
    t.after(() => own.close())
    own.get('/', async ({ session }) => ({ state: session.state }))

    t.same((await new Browser(own).get('/')).body, { state: 'anonymous' })
  })

  for (const when of ['before', 'after']) {
    t.test(`works beside an @fastify/cookie that the app registers ${when} it, and preserves its cookies`, async (t) => {
      const shared = Fastify()
      if (when === 'before') await shared.register(fastifyCookie)
      await shared.register(redisPlugin, { url: redis.url, commandTimeout })
      await shared.register(requestLifecycle)
      await shared.register(session, { secrets: sessionSecrets })
      await reached(shared)
      t.after(() => shared.close())
      t.equal(shared.hasRequestDecorator('cookies'), when === 'before', 'it parses no cookies for an app without the plugin')
      if (when === 'after') await shared.register(fastifyCookie)
      shared.get('/', async (request, reply) => {
        reply.setCookie('theme', 'dark')
        request.session.set('test-a', 1)
        return request.cookies
      })
      const response = await new Browser(shared).get('/', { cookie: 'x=y' })

      t.same(response.body, { x: 'y' })
      t.match(response.setCookie.sort(), [/^sid=/, /^theme=dark/])
    })
  }

  t.test('sends no-store with a session cookie, whatever Cache-Control the handler set', async (t) => {
    const cached = Fastify()
    await cached.register(redisPlugin, { url: redis.url, commandTimeout })
    await cached.register(requestLifecycle)
    await cached.register(session, { secrets: sessionSecrets })
    await reached(cached)
    t.after(() => cached.close())
    cached.get<{ Querystring: { cacheControl: string } }>('/', async (request, reply) => {
      reply.header('cache-control', request.query.cacheControl).header('cdn-cache-control', 'max-age=60')
      request.session.set('test-a', 1)
    })
    const fieldsFor = async (cacheControl: string, cookie?: string) => {
      const { headers } = await cached.inject({ url: '/', query: { cacheControl }, headers: cookie === undefined ? {} : { cookie } })
      return [headers['cache-control'], headers['cdn-cache-control'], headers['set-cookie']]
    }

    t.match(await fieldsFor('public, max-age=60'), ['no-store', undefined, /^sid=/])
    const [control, , cookie] = await fieldsFor('private, max-age=60')
    t.equal(control, 'private, max-age=60')
    t.same(await fieldsFor('public, max-age=60', String(cookie).split(';')[0]), ['public, max-age=60', 'max-age=60', undefined], 'without a cookie the fields of the handler are sent')
  })

  t.test('sends the new cookie of a rotation even if the save after it fails', async (t) => {
    const failing = Fastify()
    await failing.register(redisPlugin, { url: redis.url, commandTimeout })
    await failing.register(requestLifecycle)
    await failing.register(session, { secrets: sessionSecrets })
    await reached(failing)
    t.after(() => failing.close())
    failing.post('/sign-in', async (request) => { await request.session.signIn('margaret') })
    failing.get('/who', async (request) => request.session.userId)
    failing.post('/rotate', async (request) => {
      await request.session.rotate()
      if (request.session.get('test-a') === undefined) request.session.set('test-a', 'mine')
      const [[field, value] = ['', '']] = Object.entries(await redis.client.hgetall('session:{margaret}'))
      await redis.client.hset('session:{margaret}', field, value.replace(/^(\d+) \d+/, '$1 99').replace('{}', '{"test-a":"theirs"}'))
    })
    const browser = new Browser(failing)
    await browser.post('/sign-in')

    t.match(await browser.post('/rotate'), { status: 409, setCookie: [/^sid=v1\./] })
    t.equal((await browser.get('/who')).body, 'margaret')
  })

  t.test('uses a separate Redis if configured', async (t) => {
    const own = await startRedis(t)
    const browser = new Browser(await buildSessionApp(t, redis.url, { redis: { url: own.url } }))
    await browser.post('/sign-in/nelly')

    t.match(await browser.get('/required'), { body: 'nelly' })
    t.same(await own.client.keys('*'), ['session:{nelly}'])
    t.equal(await redis.client.exists('session:{nelly}'), 0)
  })

  t.test('warns if the server may evict sessions', async (t) => {
    const lines: string[] = []
    const warning = Fastify({ logger: { stream: new Writable({ write (line, _encoding, done) { lines.push(String(line)); done() } }) } })
    await warning.register(redisPlugin, { url: redis.url, commandTimeout })
    await warning.register(requestLifecycle)
    await warning.register(session, { secrets: sessionSecrets })
    t.after(() => warning.close())

    await until(() => lines.some((line) => /may evict sessions.*SESSION_REDIS_URL/.test(line)), { what: 'the warning' })
  })

  t.test('rejects invalid options at start, and shows no secret', async (t) => {
    const refused = Fastify()
    t.after(() => refused.close())
    refused.register(redisPlugin, { url: redis.url, commandTimeout }).register(requestLifecycle).register(session, { secrets: ['too-short'] })

    await t.rejects(async () => await refused.ready(), { code: 'PRISM_ERR_OPTION', message: /^(?!.*too-short)Option session\.secrets must be .*at least 32/ })
    t.throws(() => { app.routeDefaults({ session: 'always' as 'required' }) }, { code: 'PRISM_ERR_OPTION' })
  })
})
