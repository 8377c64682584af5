import type { AddressInfo, Socket } from 'node:net'
import { connect } from 'node:net'
import websocket from '@fastify/websocket'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import tap, { test } from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import { commandTimeout } from '../support/deadline.ts'
import { buildTestApp, testSecret } from '../support/app.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

/** Registers the parts of an app in a certain order. */
type Order = (app: FastifyInstance, parts: Record<'stack' | 'upgrades' | 'guard' | 'routes', (scope: FastifyInstance) => unknown>) => Promise<unknown>

const orders: Record<string, Order> = {
  'the stack before @fastify/websocket': async (app, { stack, upgrades, guard, routes }) => { await stack(app); await upgrades(app); guard(app); routes(app) },
  '@fastify/websocket before the stack': async (app, { stack, upgrades, guard, routes }) => { await upgrades(app); await stack(app); guard(app); routes(app) },
  'a guard before both': async (app, { stack, upgrades, guard, routes }) => { guard(app); await stack(app); await upgrades(app); routes(app) },
  '@fastify/websocket in a scope of its own': async (app, { stack, upgrades, guard, routes }) => {
    await stack(app)
    guard(app)
    await app.register(async (scope) => { await upgrades(scope); routes(scope) })
  },
  'the stack in a scope of its own': async (app, { stack, upgrades, guard, routes }) => {
    await upgrades(app)
    guard(app)
    await app.register(async (scope) => { await stack(scope); routes(scope) })
  }
}

const refusals: [path: string, status: number][] = [
  ['/%zz', 400], ['/invalid', 400], ['/required', 401], ['/guarded?by=403', 403], ['/nowhere', 404], ['/guarded?by=410', 410], ['/quota', 429],
  ['/guarded?by=500', 500], ['/guarded?by=503', 503], ['/hijacked', 418]
]

tap.setTimeout(300_000)

function guard (app: FastifyInstance): void {
  app.addHook('onRequest', async (request) => {
    const { by } = request.query as { by?: string }
    if (by !== undefined) throw Object.assign(new Error('refused by a hook'), { statusCode: Number(by) })
  })
  app.addHook('onRequest', async (request, reply) => {
    if (!request.url.startsWith('/hijacked')) return
    reply.hijack()
    reply.raw.writeHead(418).end('teapot')
  })
  app.setErrorHandler((error: { statusCode?: number }, _request, reply) => reply.code(error.statusCode ?? 500).send('refused by an error handler'))
}

function routes (app: FastifyInstance): void {
  const greet = (socket: { send (text: string): void }) => { socket.send('hello') }
  app.get('/open', { websocket: true }, greet)
  app.get('/required', { websocket: true, config: { session: 'required' } }, greet)
  app.get('/invalid', { websocket: true, schema: { querystring: { type: 'object', required: ['n'] } } }, greet)
  app.get('/guarded', { websocket: true }, greet)
  app.get('/hijacked', { websocket: true }, greet)
  app.get('/quota', { websocket: true, config: { rateLimit: { quota: 1 } } }, greet)
  app.get('/closed', { websocket: true, config: { rateLimit: { quota: 5, failureMode: 'closed' } } }, greet)
  app.get('/page', async () => 'page')
  app.get('/slow', async () => await new Promise((resolve) => { setTimeout(resolve, 50, 'slow') }))
}

async function startApp (t: Test, order: Order, redis?: { url: string }): Promise<FastifyInstance> {
  const { url } = redis ?? await startRedisProcess(t)
  const app = fastify()
  t.after(() => app.close())
  await order(app, {
    stack: (scope) => scope.register(prism, { redis: { url, commandTimeout }, session: { secrets: [testSecret] }, rateLimit: { quota: 1000, concurrency: 20 } }),
    upgrades: (scope) => scope.register(websocket),
    guard,
    routes
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

/** Requests an upgrade after the requests `ahead` in the same write, and never closes its side itself. */
async function requestUpgrade (t: Test, app: FastifyInstance, path: string, fields = '', ahead = ''): Promise<{ status: number, socket: Socket }> {
  const { port } = app.server.address() as AddressInfo
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // seen by its close
  socket.write(`${ahead}GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${fields}\r\n`)
  let head = ''
  socket.on('data', (text) => { head += String(text) })
  await until(() => head.includes('\r\n'), { what: `a response at ${path}` })
  return { status: Number(head.slice(9, 12)), socket }
}

function connectionsOf ({ server }: FastifyInstance): Promise<number> {
  return new Promise((resolve, reject) => server.getConnections((error, count) => error === null ? resolve(count) : reject(error)))
}

for (const [name, order] of Object.entries(orders)) {
  test(`rejected upgrades leave no connection and hold no slot, with ${name}`, { timeout: 300_000 }, async (t) => {
    const app = await startApp(t, order)
    const accepted = await requestUpgrade(t, app, '/open')

    const first = await requestUpgrade(t, app, '/quota')
    first.socket.destroy()
    for (const [path, status] of refusals) t.equal((await requestUpgrade(t, app, path)).status, status, path)
    await until(async () => await connectionsOf(app) === 1, { what: 'the accepted connection alone is left' })
    for (let n = 0; n < 30; n++) await requestUpgrade(t, app, '/guarded?by=401')
    await until(async () => await connectionsOf(app) === 1, { what: 'the accepted connection alone is left' })

    t.equal(accepted.status, 101)
    t.equal(accepted.socket.closed, false, 'an accepted upgrade stays open')
    await until(async () => (await app.inject('/page')).statusCode === 200, { what: 'a slot is free' })
    accepted.socket.destroy()
  })
}

for (const [name, order] of Object.entries(orders)) {
  test(`pipelined rejected upgrades close their sockets after the earlier responses, with ${name}`, { timeout: 300_000 }, async (t) => {
    const app = await startApp(t, order)
    const [page, slow] = ['/page', '/slow'].map((path) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`) as [string, string]
    // An upgrade after a request without a response is rejected even if its route accepts upgrades.
    for (const [ahead, path] of [[page, '/required'], [slow, '/required'], [slow + slow, '/required'], [slow, '/open'], [slow, '/nowhere'], [slow, '/%zz']] as const) {
      const { status, socket } = await requestUpgrade(t, app, path, '', ahead)
      t.equal(status, 200, `the response ahead of ${path}`)
      await until(() => socket.readableEnded, { what: `the end of the connection that requested ${path}` })
    }
    await until(async () => await connectionsOf(app) === 0, { what: 'no connection is left, though the clients keep theirs open' })
    t.equal((await requestUpgrade(t, app, '/open')).status, 101, 'an upgrade alone is accepted')
  })
}

test('rejected upgrades leave no connection during a Redis outage', async (t) => {
  const redis = await startRedisProcess(t)
  const app = await startApp(t, orders['the stack before @fastify/websocket'] as Order, redis)
  await redis.kill()

  for (let n = 0; n < 10; n++) t.equal((await requestUpgrade(t, app, '/closed')).status, 503)
  await until(async () => await connectionsOf(app) === 0, { what: 'no connection is left' })
})

test('rejected upgrades do not delay the close of the app, even if clients keep their side open', async (t) => {
  const app = await startApp(t, orders['the stack before @fastify/websocket'] as Order)
  for (let n = 0; n < 20; n++) await requestUpgrade(t, app, '/required')

  await app.close()

  t.equal(app.server.listening, false)
})

test('rejected upgrades close their sockets if the app rejects them while it closes', async (t) => {
  const app = await startApp(t, async (app, parts) => {
    await orders['the stack before @fastify/websocket']?.(app, parts)
    app.addHook('preClose', async () => { refused = await requestUpgrade(t, app, '/open').catch(() => undefined) })
  })
  let refused: { status: number, socket: Socket } | undefined

  await app.close()

  t.not(refused?.status, 101)
})

test('the socket of a rejected upgrade is destroyed if its client does not read', { timeout: 300_000 }, async (t) => {
  const app = await startApp(t, async (app, parts) => {
    app.setErrorHandler((_error, _request, reply) => reply.code(400).send('x'.repeat(50_000_000)))
    await orders['the stack before @fastify/websocket']?.(app, { ...parts, guard: () => {} })
  })
  const { port } = app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // the server's connection count shows it
  socket.pause()
  socket.write('GET /invalid HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await until(async () => await connectionsOf(app) === 1, { what: 'the client is connected' })

  await until(async () => await connectionsOf(app) === 0, { what: 'the socket is destroyed' })

  t.pass()
})

test('an injected request sees a rejected upgrade as a plain response', async (t) => {
  const app = await startApp(t, orders['the stack before @fastify/websocket'] as Order)

  await t.rejects(app.injectWS('/required'), /401/)
  const socket = await app.injectWS('/quota')
  await t.rejects(app.injectWS('/quota'), /429/)
  socket.terminate()
})

test('rejected upgrades of the service leave no connection', { timeout: 300_000 }, async (t) => {
  const app = await buildTestApp(t)
  await app.listen({ port: 0, host: '127.0.0.1' })

  for (let n = 0; n < 50; n++) await requestUpgrade(t, app, '/live', 'Origin: null\r\n')
  t.equal((await requestUpgrade(t, app, '/live?topic=%00', 'Host: other\r\n')).status, 400)
  await until(async () => await connectionsOf(app) === 0, { what: 'no connection is left' })

  await app.close()
  t.equal(app.server.listening, false)
})
