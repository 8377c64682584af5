import { Writable } from 'node:stream'
import fastifyCookie from '@fastify/cookie'
import Fastify from 'fastify'
import { test } from 'tap'
import journey from '../../plugins/journey.ts'
import redisPlugin from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import { Browser } from '../helpers/session-browser.ts'
import { startRedis } from '../helpers/redis.ts'
import { buildSessionApp, sessionSecrets } from '../helpers/session-app.ts'
import { until } from '../helpers/until.ts'
import { countWrites } from '../helpers/writes.ts'

test('the session plugin', async (t) => {
  const redis = await startRedis(t)
  const app = await buildSessionApp(t, redis.url)

  t.test('signs in, knows the user again, and signs out', async (t) => {
    const browser = new Browser(app)
    const { setCookie: [given = ''], body: id } = await browser.post('/sign-in/ada')

    t.match(given, /^sid=v1\.[\w-]{8}\.[\w-]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Lax$/)
    t.match((await browser.get('/me')).body, { state: 'live', userId: 'ada', id, isNew: false })
    t.match((await browser.post('/sign-out')).setCookie, [/^sid=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax$/])
    t.match((await browser.get('/me')).body, { state: 'anonymous' })
  })

  t.test('admits only who is signed in where a route requires it', async (t) => {
    const browser = new Browser(app)
    await browser.post('/set/test-a/1')

    t.match(await browser.get('/required'), { status: 401, body: { code: 'PRISM_ERR_SESSION_REQUIRED' } })
    await browser.post('/sign-in/ada')
    t.match(await browser.get('/required'), { status: 200, body: 'ada' })
    t.match(await browser.get('/off'), { status: 200, body: 'anonymous' })
    t.match(await browser.post('/off/sign-out'), { status: 500, body: { code: 'PRISM_ERR_SESSION_OFF' } })
  })

  t.test('keeps nothing and sets no cookie for a visitor before something is written', async (t) => {
    const browser = new Browser(app)
    const read = await browser.get('/get/test-a')
    const keysBefore = await redis.client.keys('session:{a:*')
    const written = await browser.post('/push/test-a/tea')
    const again = await browser.post('/push/test-a/milk')

    t.same([read.setCookie, written.setCookie.length, again.setCookie], [[], 1, []])
    t.same((await browser.get('/get/test-a')).body, { value: ['tea', 'milk'] })
    t.equal((await redis.client.keys('session:{a:*')).length, keysBefore.length + 1)
  })

  t.test('costs nothing without a cookie, one command and no write to read, two to write', async (t) => {
    const stranger = new Browser(app)
    const browser = new Browser(app)
    await browser.post('/sign-in/ada')
    const count = countWrites(t, redis.port)
    const costOf = async (asked: Promise<unknown>) => {
      await asked
      const { writes, commandCount } = count
      count.clear()
      return [writes, commandCount]
    }

    t.same(await costOf(stranger.get('/me')), [0, 0])
    t.same(await costOf(browser.get('/get/test-a')), [1, 1])
    t.same(await costOf(browser.post('/set/test-a/1')), [2, 2])
    t.same(await costOf(Promise.all([browser.get('/me'), browser.get('/me'), browser.get('/required')])), [1, 1], 'requests of one tick share a load')
  })

  t.test('asks for identical loads once, and for others in the same write', async (t) => {
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

  t.test('saves what a request changed even when its handler failed', async (t) => {
    const browser = new Browser(app)
    await browser.post('/sign-in/ada')
    await browser.post('/set/test-a/before?throws=1')

    t.same((await browser.get('/get/test-a')).body, {}, 'what never ran changed nothing')
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

  t.test('tells of revocations, not of rotations', async (t) => {
    const heard: unknown[] = []
    const stop = app.sessions.onRevoked((revocation) => heard.push(revocation))
    const browser = new Browser(app)
    await browser.post('/sign-in/hedy')
    await browser.post('/rotate')
    const { body: { id } } = await browser.get('/me') as { body: { id: string } }
    const { body } = await browser.post('/revoke-all/hedy')
    await browser.post('/revoke-all/hedy')
    stop()

    t.same(body, { count: 1 })
    t.same(heard, [{ userId: 'hedy', devices: [id] }])
  })

  t.test('counts reads of the session by whoever takes it, and none by who looks at the visitor', async (t) => {
    const counting = Fastify()
    await counting.register(redisPlugin, { url: redis.url })
    await counting.register(journey)
    await counting.register(session, { secrets: sessionSecrets })
    t.after(() => counting.close())
    counting.get('/', async (request) => {
      const { visitor: { state, userId }, sessionReads: before } = request
      const id = request.session.id
      return { state, userId, before, id, after: request.sessionReads }
    })

    t.same((await new Browser(counting).get('/')).body, { state: 'anonymous', before: 0, after: 1 })
  })

  t.test('works beside an @fastify/cookie that the app has registered, and keeps its cookies', async (t) => {
    const shared = Fastify()
    await shared.register(fastifyCookie)
    await shared.register(redisPlugin, { url: redis.url })
    await shared.register(journey)
    await shared.register(session, { secrets: sessionSecrets })
    t.after(() => shared.close())
    shared.get('/', async (request, reply) => {
      reply.setCookie('theme', 'dark')
      request.session.set('test-a', 1)
    })

    t.match((await new Browser(shared).get('/')).setCookie, [/^theme=dark/, /^sid=/])
  })

  t.test('uses a Redis of its own where it is given one', async (t) => {
    const own = await startRedis(t)
    const browser = new Browser(await buildSessionApp(t, redis.url, { redis: { url: own.url } }))
    await browser.post('/sign-in/nelly')

    t.match(await browser.get('/required'), { body: 'nelly' })
    t.same(await own.client.keys('*'), ['session:{nelly}'])
    t.equal(await redis.client.exists('session:{nelly}'), 0)
  })

  t.test('warns when the server may evict sessions', async (t) => {
    const lines: string[] = []
    const warning = Fastify({ logger: { stream: new Writable({ write (line, _encoding, done) { lines.push(String(line)); done() } }) } })
    await warning.register(redisPlugin, { url: redis.url })
    await warning.register(journey)
    await warning.register(session, { secrets: sessionSecrets })
    t.after(() => warning.close())

    await until(() => lines.some((line) => /may evict sessions.*SESSION_REDIS_URL/.test(line)), { what: 'the warning' })
  })

  t.test('refuses wrong options at the start, and shows no secret', async (t) => {
    const refused = Fastify()
    t.after(() => refused.close())
    refused.register(redisPlugin, { url: redis.url }).register(journey).register(session, { secrets: ['too-short'] })

    await t.rejects(async () => await refused.ready(), { code: 'PRISM_ERR_OPTION', message: /^(?!.*too-short)Option session\.secrets must be .*at least 32/ })
    t.throws(() => { app.routeDefaults({ session: 'always' as 'required' }) }, { code: 'PRISM_ERR_OPTION' })
  })
})
