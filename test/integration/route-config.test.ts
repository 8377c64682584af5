import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import foreignLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import cacheEntry from '../../plugins/standalone/cache.ts'
import rateLimitEntry from '../../plugins/standalone/rate-limit.ts'
import sessionEntry from '../../plugins/standalone/session.ts'
import events from '../../plugins/events.ts'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedisProcess } from '../support/redis-process.ts'

const session = { secrets: ['a secret of the tests: 32 or more'] }
const refusal = (message: RegExp) => ({ code: 'PRISM_ERR_ROUTE_CONFIG', message })
const open = async () => 'open'
let url = ''

t.before(async () => { url = (await startRedisProcess({ after: (end) => { t.teardown(end) } })).url })

function start (t: Test): FastifyInstance & { lines: string[] } {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } })
  t.after(() => app.close())
  return Object.assign(app, { lines })
}

let apps = 0
/** Each app counts separately. */
const stack = (options: Partial<PrismOptions> = {}): PrismOptions => ({ redis: { url, commandTimeout, prefix: `app${apps++}:` }, session, ...options })
const route = (app: FastifyInstance, config: object, path = '/route') => app.get(path, { config: config as never }, open)

t.test('route config is rejected at start if the route was declared before the stack was loaded', async (t) => {
  const ways: Record<string, (app: FastifyInstance, config: object) => unknown> = {
    'in the same tick': (app, config) => { app.register(prism, stack()); route(app, config) },
    before: async (app, config) => { route(app, config); await app.register(prism, stack()) },
    'in a child scope before': async (app, config) => {
      await app.register(async (scope) => { route(scope, config) }, { prefix: '/child' })
      await app.register(prism, stack())
    },
    'in a child scope that is opened before, and declares after': async (app, config) => {
      let child: FastifyInstance | undefined
      await app.register(async (scope) => { child = scope })
      await app.register(prism, stack())
      route(child as unknown as FastifyInstance, config)
    },
    'for HEAD alone': (app, config) => { app.register(prism, stack()); app.head('/route', { config: config as never }, open) },
    'as a WebSocket': async (app, config) => {
      await app.register(websocket)
      app.get('/route', { websocket: true, config: config as never }, (socket) => { socket.close() })
      await app.register(prism, stack())
    },
    'between two entries of the package': async (app, config) => {
      await app.register(redis, { url, commandTimeout })
      route(app, config)
      await app.register(rateLimitEntry, {})
      await app.register(sessionEntry, session)
      await app.register(cacheEntry, {})
    }
  }

  for (const [way, declare] of Object.entries(ways)) {
    for (const config of [{ session: 'required' }, { cache: { ttl: '5m' } }, { rateLimit: { quota: 1 } }, { session: false }, { rateLimit: false }]) {
      const app = start(t)
      await declare(app, config)
      await t.rejects(async () => await app.ready(), refusal(new RegExp(`route has config\\.${Object.keys(config).join()}, but was declared before`)), `${way}: ${JSON.stringify(config)}`)
    }
    const app = start(t)
    await declare(app, {})
    await t.resolves(async () => await app.ready(), `${way}: a route that names nothing`)
  }
})

t.test('route config is rejected at start if no plugin reads it', async (t) => {
  const without: Record<string, (app: FastifyInstance) => PromiseLike<unknown>> = {
    session: (app) => app.register(prism, stack({ session: false })),
    cache: (app) => app.register(prism, stack({ cache: false })),
    rateLimit: (app) => app.register(prism, stack({ rateLimit: false }))
  }
  const values: Record<string, unknown> = { session: 'required', cache: true, rateLimit: { quota: 1 } }
  for (const [feature, register] of Object.entries(without)) {
    const [app, off] = [start(t), start(t)]
    await register(app)
    route(app, { [feature]: values[feature] })
    await t.rejects(async () => await app.ready(), refusal(new RegExp(`GET /route has config\\.${feature}, but no part`)), feature)
    await register(off)
    route(off, { [feature]: false })
    await t.resolves(async () => await off.ready(), `${feature}: false requires nothing`)
  }

  const parts: Record<string, (app: FastifyInstance) => PromiseLike<unknown>> = {
    redis: (app) => app.register(redis, { url, commandTimeout }),
    events: async (app) => { await app.register(redis, { url, commandTimeout }); await app.register(events, {}) },
    cache: async (app) => { await app.register(redis, { url, commandTimeout }); await app.register(cacheEntry, {}) },
    'the stack in another scope': (app) => app.register(async (scope) => { await scope.register(prism, stack()) })
  }
  for (const [part, register] of Object.entries(parts)) {
    const app = start(t)
    await register(app)
    await app.register(async (scope) => { route(scope, { session: 'required' }) }, { prefix: '/prefix' })
    await t.rejects(async () => await app.ready(), refusal(/GET \/prefix\/route has config\.session/), `with ${part} alone`)
  }
})

t.test('route config between two package entries applies to the first, and by default to the second', async (t) => {
  const app = start(t)
  await app.register(redis, { url, commandTimeout, prefix: 'entries:' })
  await app.register(cacheEntry, {})
  app.get('/route', { config: { cache: true } }, open)
  await app.register(rateLimitEntry, { quota: 2 })
  await app.ready()

  t.same([await app.inject('/route'), await app.inject('/route'), await app.inject('/route')].map(({ statusCode }) => statusCode), [200, 200, 429])
})

t.test('route config that a later hook changes is rejected at start', async (t) => {
  const changes: Record<string, (options: { config?: object }) => void> = {
    'in place': ({ config }) => { Object.assign(config ?? {}, { session: 'required' }) },
    copied: (options) => { options.config = { ...options.config, session: 'required' } },
    replaced: (options) => { options.config = { session: 'required' } }
  }
  for (const [how, change] of Object.entries(changes)) {
    const [after, before] = [start(t), start(t)]
    await after.register(prism, stack())
    after.addHook('onRoute', change)
    route(after, {})
    await t.rejects(async () => await after.ready(), refusal(/config\.session, but a hook changed it/), how)

    before.addHook('onRoute', change)
    await before.register(prism, stack())
    route(before, {})
    t.equal((await before.inject('/route')).statusCode, 401, `${how}, by a hook before`)
  }
})

t.test('route config that a hook replaces by an equal copy is rejected at start if the resolved values are lost', async (t) => {
  const copies: Record<string, (config: object | undefined) => object | undefined> = {
    cloned: (config) => structuredClone({ ...config }),
    'through JSON': (config) => JSON.parse(JSON.stringify(config)) as object,
    'by its entries': (config) => Object.fromEntries(Object.entries(config ?? {})),
    'taken away': () => undefined
  }
  for (const [how, copy] of Object.entries(copies)) {
    for (const inherits of [true, false]) {
      const app = start(t)
      await app.register(prism, stack())
      app.addHook('onRoute', (options) => { options.config = copy(options.config) })
      if (inherits) app.routeDefaults({ session: 'required' })
      route(app, inherits ? {} : { session: 'required' })
      await t.rejects(async () => await app.ready(), refusal(/GET \/route has (a config that a hook replaced|config\.session, but a hook changed it)/), `${how}${inherits ? ', with a default of its scope' : ''}`)
    }
  }

  const app = start(t)
  await app.register(prism, stack())
  app.addHook('onRoute', (options) => { options.config = { ...options.config, own: true } as object })
  route(app, { session: 'required' })
  t.equal((await app.inject('/route')).statusCode, 401, 'a copy with its symbols')
})

t.test('route config with a misspelled key is rejected at start, and a similar key is logged as a warning', async (t) => {
  for (const key of ['Session', 'sessions', 'SESSION', 'ses-sion', 'Cache', 'caches', 'CACHES', 'rate_limit', 'rate-limit', 'ratelimit', 'RateLimit', 'rateLimits', 'rate limits', 'rate.limit', 'rates_limit']) {
    const app = start(t)
    await app.register(prism, stack())
    route(app, { [key]: 'required' })
    await t.rejects(async () => await app.ready(), refusal(/GET \/route has config\..*, which is not read: the key is (session|cache|rateLimit)/), key)
  }

  const app = start(t)
  await app.register(prism, stack())
  const near = ['sesion', 'sesssion', 'sessoin', 'cahce', 'chache', 'ratelimt', 'rateLimiter']
  const others = ['version', 'case', 'each', 'mission', 'passion', 'page', 'auth', 'limit', 'url', 'constructor', 'toString']
  for (const key of [...near, ...others]) route(app, { [key]: true }, `/${key}`)
  await app.ready()

  const { keys } = JSON.parse(app.lines.find((line) => line.includes('look like')) ?? '{}') as { keys: string[] }
  t.same(keys.map((text) => /config\.(\w+)/.exec(text)?.[1]), near)
})

t.test('route config rateLimit belongs to @fastify/rate-limit where that is registered', async (t) => {
  const app = start(t)
  await app.register(prism, stack({ rateLimit: false }))
  await app.register(foreignLimit, { global: false })
  route(app, { rateLimit: { max: 1, timeWindow: 60_000 } })
  await app.ready()

  t.same([await app.inject('/route'), await app.inject('/route')].map(({ statusCode }) => statusCode), [200, 429])

  const other = start(t)
  await other.register(prism, stack({ rateLimit: false }))
  await other.register(async (scope) => { await scope.register(foreignLimit, { global: false }) })
  route(other, { rateLimit: { max: 1 } })
  await t.rejects(async () => await other.ready(), refusal(/config\.rateLimit/), 'in another scope it reads nothing of this route')
})

t.test('a route in a child scope that was opened before the stack is served, whatever features it uses', async (t) => {
  const app = start(t)
  await app.register(async (scope) => {
    // A scope with its own decorators has its own request class.
    scope.decorateRequest('own', null)
    scope.get('/plain', open)
    scope.get('/session', async (request) => [request.session.state, request.rateLimit.length])
    scope.post('/sign-in', async (request) => { await request.session.signIn('ann'); return request.session.userId })
    scope.get('/throws', async () => { throw new Error('expected failure') })
  }, { prefix: '/child' })
  await app.register(prism, stack({ rateLimit: { quota: 6 } }))
  await app.ready()

  t.equal((await app.inject('/child/plain')).statusCode, 200)
  t.same((await app.inject('/child/session')).json(), ['anonymous', 1])
  const { statusCode, body, cookies: [cookie] } = await app.inject({ method: 'POST', url: '/child/sign-in' })
  t.same([statusCode, body], [200, 'ann'])
  t.same((await app.inject({ url: '/child/session', headers: { cookie: `${cookie?.name}=${cookie?.value}` } })).json(), ['live', 1])
  t.match((await app.inject('/child/throws')).json(), { statusCode: 500, message: 'expected failure' })
  t.equal((await app.inject('/child/nowhere')).statusCode, 404)
  t.equal((await app.inject('/child/plain')).statusCode, 429)
})

t.test('a route whose config was never seen fails closed at the first hook', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, '../support/late-import.ts'), url])

  t.same(JSON.parse(stdout), { '/required': 500, '/misspelt': 500, '/cached': 500, '/off': 200, '/plain': 200, '/scope/required': 500, '/late': 401, '/nowhere': 404 })
})

t.test('route option beside config is refused at start, and cache in the config of a route that has no GET', async (t) => {
  for (const [key, value] of [['cache', true], ['cache', { ttl: '5m' }], ['session', 'required'], ['rateLimit', { quota: 1, window: '1m' }]] as const) {
    const app = start(t)
    await app.register(prism, stack())
    app.get('/route', { [key]: value }, open)
    await t.rejects(async () => await app.ready(), refusal(new RegExp(`GET /route has ${key} beside config, where it is not read: write it as config: \\{ ${key} \\}`)), key)
  }
  for (const method of ['POST', 'PUT', 'DELETE', ['POST', 'PATCH'], 'OPTIONS']) {
    const app = start(t)
    await app.register(prism, stack())
    t.throws(() => app.route({ method: method as 'POST', url: '/route', config: { cache: true }, handler: open }), refusal(/\/route has config\.cache, but only responses to GET and HEAD are cached/), String(method))
  }

  const app = start(t)
  await app.register(prism, stack())
  app.routeDefaults({ cache: true })
  app.post('/inherited', open)
  app.post('/not', { config: { cache: false } }, open)
  app.route({ method: ['GET', 'POST'], url: '/both', config: { cache: true }, handler: open })
  const other = start(t)
  other.get('/route', { cache: true } as object, open)
  await Promise.all([app.ready(), other.ready()])
})
