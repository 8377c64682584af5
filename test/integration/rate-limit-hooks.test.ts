import fastify from 'fastify'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import type { RateLimitOptions } from '../../plugins/rate-limit.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'
import { atRest, countWrites } from '../support/writes.ts'

const secrets = ['a secret of the tests: 32 or more']
const userOf = (request: FastifyRequest) => (request as { user?: string }).user
type Auth = 'onRequest' | 'preValidation' | 'preHandler' | 'route'

/** What an app's own authentication does: it sets `request.user`, and refuses a wrong token. */
async function authenticate (request: FastifyRequest): Promise<void> {
  const user = request.headers['x-user'] as string | undefined
  if (user === 'forged') throw Object.assign(new Error('forged'), { statusCode: 401 })
  Object.assign(request, { user })
}

interface App { app: FastifyInstance, port: number, warnings: { msg: string, quota?: string, err?: unknown }[] }

async function appOf (t: Test, rateLimit: RateLimitOptions, auth: Auth = 'onRequest', routes: (app: FastifyInstance) => void = page): Promise<App> {
  const server = await startRedisProcess(t)
  const warnings: App['warnings'] = []
  const app: FastifyInstance = fastify({ logger: { level: 'warn', stream: { write: (line: string) => { if (/rateLimit/.test(line)) warnings.push(JSON.parse(line)) } } } })
  t.after(() => app.close())
  await app.register(prism, { redis: { url: server.url, commandTimeout }, session: { secrets }, rateLimit, events: false })
  if (auth !== 'route') app.addHook(auth, authenticate)
  routes(app)
  await app.ready()
  await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
  return { app, port: server.port, warnings }
}

function page (app: FastifyInstance): void {
  app.get('/', async () => 'page')
  app.get('/guarded', { preHandler: authenticate }, async () => 'guarded')
  app.get('/cached', { config: { cache: { ttl: '5m', partition: userOf } } }, async () => 'cached')
}

async function statuses (app: FastifyInstance, users: (string | undefined)[], url = '/'): Promise<number[]> {
  const seen: number[] = []
  for (const user of users) seen.push((await app.inject({ url, headers: user === undefined ? {} : { 'x-user': user } })).statusCode)
  return seen
}

const userSequence = ['alice', 'alice', 'bob', 'alice', 'bob', 'bob', undefined]
const expected = [200, 200, 200, 429, 200, 429, 200]

t.test('a quota of preHandler counts by what any hook of the app has set, on plain, cached and unknown URLs', async (t) => {
  for (const auth of ['onRequest', 'preValidation', 'preHandler'] as const) {
    for (const url of ['/', '/cached']) {
      const { app, warnings } = await appOf(t, { quota: 2, hook: 'preHandler', by: userOf }, auth)
      t.same(await statuses(app, userSequence, url), expected, `${auth} ${url}`)
      t.same(warnings, [])
    }
  }
  const { app } = await appOf(t, { quota: 2, hook: 'preHandler', by: userOf }, 'route')
  t.same(await statuses(app, userSequence, '/guarded'), expected, 'a hook of the route')
  const lost = await appOf(t, { quota: 2, hook: 'preHandler', by: userOf })
  t.same(await statuses(lost.app, userSequence, '/nowhere'), expected.map((status) => status === 200 ? 404 : status), 'without a route')
})

/** Ways in which plugins that are registered after the stack add a guard to each route. */
const guards: Record<string, (route: RouteOptions) => void> = {
  'a new list': (route) => { route.preHandler = [...[route.preHandler ?? []].flat(), authenticate] },
  'a list that is added to': (route) => {
    if (Array.isArray(route.preHandler)) route.preHandler.push(authenticate)
    else route.preHandler = authenticate
  },
  'one function in place of the list': (route) => { route.preHandler = authenticate }
}

t.test('a quota of preHandler counts by what a guard sets that a later plugin adds to each route', async (t) => {
  for (const [name, guard] of Object.entries(guards)) {
    for (const url of ['/', '/cached']) {
      const { app, warnings } = await appOf(t, { quota: 2, hook: 'preHandler', by: userOf }, 'route', (app) => {
        app.addHook('onRoute', guard)
        page(app)
      })
      t.same(await statuses(app, userSequence, url), expected, `${name} ${url}`)
      t.same(warnings, [])
    }
  }
})

t.test('a request that is refused before preHandler consumes nothing of a quota of preHandler', async (t) => {
  const { app } = await appOf(t, { quota: 2, hook: 'preHandler', by: userOf })

  t.same(await statuses(app, ['forged', 'forged', 'forged', 'alice', 'alice', 'alice']), [401, 401, 401, 200, 200, 429])
})

t.test('quotas of both hooks and of the session are each counted once, and told in one field', async (t) => {
  const { app } = await appOf(t, { quota: 4 }, 'onRequest', (app) => {
    app.post('/sign-in', async (request) => { await request.session.signIn('ann'); return {} })
    app.get('/', { config: { rateLimit: [{ name: 'user', quota: 2, hook: 'preHandler', by: userOf }, { name: 'member', quota: 3, by: 'user', hook: 'preHandler' }, { name: 'late', quota: () => 9 }] } }, async (request) => request.rateLimit.map(({ name, remaining }) => [name, remaining]))
  })
  const cookie = String((await app.inject({ method: 'POST', url: '/sign-in', remoteAddress: '192.0.2.9' })).headers['set-cookie']).split(';')[0] ?? ''
  const send = async (user: string) => await app.inject({ url: '/', headers: { 'x-user': user, cookie } })

  const first = await send('alice')
  t.same(first.json(), [['default', 3], ['late', 8], ['user', 1], ['member', 2]])
  t.match(String(first.headers['ratelimit-policy']), /"default";q=4;w=60, "late";.*, "user";q=2;w=60, "member";q=3;w=60/)
  t.same((await send('alice')).json(), [['default', 2], ['late', 7], ['user', 0], ['member', 1]])
  t.match((await send('alice')).json(), { 'violated-policies': ['user'] }, 'what one quota refuses, no other of its hook has consumed')
  t.same((await send('bob')).json(), [['default', 0], ['late', 5], ['user', 1], ['member', 0]])
})

t.test('a slot of a concurrency limit of preHandler is released with its request', async (t) => {
  const finish: (() => void)[] = []
  const { app } = await appOf(t, { quota: 100 }, 'onRequest', (app) => {
    app.get('/', { config: { rateLimit: { concurrency: 1, hook: 'preHandler', by: userOf } } }, async (request) => request.headers['x-held'] === undefined ? 'at once' : await new Promise((resolve) => { finish.push(() => { resolve('done') }) }))
  })
  const held = app.inject({ url: '/', headers: { 'x-user': 'alice', 'x-held': '1' } })
  await until(() => finish.length > 0, { what: 'the handler runs' })
  t.same(await statuses(app, ['alice', 'bob']), [429, 200])
  finish[0]?.()
  t.equal((await held).statusCode, 200)
  t.ok(await until(async () => (await statuses(app, ['alice']))[0] === 200, { what: 'the slot is free' }))
})

t.test('a cached hit under a quota of preHandler is counted, in one write if no hook waits', async (t) => {
  const { app, port, warnings } = await appOf(t, { quota: 50, hook: 'preHandler', by: () => 'all' }, 'route', (app) => {
    app.addHook('onRequest', (request, _reply, done) => { Object.assign(request, { user: 'alice' }); done() })
    app.get('/', { config: { cache: { ttl: '5m' } } }, async () => 'page')
  })
  await until(async () => /hit/.test(String((await app.inject('/')).headers['cache-status'])), { what: 'a stored page' })
  const written = countWrites(t, port)
  await atRest(written, app.redisPool.batch)
  const before = await app.inject('/')
  const after = await app.inject('/')

  const remaining = (field: unknown) => Number(/r=(\d+)/.exec(String(field))?.[1])
  t.match(String(after.headers['cache-status']), /hit/)
  t.equal(remaining(before.headers.ratelimit) - remaining(after.headers.ratelimit), 1)
  t.equal(written.writes, 2)
  t.same(warnings, [])
})

t.test('a by function that identifies clients only after authentication causes a warning, instead of silent counting by address', async (t) => {
  for (const auth of ['onRequest', 'preValidation', 'preHandler'] as const) {
    for (const by of [userOf, async (request: FastifyRequest) => userOf(request)]) {
      const { app, warnings } = await appOf(t, { quota: 100, by }, auth)
      await statuses(app, [undefined, 'alice', 'alice', 'bob'])
      t.match(warnings, [{ quota: 'default', msg: /set hook: 'preHandler'/ }], auth)
      t.equal(warnings.length, 1)
    }
  }
})

t.test('a by function that throws in onRequest causes a 500, and a log line with the remedy', async (t) => {
  const { app, warnings } = await appOf(t, { quota: 2, by: (request) => (request as unknown as { user: { id: string } }).user.id })

  t.same(await statuses(app, ['alice', 'bob']), [500, 500])
  t.equal(warnings.filter(({ msg }) => /set hook: 'preHandler'/.test(msg)).length, 1)
})

t.test('a by function that identifies clients in onRequest, or in neither hook, causes no warning', async (t) => {
  for (const by of [(request: FastifyRequest) => request.headers['x-user'] as string | undefined, () => undefined, async () => null]) {
    const { app, warnings } = await appOf(t, { quota: 100, by })
    await statuses(app, [undefined, 'alice', undefined, 'bob'])
    t.same(warnings, [])
  }
})

t.test('a hook in which rate limits do not run is rejected at start', async (t) => {
  for (const hook of ['onSend', 'preValidation', '', null, 1]) {
    const app = fastify()
    t.after(() => app.close())
    await t.rejects(async () => await app.register(prism, { session: { secrets }, rateLimit: { hook: hook as never } }), { code: 'PRISM_ERR_OPTION', message: /rateLimit\.hook.*onRequest.*preHandler/ })
  }
})
