import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import websocket from '@fastify/websocket'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

const origin = 'https://spa.example'
const secrets = ['a secret of the tests: 32 or more']
const neighbours: Record<string, (app: FastifyInstance) => unknown> = {
  '@fastify/cors': (app) => app.register(cors, { origin: [origin], credentials: true }),
  '@fastify/helmet': (app) => app.register(helmet),
  '@fastify/websocket': (app) => app.register(websocket),
  '@fastify/under-pressure': (app) => app.register(fp(async () => {}, { name: '@fastify/under-pressure' })),
  '@fastify/request-context': (app) => app.register(fp(async () => {}, { name: '@fastify/request-context' })),
  '@fastify/otel': (app) => app.register(fp(async () => {}, { name: '@fastify/otel' }))
}

interface App { app: FastifyInstance, warnings: { level: number, msg: string, plugin?: string, routes?: string[] }[] }

async function appOf (t: Test, before: string[], after: string[], routes: (app: FastifyInstance) => unknown = pages): Promise<App> {
  const { url } = await startRedisProcess(t)
  const warnings: App['warnings'] = []
  const app: FastifyInstance = fastify({ logger: { level: 'warn', stream: { write: (line: string) => { if (!/evict/.test(line)) warnings.push(JSON.parse(line)) } } } })
  t.after(() => app.close())
  for (const name of before) await neighbours[name]?.(app)
  await app.register(prism, { redis: { url, commandTimeout }, session: { secrets }, rateLimit: { quota: 4 } })
  for (const name of after) await neighbours[name]?.(app)
  await routes(app)
  await app.ready()
  await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
  return { app, warnings }
}

function pages (app: FastifyInstance): void {
  app.get('/page', async () => 'page')
  app.get('/members', { config: { session: 'required' } }, async () => 'members')
  app.all('/all', { config: { session: 'required' } }, async () => 'secret')
  app.all('/any', async () => 'any')
  app.get('/fails', async () => { throw Object.assign(new Error('busy'), { statusCode: 503 }) })
}

const preflight = async (app: FastifyInstance, url: string) => await app.inject({ method: 'OPTIONS', url, headers: { origin, 'access-control-request-method': 'PUT' } })

t.test('in the documented order rejections carry CORS and security headers, and no warning is logged', async (t) => {
  const { app, warnings } = await appOf(t, Object.keys(neighbours), [])
  for (const [url, status] of [['/members', 401], ['/fails', 503], ['/page', 200], ['/page', 200], ['/page', 429]] as const) {
    t.match(await app.inject({ url, headers: { origin } }), { statusCode: status, headers: { 'access-control-allow-origin': origin, 'x-content-type-options': 'nosniff' } }, url)
  }
  const foreign = await app.inject({ method: 'POST', url: '/any', headers: { origin: 'null' }, remoteAddress: '192.0.2.7' })
  t.match(foreign, { headers: { 'x-content-type-options': 'nosniff', vary: /Origin/ } })
  t.equal(foreign.statusCode, 403)
  t.same(warnings.filter(({ level }) => level === 40), [])
})

t.test('preflights are neither counted nor rejected, whether cors is registered before the stack, after it, or not at all', async (t) => {
  for (const [before, after, status] of [[['@fastify/cors'], [], 204], [[], ['@fastify/cors'], 204], [[], [], 404]] as const) {
    const { app } = await appOf(t, [...before], [...after])
    for (let round = 0; round < 6; round++) t.equal((await preflight(app, '/page')).statusCode, status)
    if (status === 204) for (let round = 0; round < 6; round++) t.equal((await preflight(app, '/all')).statusCode, 204, 'of a route that requires a session')
    t.equal((await app.inject('/page')).statusCode, 200)
    for (let round = 0; round < 5; round++) await app.inject('/page')
    t.equal((await preflight(app, '/page')).statusCode, status, 'of a client over its quota')
  }
})

t.test('a request with the headers of a preflight evades neither a session nor a quota of a route that serves OPTIONS', async (t) => {
  const { app } = await appOf(t, [], [], (app) => {
    pages(app)
    app.options('/limited', { config: { rateLimit: { quota: 1 } } }, async () => 'limited')
    app.options('/own', async (_request, reply) => await reply.code(204).send())
  })
  t.equal((await preflight(app, '/all')).statusCode, 401)
  t.same([(await preflight(app, '/limited')).statusCode, (await preflight(app, '/limited')).statusCode], [200, 429])
  for (let round = 0; round < 6; round++) t.equal((await preflight(app, '/own')).statusCode, 204, "the app's own response to preflights")
  const seen: number[] = []
  for (let round = 0; round < 5; round++) seen.push((await preflight(app, '/any')).statusCode)
  t.ok(seen.includes(429), String(seen))
})

t.test('OPTIONS without both headers of a preflight is counted as every request', async (t) => {
  const partial = [{}, { origin }, { 'access-control-request-method': 'PUT' }]
  for (const [url, status] of [['/own', 204], ['/any', 200], ['/page', 404], ['/nowhere', 404]] as const) {
    const { app } = await appOf(t, [], [], (app) => {
      pages(app)
      app.options('/own', async (_request, reply) => await reply.code(204).send())
    })
    for (const [index, headers] of partial.entries()) {
      const seen: number[] = []
      for (let round = 0; round < 5; round++) seen.push((await app.inject({ method: 'OPTIONS', url, headers, remoteAddress: `192.0.2.${index}` })).statusCode)
      t.same(seen, [status, status, status, status, 429], `${url} ${Object.keys(headers).join()}`)
    }
  }
})

t.test('a plugin that is registered after the stack but belongs before it causes a warning that names the line to move', async (t) => {
  for (const plugin of Object.keys(neighbours)) {
    const { warnings } = await appOf(t, [], [plugin])
    t.match(warnings, [{ plugin, msg: /Move app\.register\(\S+, …\) before app\.register\(prism, …\)/ }])
    t.equal(warnings.length, 1, plugin)
  }
  const inScope = await appOf(t, [], [], async (app) => await app.register(async (scope) => {
    await scope.register(cors)
    await scope.register(websocket)
    scope.get('/page', async () => 'page')
  }))
  t.same(inScope.warnings.map(({ plugin }) => plugin), ['@fastify/cors'], 'websocket in a scope of its own loses nothing')
})

t.test('the warning about routes declared before the stack names only those that lose something', async (t) => {
  const { url } = await startRedisProcess(t)
  const lines: App['warnings'] = []
  const app = fastify({ logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  t.after(() => app.close())
  await app.register(cors)
  await app.register(websocket)
  app.get('/files/*', { schema: { hide: true } }, async () => 'as @fastify/static')
  app.get('/socket', { websocket: true }, () => {})
  app.get('/early', async () => 1)
  app.post('/hidden', { schema: { hide: true } }, async () => 1)
  await app.register(prism, { redis: { url, commandTimeout }, session: { secrets } })

  t.same(lines.find(({ routes }) => routes !== undefined)?.routes, ['/early (GET, HEAD)', '/hidden (POST)'])
})
