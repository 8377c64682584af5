import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import fastify from 'fastify'
import type { FastifyHttpOptions, FastifyInstance, FastifyReply, FastifyRequest, RawServerDefault, RouteOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import cache from '../../plugins/cache.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'
import { reached } from '../support/wait-for-redis.ts'

type Server = FastifyHttpOptions<RawServerDefault>
type RouteConstraint = NonNullable<RouteOptions['constraints']>
type Fields = Record<string, string>

/** How a route is chosen and its key built, and the request of a client. */
interface Situation {
  server?: Server
  constraints?: RouteConstraint
  options?: object
  vary?: string[]
  url?: string
  headers?: Fields
  /** a hook in front of the stack */
  inFront?: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>
}

const tenant = {
  name: 'tenant',
  storage: () => {
    const handlers = new Map<string, unknown>()
    return { get: (value: string) => handlers.get(value) ?? null, set: (value: string, handler: unknown) => { handlers.set(value, handler) } }
  },
  validate: () => true,
  mustMatchWhenDerived: false
}
const byHeader = { ...tenant, deriveConstraint: (request: { headers: Fields }) => request.headers['x-tenant'] }
const later = { ...tenant, deriveConstraint: (request: { headers: Fields }, _context: unknown, done: (error: Error | null, value?: string) => void) => { setImmediate(() => done(null, request.headers['x-tenant'])) } }

const situations: Record<string, Situation> = {
  'behind a proxy that ends TLS': { server: { trustProxy: true }, options: { ttl: 'response' }, headers: { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'shop.example', 'x-forwarded-for': '203.0.113.7' } },
  'behind a proxy that is trusted by its address': { server: { trustProxy: '127.0.0.1' }, options: { ttl: 'response' }, headers: { 'x-forwarded-proto': 'http, https', 'x-forwarded-host': 'shop.example' } },
  'with hosts': { server: { trustProxy: true }, options: { hosts: ['a.example:8443'] }, headers: { 'x-forwarded-host': 'a.example:8443' } },
  'behind a redirect to https': { server: { trustProxy: true }, headers: { 'x-forwarded-proto': 'https' }, inFront: async ({ protocol }, reply) => protocol === 'https' ? undefined : reply.redirect('https://shop.example') },
  'with a version': { constraints: { version: '2.0.0' }, headers: { 'accept-version': '2.x' } },
  'with a host': { constraints: { host: /^a\./ }, headers: { host: 'a.example' } },
  'with a custom constraint': { server: { routerOptions: { constraints: { tenant: byHeader } } } as unknown as Server, constraints: { tenant: 'one' }, headers: { 'x-tenant': 'one' } },
  'with an asynchronous constraint': { server: { routerOptions: { constraints: { tenant: later } } } as unknown as Server, constraints: { tenant: 'one' }, headers: { 'x-tenant': 'one' } },
  'with a rewritten URL': { server: { rewriteUrl: ({ url = '' }) => url.replace(/^\/app/, '') || '/' }, url: '/app/app/page?b=2&a=1' },
  'with a URL that is rewritten by a header': { server: { rewriteUrl: ({ url = '', headers }) => `/${String(headers['x-tenant'])}${url}` }, url: '/page', headers: { 'x-tenant': 'app' } },
  'with a header that a hook sets': { vary: ['x-country'], inFront: async ({ headers, ip }) => { headers['x-country'] ??= ip } }
}

interface World { app: FastifyInstance, runs: number, seen: Fields[], responses: string[], send: () => Promise<{ body: string, status: string }> }

async function startWorld (t: Test, { server = {}, constraints = {}, options = {}, vary, url = '/app/page', headers = {}, inFront }: Situation): Promise<World> {
  const app: FastifyInstance = fastify(server)
  t.after(() => app.close())
  if (inFront !== undefined) app.addHook('onRequest', inFront)
  await app.register(redis, { url: (await startRedisProcess(t)).url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(cache)
  const client = { ...headers, cookie: 'of=client', authorization: 'Bearer client', 'x-own': 'client' }
  const world: World = {
    app,
    runs: 0,
    seen: [],
    responses: [],
    send: async () => {
      const { body, headers } = await app.inject({ url, headers: client })
      await stored(app)
      return { body, status: String(headers['cache-status']) }
    }
  }
  app.addHook('preHandler', async ({ headers }) => { world.seen.push({ ...headers } as Fields) })
  const cached = { ttl: '30s', staleWhileRevalidate: '1h', trackInputs: false, ...options, ...(vary === undefined ? {} : { vary }) }
  app.get('/app/page', { constraints, config: { cache: cached as never } }, async ({ protocol, host, hostname, port, url, originalUrl }, reply) => {
    reply.header('cache-control', 'public, max-age=30, stale-while-revalidate=3600')
    if (++world.runs === 1) reply.header('age', '60')
    world.responses.push(JSON.stringify({ protocol, host, hostname, port, url, originalUrl }))
    return `run ${world.runs}`
  })
  await app.ready()
  await reached(app)
  return world
}

for (const [name, situation] of Object.entries(situations)) {
  t.test(`a background refresh fills the key of the request that started it, ${name}`, async (t) => {
    const world = await startWorld(t, situation)
    t.equal((await world.send()).body, 'run 1')
    world.seen.length = 0
    const { body, status } = await world.send()
    t.equal(body, 'run 1')
    t.match(status, /hit; ttl=-/)
    await until(() => world.runs === 2, { what: 'the refresh runs' })
    await stored(world.app)
    t.match(await world.send(), { body: 'run 2', status: /hit; ttl=\d/ })

    t.equal(world.runs, 2)
    t.equal(world.app.cache.counts.revalidate, 1)
    t.equal(world.responses[1], world.responses[0], 'the handler sees the same scheme, host and URL')
    const [internal] = world.seen.filter(({ cookie }) => cookie === undefined)
    t.same(Object.keys(internal ?? {}).filter((name) => name !== 'host' && name !== 'user-agent'), situation.vary ?? [], 'and nothing else of the client')
  })
}

t.test('a URL that an internal request cannot have is refreshed by a request of a client, and the others of its route in the background', async (t) => {
  const app: FastifyInstance = fastify()
  t.after(() => app.close())
  await app.register(redis, { url: (await startRedisProcess(t)).url })
  await app.register(requestLifecycle)
  await app.register(cache)
  let runs = 0
  app.get('/files/*', { config: { cache: { ttl: '1ms', staleWhileRevalidate: '1h' } } }, async ({ params, query }) => ({ params, query, run: ++runs }))
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  await reached(app)
  // `fetch` and `inject` would normalize the URL.
  const send = async (path: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    get({ host: '127.0.0.1', port, path, agent: false }, resolve).on('error', reject)
    const response = await promise
    const { params, query, run } = await json(response) as Record<string, unknown>
    await stored(app)
    return { seen: { params, query }, run: Number(run) }
  }

  for (const path of ['/files/a/../b', '/files/%2e%2e/b', '/files/b?q="x"', `http://127.0.0.1:${port}/files/b`]) {
    const first = await send(path)
    await until(async () => (await send(path)).run > first.run, { what: `${path} is refreshed` })
    t.same((await send(path)).seen, first.seen, path)
  }
  t.equal(app.cache.counts.revalidate, 0)
  await send('/files/c')
  await until(async () => (await send('/files/c')).run > 0 && app.cache.counts.revalidate > 0, { what: 'another URL is refreshed in the background' })
})

t.test('a handler sees the URL before rewriteUrl as originalUrl, and is then not cached; without rewriteUrl it is', async (t) => {
  for (const [server, url, expected] of [
    [{ rewriteUrl: ({ url = '' }) => url.replace(/^\/v\d/, '') }, '/v1/page?b=2&a=1', { original: '/v1/page?b=2&a=1', runs: 2 }],
    [{}, '/page?b=2&a=1', { original: '/page?a=1&b=2', runs: 1 }]
  ] as [Server, string, { original: string, runs: number }][]) {
    const app: FastifyInstance = fastify(server)
    t.after(() => app.close())
    await app.register(redis, { url: (await startRedisProcess(t)).url, commandTimeout })
    await app.register(requestLifecycle)
    await app.register(cache)
    let runs = 0
    app.get('/page', { config: { cache: true } }, async ({ url, originalUrl }) => { runs += 1; return { url, originalUrl } })
    app.get('/', { config: { cache: true } }, async ({ url }) => ({ url }))
    await app.ready()
    await reached(app)
    for (let count = 0; count < 2; count++) {
      t.same((await app.inject(url)).json(), { url: '/page?a=1&b=2', originalUrl: expected.original })
      await stored(app)
    }
    t.equal(runs, expected.runs)
  }
})

t.end() // every test starts its own app
