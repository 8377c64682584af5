import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { installPackage } from '../support/package.ts'
import { readmeModules } from '../support/readme.ts'
import { startRedis } from '../support/redis.ts'

t.setTimeout(300_000) // it builds, packs, installs and compiles
const [project, redis] = await Promise.all([installPackage(t), startRedis(t)])
const secret = 'a secret of the tests: 32 or more'
project.add('@fastify/cookie') // a user's own

/** Waits for a condition: Redis may connect after the app is ready, a response is stored after its reply, and events are delivered asynchronously. */
const until = `
    import { setTimeout as wait } from 'node:timers/promises'
    async function until (look: () => boolean | Promise<boolean>): Promise<void> {
      for (let tries = 0; tries < 1500 && !await look(); tries++) await wait(10)
    }
`

/** Programs of a user of the package. Each prints its results as JSON. */
const apps = {
  'stack.ts': `${until}
    import Fastify from 'fastify'
    import prism from 'fastify-prism'

    declare module 'fastify' {
      interface SessionData { cart: string[] }
    }

    const app = Fastify()
    await app.register(prism, {
      redis: { url: process.env.REDIS_URL, prefix: 'stack:' },
      session: { secrets: [process.env.SESSION_SECRET ?? ''] },
      cache: { ttl: '5m' },
      rateLimit: { quota: 100, window: '1m' },
      events: {}
    })
    await until(() => app.redisPool.state === 'ready')
    let loads = 0
    const load = async (id: string) => ({ id, loads: ++loads })

    await app.register(async (cities) => {
      cities.routeDefaults({ cache: { ttl: '10m', tags: ['cities'] }, rateLimit: { quota: 4 } })

      cities.get<{ Params: { id: string } }>('/:id', {
        config: { cache: { ttl: '60m', tags: (request) => [\`city:\${request.params.id}\`] } }
      }, async (request) => load(request.params.id))
    }, { prefix: '/cities' })
    app.post<{ Params: { thing: string } }>('/cart/:thing', async (request) => {
      request.session.update('cart', (cart) => [...cart ?? [], request.params.thing])
      return { cart: request.session.get('cart'), left: request.rateLimit[0]?.remaining }
    })

    const heard: unknown[] = []
    await app.events.subscribe('news', (event) => { heard.push(event.data) })
    await app.events.publish('news', { type: 'told', data: 1 })
    const first = await app.inject('/cities/1')
    await until(async () => (await app.redis.keys('stack:api:cache:GET*')).length > 0)
    const second = await app.inject('/cities/1')
    await app.cache.purge('city:1')
    const third = await app.inject('/cities/1')
    const cart = await app.inject({ method: 'POST', url: '/cart/tea' })
    const full = await app.inject({ method: 'POST', url: '/cart/milk', headers: { cookie: String(cart.headers['set-cookie']).split(';')[0] } })
    await app.inject('/cities/1')
    const refused = await app.inject('/cities/1')
    const { length }: string = await app.redis.info()
    await until(() => heard.length > 0)
    await app.close()
    console.log(JSON.stringify({
      bodies: [first, second, third].map((answer) => answer.json()), status: String(second.headers['cache-status']).includes('hit'),
      cart: full.json(), refused: refused.statusCode, code: refused.json().code, heard, hasInfo: length > 0
    }))`,
  'guest.ts': `${until}
    import cookie from '@fastify/cookie'
    import redis from '@fastify/redis'
    import Fastify from 'fastify'
    import prism from 'fastify-prism'

    const app = Fastify()
    await app.register(cookie)
    await app.register(redis, { url: process.env.REDIS_URL ?? '' })
    const own = app.redis
    app.setErrorHandler<Error & { statusCode?: number, code?: string }>((error, request, reply) => reply.code(error.statusCode ?? 500).send({ mine: error.code }))
    app.setNotFoundHandler((request, reply) => reply.code(404).send({ mine: 'nothing' }))
    await app.register(prism, { redis: { prefix: 'guest:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
    await until(() => app.redisPool.state === 'ready')
    app.get('/kept', { config: { cache: true } }, async () => ({ at: process.hrtime.bigint().toString() }))
    app.get('/mine', { config: { session: 'required' } }, async () => 1)
    app.get('/cookie', async (request, reply) => reply.setCookie('a', 'b').send({ cookies: request.cookies }))

    const once = await app.inject('/kept')
    await until(async () => (await own.keys('guest:api:cache:GET*')).length > 0)
    const again = await app.inject('/kept')
    const required = await app.inject('/mine')
    const missing = await app.inject('/nowhere')
    const jar = await app.inject({ url: '/cookie', headers: { cookie: 'x=y' } })
    const isSame = app.redis === own
    await app.close()
    console.log(JSON.stringify({
      isCached: once.body === again.body, required: [required.statusCode, required.json()], missing: [missing.statusCode, missing.json()],
      jar: [jar.headers['set-cookie'], jar.json()], isSame
    }))`,
  'session.ts': `${until}
    import Fastify from 'fastify'
    import redis from 'fastify-prism/redis'
    import session from 'fastify-prism/session'

    const app = Fastify()
    await app.register(redis, { url: process.env.REDIS_URL })
    await app.register(session, { secrets: [process.env.SESSION_SECRET ?? ''] })
    await until(() => app.redisPool.state === 'ready')
    app.post('/sign-in', async (request) => { await request.session.signIn('ada'); return {} })
    app.get('/who', { config: { session: 'required' } }, async (request) => ({ name: request.session.userId }))

    const answer = await app.inject({ method: 'POST', url: '/sign-in' })
    const who = await app.inject({ url: '/who', headers: { cookie: String(answer.headers['set-cookie']).split(';')[0] } })
    const devices = await app.sessions.devices('ada')
    await app.close()
    console.log(JSON.stringify({ who: who.json(), devices: devices.length, others: ['cache', 'events'].filter((name) => app.hasDecorator(name)) }))`,
  'cache-and-limit.ts': `${until}
    import Fastify from 'fastify'
    import cache from 'fastify-prism/cache'
    import rateLimit from 'fastify-prism/rate-limit'
    import redis from 'fastify-prism/redis'

    const app = Fastify()
    let pool = () => app.redis
    await app.register(async (scope) => {
      pool = () => scope.redis
      await scope.register(redis, { url: process.env.REDIS_URL, prefix: 'both:' })
      await scope.register(rateLimit, { quota: 2 })
      await scope.register(cache, { ttl: '1m' })
      await until(() => scope.redisPool.state === 'ready')
      scope.routeDefaults({ cache: { tags: ['all'] } })
      scope.get('/kept', async (request, reply) => { reply.tag('more'); return { at: process.hrtime.bigint().toString() } })
    }, { prefix: '/v1' })

    const first = await app.inject('/v1/kept')
    await until(async () => (await pool().keys('both:api:cache:GET*')).length > 0)
    const answers = [first, await app.inject('/v1/kept'), await app.inject('/v1/kept')]
    await app.close()
    console.log(JSON.stringify({ statuses: answers.map(({ statusCode }) => statusCode), isCached: answers[0]?.body === answers[1]?.body }))`,
  'events.ts': `${until}
    import Fastify from 'fastify'
    import events from 'fastify-prism/events'
    import redis from 'fastify-prism/redis'

    const app = Fastify()
    await app.register(redis, { url: process.env.REDIS_URL, prefix: 'events:' })
    await app.register(events)
    await until(() => app.redisPool.state === 'ready')
    const { promise, resolve } = Promise.withResolvers<unknown>()
    await app.events.subscribe('news', (event) => resolve(event.data))
    await app.events.publish('news', { type: 'told', data: { text: 'hello' } })
    const heard = await promise
    await app.close()
    console.log(JSON.stringify(heard))`,
  'entry-points.ts': `
    import type { FastifyInstance } from 'fastify'
    import prism, { errors, type RoutePolicies } from 'fastify-prism'
    import cache, { type Cache } from 'fastify-prism/cache'
    import { runCli, UsageError, type Command } from 'fastify-prism/cli'
    import events from 'fastify-prism/events'
    import live, { type LiveOptions } from 'fastify-prism/live'
    import metrics, { AdminAuth, cacheOutcomeOf, quantile, type MetricsSnapshot } from 'fastify-prism/metrics'
    import { problemFields, problemOf, problemType, writeProblem, type Problem } from 'fastify-prism/problem'
    import rateLimit, { isNetwork, resolveClientAddress } from 'fastify-prism/rate-limit'
    import redis, { addressFault, pemOf, readRedisTls, type UnreachableReason } from 'fastify-prism/redis'
    import session, { isExactOrigin } from 'fastify-prism/session'

    export const parts = { prism, cache, events, live, metrics, rateLimit, redis, session }
    export const functions = { runCli, UsageError, AdminAuth, cacheOutcomeOf, quantile, problemFields, problemOf, writeProblem, isNetwork, resolveClientAddress, addressFault, pemOf, readRedisTls, isExactOrigin }
    export const command: Command = { usage: 'hello', summary: 'greets', help: [], run: async ({ output }) => { output.tell({}, ['hello']); return 0 } }
    export const options: LiveOptions = { origins: ['https://example.com'] }
    export const policies = (app: FastifyInstance, config: unknown): RoutePolicies['cache'] => app.requestLifecycle.describe(config).cache
    export const inspect: (cache: Cache) => Cache['inspect'] = (cache) => cache.inspect
    export const reason = (app: FastifyInstance): UnreachableReason | undefined => app.redisPool.reason
    export const last = (app: FastifyInstance): MetricsSnapshot | undefined => app.metrics.history.last
    export const problem: Problem = problemOf(new errors.OriginError(), problemType)
    // @ts-expect-error a document has a code
    export const without: Problem = { type: 'about:blank' }
    console.log(JSON.stringify({
      plugins: Object.values(parts).filter((each) => typeof each === 'function').length,
      functions: Object.values(functions).filter((each) => typeof each === 'function').length,
      code: problem.code
    }))`,
  'operations.ts': `${until}
    import Fastify from 'fastify'
    import prism from 'fastify-prism'
    import live from 'fastify-prism/live'
    import metrics from 'fastify-prism/metrics'

    const app = Fastify()
    await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'operations:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
    await app.register(metrics)
    await app.register(live)
    await until(() => app.redisPool.state === 'ready')
    let described: unknown
    app.addHook('onRoute', ({ url, config }) => { if (url === '/kept/:id') described = app.requestLifecycle.describe(config) })
    app.get<{ Params: { id: string } }>('/kept/:id', { config: { cache: { ttl: '1m', tags: ['all'] } } }, async ({ params }) => params)
    const inspect = async () => await app.cache.inspect('/kept/:id', { url: '/kept/1', protocol: 'http', host: 'localhost:80', params: { id: '1' }, query: {} })

    const before = await inspect()
    const first = await app.inject('/kept/1')
    await until(async () => (await inspect()).found === 'fresh')
    const stored = await inspect()
    const { body } = await app.inject('/metrics')
    const client = await app.inject('/live.js')
    await app.close()
    console.log(JSON.stringify({
      before, stored: 'fields' in stored ? [stored.status, stored.route, stored.tags] : stored, first: first.statusCode, described,
      counts: /^prism_http_requests_total\\{[^}]*route="\\/kept\\/:id"[^}]*\\} 1$/m.test(body), client: [client.statusCode, client.body.length > 100]
    }))`,
  'alone.ts': `
    import Fastify from 'fastify'
    import session from 'fastify-prism/session'

    const app = Fastify()
    await app.register(session, { secrets: [process.env.SESSION_SECRET ?? ''] }).then(() => {}, (error: Error) => console.log(JSON.stringify(error.message)))`,
  'required.cjs': `
    const { default: prism } = require('fastify-prism')
    console.log(JSON.stringify(typeof prism))`,
  'beside.ts': `
    import rateLimit from '@fastify/rate-limit'
    import Fastify from 'fastify'
    import prism from 'fastify-prism'

    const app = Fastify()
    await app.register(rateLimit, { global: false })
    await app.register(prism, { session: false })
    app.get('/theirs', { config: { rateLimit: { max: 1 } } }, async () => 1)
    app.get('/ours', { config: { rateLimit: { quota: 30, group: 'reads' } } }, async () => 1)
    // @ts-expect-error a quota is a number
    app.get('/neither', { config: { rateLimit: { quota: 'many' } } }, async () => 1)`
}

/** Optional peers: what the entry points live and metrics need beyond the package. */
const optionalPeers = ['@fastify/websocket', 'prom-client']
const typed = Object.keys(apps).filter((name) => name.endsWith('.ts'))
const withoutThem = typed.filter((name) => !['beside.ts', 'entry-points.ts', 'operations.ts'].includes(name))

for (const [name, text] of Object.entries(apps)) project.write(name, text)
const shown = readmeModules().map((text, index) => [`readme-${index}.ts`, text] as const)
for (const [name, text] of shown) project.write(name, text)
const read = (file: string) => readFileSync(join(project.folder, 'node_modules/fastify-prism', file), 'utf8')
const run = (name: keyof typeof apps) => project.run(name, { REDIS_URL: redis.url, SESSION_SECRET: secret })

/** What a file imports, opens or augments. */
function opened (text: string): string[] {
  return [...text.matchAll(/(?:from|URL\(|module) ['"](\.[^'"]+)['"]/g)].map(([, name = '']) => name)
}

t.test('the package contains the files that its entry points reach, the Lua scripts and the documents', async (t) => {
  const { files } = project

  const folders = new Set(files.filter((file) => file.startsWith('dist/src/')).map((file) => file.split('/')[2]))
  t.same([...folders].filter((name) => !name?.includes('..')).sort(), ['cache', 'cli', 'events', 'http', 'live', 'metrics', 'rate-limit', 'redis', 'route-config', 'session', 'shared'])
  t.same(files.filter((file) => /^dist\/(service|routes|test|bench|tools|\.railway)\//.test(file)), [])
  t.same(['README.md', 'LICENSE', 'CHANGELOG.md', 'package.json'].filter((file) => !files.includes(file)), [])
  t.same(['dist/src/rate-limit/consume.lua', 'dist/src/live/heartbeat.lua', 'dist/src/live/client.js', 'dist/src/metrics/lease.lua'].filter((file) => !files.includes(file)), [])
})

t.test('the package contains each file that its code opens or imports', async (t) => {
  const { files } = project

  const missing = files.filter((file) => /^dist.*\.(js|d\.ts)$/.test(file)).flatMap((file) => opened(read(file))
    .map((name) => join(file, '..', name).replaceAll('\\', '/'))
    .filter((target) => !files.includes(target) && !files.includes(target.replace(/\.ts$/, '.d.ts'))))
  t.same(missing, [])
})

t.test('package.json lists exactly the dependencies that the code imports', async (t) => {
  const { files } = project
  const imported = new Set(files.filter((file) => file.endsWith('.js')).flatMap((file) => [...read(file).matchAll(/ from '([^.'][^']*)'/g)].map(([, name]) => name)))
  const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(read('package.json'))
  const builtIn = [...imported].filter((name) => name?.startsWith('node:'))
  t.same([...imported].filter((name) => !builtIn.includes(name) && !Object.hasOwn(peerDependencies, name ?? '')).sort(), Object.keys(dependencies).sort())
  t.same(Object.keys(peerDependencies).sort(), [...optionalPeers, 'fastify'].sort())
  t.same(Object.keys(peerDependenciesMeta).filter((name) => peerDependenciesMeta[name].optional).sort(), optionalPeers)
  t.same(optionalPeers.filter((name) => existsSync(join(project.folder, 'node_modules', name))), [], 'users do not install what they have not asked for')
})

t.test('the package has types for a strict consumer that checks declarations, and for the README\'s examples', async (t) => {
  t.equal(await project.check([...withoutThem, ...shown.map(([name]) => name)]), '')
})

t.test('the package has types for a strict consumer that skips declarations', async (t) => {
  t.equal(await project.check(withoutThem, { skipLibCheck: true }), '')
})

t.test('every entry point has types for a strict consumer under NodeNext and under bundler resolution, declarations included', async (t) => {
  for (const name of [...optionalPeers, '@types/ws']) project.add(name)
  const { exports } = JSON.parse(read('package.json'))
  const names = Object.keys(exports).filter((name) => name !== './package.json').map((name) => `'fastify-prism${name.slice(1)}'`)
  t.same(names.filter((name) => !apps['entry-points.ts'].includes(`from ${name}`)), [])

  const files = typed.filter((name) => name !== 'beside.ts')
  t.equal(await project.check(files, { skipLibCheck: false }), '')
  t.equal(await project.check(files, { skipLibCheck: false, module: 'esnext', moduleResolution: 'bundler' }), '')
})

t.test('every entry point can be imported', async (t) => {
  t.same(await run('entry-points.ts'), { plugins: 8, functions: 14, code: 'PRISM_ERR_ORIGIN' })
})

t.test('the package serves metrics and live connections, describes the policies of a route and inspects its stored response', async (t) => {
  t.same(await run('operations.ts'), {
    before: { found: 'nothing', route: '/kept/:id' },
    stored: [200, '/kept/:id', ['all']],
    first: 200,
    described: { rateLimit: [{ name: 'default', quota: 1000, unit: 'requests', windowMs: 60_000, failureMode: 'local' }], session: { use: 'optional' }, cache: { ttlMs: 60_000, tags: ['all'], partition: null } },
    counts: true,
    client: [200, true]
  })
})

t.test('the package has types that are compatible with those of @fastify/rate-limit', async (t) => {
  project.add('@fastify/rate-limit')

  t.equal(await project.check(typed), '')
  t.equal(await project.check(typed, { skipLibCheck: true }), '')
})

t.test('the package serves the whole stack', async (t) => {
  t.same(await run('stack.ts'), {
    bodies: [{ id: '1', loads: 1 }, { id: '1', loads: 1 }, { id: '1', loads: 2 }],
    status: true,
    cart: { cart: ['tea', 'milk'], left: 95 },
    refused: 429,
    code: 'PRISM_ERR_QUOTA_EXCEEDED',
    heard: [1],
    hasInfo: true
  })
})

t.test('the package works in an app with its own cookies, Redis client and handlers', async (t) => {
  t.same(await run('guest.ts'), {
    isCached: true,
    required: [401, { mine: 'PRISM_ERR_SESSION_REQUIRED' }],
    missing: [404, { mine: 'nothing' }],
    jar: ['a=b; SameSite=Lax', { cookies: { x: 'y' } }],
    isSame: true
  })
})

t.test('the package provides sessions without the rest of the stack', async (t) => {
  t.same(await run('session.ts'), { who: { name: 'ada' }, devices: 1, others: [] })
})

t.test('the package provides rate limits and the cache to one scope, in the order of their registration', async (t) => {
  t.same(await run('cache-and-limit.ts'), { statuses: [200, 200, 429], isCached: true })
})

t.test('the package provides events without the rest of the stack', async (t) => {
  t.same(await run('events.ts'), { text: 'hello' })
})

t.test('the package names the missing dependency when a plugin is registered without fastify-prism/redis', async (t) => {
  t.match(await run('alone.ts'), /dependency 'fastify-prism\/redis' of plugin 'fastify-prism\/session' is not registered/)
})

t.test('the package can be required', async (t) => {
  t.same(await run('required.cjs'), 'function')
})

t.test('the package contains the CLI', async (t) => {
  const keys = await project.run('node_modules/fastify-prism/dist/src/cli/bin.js', {}, ['keys', '--json', '--url', redis.url])

  t.type(keys, 'object')
  t.notHas(keys, { failed: String })
})

t.end() // the running Redis would keep the process alive
