import { execFile } from 'node:child_process'
import { mock } from 'node:test'
import { promisify } from 'node:util'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import { advance, publishedEvents, purgeAll, signInAs } from '../../plugins/standalone/testing.ts'
import { testSecret } from '../support/app.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { until } from '../support/until.ts'

async function open (owner: Owner, options: PrismOptions = {}): Promise<FastifyInstance> {
  const app = fastify()
  owner.after(() => app.close())
  await app.register(prism, { redis: 'memory', session: { secrets: [testSecret] }, ...options })
  let runs = 0
  app.get('/page', { config: { cache: { ttl: '5m', staleWhileRevalidate: '1h' } } }, () => ({ runs: ++runs }))
  app.get('/me', { config: { session: 'required' } }, ({ session }) => ({ user: session.userId, cart: session.get('test-cart') ?? null }))
  await app.ready()
  return app
}

const cached = async (app: FastifyInstance) => String((await app.inject('/page')).headers['cache-status'])

async function storePage (app: FastifyInstance): Promise<void> {
  await until(async () => /prism; hit; ttl=[1-9]/.test(await cached(app)), { what: 'a fresh hit' })
}

t.test('signInAs gives the cookie of a signed-in user, with data', async (t) => {
  const app = await open(t)
  const cookie = await signInAs(app, 'ada', { data: { 'test-cart': [1, 2] }, label: 'test' })

  t.same((await app.inject({ url: '/me', headers: { cookie } })).json(), { user: 'ada', cart: [1, 2] })
  t.match(await app.sessions.devices('ada'), [{ label: 'test' }])
  const secure = await signInAs(app, 'ada', { protocol: 'https' })
  t.match(secure, /^__Host-sid=/)
  t.equal((await app.inject({ url: '/me', headers: { cookie: secure, 'x-forwarded-proto': 'https' } })).statusCode, 200)
  t.equal((await app.inject('/me')).statusCode, 401)
})

t.test('publishedEvents returns what was published to a topic, in order', async (t) => {
  const app = await open(t)
  t.same(await publishedEvents(app, 'orders'), [])
  await app.events.publish('orders', { type: 'order.placed', data: { id: 1 } })
  await app.events.publish('orders', { type: 'order.paid', data: { id: 1 } })
  await app.events.publish('other', { type: 'x' })

  t.match(await publishedEvents(app, 'orders'), [{ type: 'order.placed', data: { id: 1 } }, { type: 'order.paid', data: { id: 1 } }])
})

t.test('purgeAll makes every cached response and value unusable', async (t) => {
  const app = await open(t)
  let calls = 0
  const wrapped = () => app.cache.wrap('value', {}, { ttl: '1h' }, async () => ++calls)
  await storePage(app)
  await until(async () => {
    const first = await wrapped()
    return first === await wrapped()
  }, { what: 'a stored value' })
  const before = await wrapped()
  await purgeAll(app)

  t.match(await cached(app), /fwd=miss/)
  t.ok(await wrapped() > before)
})

t.test('advance moves the age of responses, the end of sessions, the windows of quotas, and expiry', async (t) => {
  const app = await open(t, { rateLimit: { quota: 20, window: '10m' }, session: { secrets: [testSecret], idleTimeout: '30m' } })
  await storePage(app)
  const cookie = await signInAs(app, 'ada')
  await app.redis.set('key', 'value', 'EX', 700)
  await until(async () => (await app.inject('/page')).statusCode === 429, { what: 'the quota to be used up' })

  advance('11m')
  t.equal(await app.redis.get('key'), 'value')
  const stale = await app.inject('/page')
  t.equal(stale.statusCode, 200)
  t.match(String(stale.headers['cache-status']), /hit; ttl=-\d/)
  t.equal((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 200)

  advance('1h')
  t.equal(await app.redis.get('key'), null)
  t.equal((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 401)
  t.throws(() => { advance('soon' as never) }, { code: 'PRISM_ERR_OPTION' })
})

t.test('a faked Date moves the time of Redis and of the process: a denied client is allowed and a response is stale', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.after(() => mock.timers.reset())
  const app = await open(t, { rateLimit: { quota: 20, window: '10m' } })
  await storePage(app)
  await until(async () => (await app.inject('/page')).statusCode === 429, { what: 'the quota to be used up' })

  mock.timers.setTime(Date.now() + 11 * 60_000)
  const stale = await app.inject('/page')
  t.equal(stale.statusCode, 200)
  t.match(String(stale.headers['cache-status']), /hit; ttl=-\d/)
})

t.test('a helper for a part that the app does not have says what to register', async (t) => {
  const app = await open(t, { events: false })

  await t.rejects(publishedEvents(app, 'orders'), { code: 'PRISM_ERR_SCOPE', message: /no fastify\.events: register fastify-prism/ })
})

const program = `
const [{ default: fastify }, { default: prism }] = await Promise.all([import('fastify'), import('../../plugins/index.ts')])
const app = fastify()
await app.register(prism, { redis: 'memory', session: { secrets: ['${testSecret}'] } })
app.get('/', { config: { cache: { ttl: '1m' } } }, () => 'fine')
await app.events.subscribe('topic', () => {})
console.log((await app.inject('/')).statusCode)
`

const run = (env: NodeJS.ProcessEnv = {}) => promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], { cwd: import.meta.dirname, env: { ...process.env, ...env }, timeout: 60_000 })

t.test('a process whose app was not closed ends by itself', async (t) => {
  const { stdout } = await run()

  t.equal(stdout.trim(), '200')
})

t.test('in production memory is refused, and the error names the option that allows it', async (t) => {
  await t.rejects(run({ NODE_ENV: 'production' }), /Option redis\.url must be the address of a Redis where NODE_ENV is production, .*redis\.allowMemoryInProduction: true/)
})
