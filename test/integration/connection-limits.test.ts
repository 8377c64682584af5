import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import rateLimit from '../../plugins/standalone/rate-limit.ts'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

const server = await startRedis(t)
const plain = { session: false, cache: false, rateLimit: false, events: false } as const
const limited = { session: { secrets: ['a secret of the tests: 32 or more'] }, rateLimit: { quota: 1_000_000 } } as const

/** An app with the stack, and a count of the requests that any handler has seen. */
async function start (t: Test, options: Partial<PrismOptions>, routes: (app: FastifyInstance, count: () => void) => void, settings = {}): Promise<{ app: FastifyInstance, port: number, handled: () => number }> {
  const app = Fastify(settings)
  t.teardown(() => app.close())
  let handled = 0
  await app.register(prism, { redis: { url: server.url, commandTimeout }, ...options })
  routes(app, () => { handled += 1 })
  app.setNotFoundHandler(async () => { handled += 1; return 'none' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  return { app, port: (app.server.address() as AddressInfo).port, handled: () => handled }
}

function open (t: Test, port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  return socket.on('error', () => {}) // a reset also closes the connection
}

function requests (path: string, count: number): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(count)
}

/** Responses that a client has read: `seen()` is their number, or an error if they are out of order. */
function reading (socket: Socket): () => string[] {
  let text = ''
  socket.setEncoding('latin1').on('data', (part: string) => { text += part })
  return () => [...text.matchAll(/\r\n\r\n#(\d+);/g)].map(([, number = '']) => number)
}

const routes = {
  'a cached route': ['/cached', limited],
  'a path without a route': ['/nothing', limited],
  'a route without limits, session and cache': ['/free', limited],
  'a stack with every feature off': ['/free', plain]
} as const

for (const [name, [path, options]] of Object.entries(routes)) {
  t.test(`connection limits close a connection with more than 64 requests without a response, and run at most its first one: ${name}`, async (t) => {
    const { app, port, handled } = await start(t, options, (app, count) => {
      app.get('/cached', { config: { cache: options === plain ? undefined : { ttl: '1m' } } as object }, async () => { count(); return '#1;' })
      app.get('/free', { config: options === plain ? {} : { rateLimit: false, session: false, cache: false } }, async () => { count(); return '#1;' })
    })
    const before = app.redisPool.batch.counts.operations
    const sockets = Array.from({ length: 10 }, () => open(t, port))
    const closed = sockets.map((socket) => once(socket, 'close'))
    for (const socket of sockets) socket.write(requests(path, 1600))
    for (const socket of sockets) socket.resume()
    await Promise.all(closed)

    t.ok(handled() <= sockets.length, `${handled()} requests were handled`)
    t.ok(app.redisPool.batch.counts.operations - before <= 10 * sockets.length, `${app.redisPool.batch.counts.operations - before} operations`)
    t.equal((await fetch(`http://127.0.0.1:${port}/free`)).status, 200)
  })
}

t.test('connection limits apply in an app with a standalone plugin', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let handled = 0
  await app.register(redis, { url: server.url, commandTimeout })
  await app.register(rateLimit, { quota: 1_000_000 })
  app.get('/', async () => { handled += 1; return '' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = open(t, (app.server.address() as AddressInfo).port)
  const closed = once(socket, 'close')
  socket.write(requests('/', 1600))
  socket.resume()
  await closed

  t.ok(handled <= 1, `${handled} requests were handled`)
})

t.test('connection limits apply to undecodable paths if frameworkErrors checks them', async (t) => {
  let responseCount = 0
  const { port, handled } = await start(t, limited, (app) => { app.get('/free', async () => 'here') }, {
    frameworkErrors (error: Error, request: FastifyRequest, reply: FastifyReply) {
      if (!request.server.isWithinConnectionLimits(request, reply)) return
      responseCount += 1
      reply.code(400).send(error)
    }
  })
  const socket = open(t, port)
  const closed = once(socket, 'close')
  socket.resume().write(requests('/free', 1) + requests('/%zz', 1600))
  await closed

  t.ok(responseCount <= 63, `${responseCount} receive a response`)
  t.equal(handled(), 0)
  t.equal((await fetch(`http://127.0.0.1:${port}/%zz`)).status, 400)
})

t.test('connection limits let a client that reads have 64 requests without a response, again and again', async (t) => {
  const { port } = await start(t, limited, (app) => {
    app.get<{ Params: { n: string } }>('/:n', async ({ params }) => `#${params.n};`)
  })
  for (const ahead of [16, 64]) {
    const socket = open(t, port)
    const seen = reading(socket)
    let sent = 0
    const send = () => { for (; sent < Math.min(2000, seen().length + ahead); sent++) socket.write(requests(`/${sent}`, 1)) }
    socket.on('data', send)
    send()
    await until(() => seen().length === 2000, { what: '2,000 responses' })
    t.same(seen(), Array.from({ length: 2000 }, (_, number) => String(number)))
  }
})

t.test('connection limits serve a chunk of 64 requests in order, and close at the 65th', async (t) => {
  const { port } = await start(t, limited, (app) => {
    app.get<{ Params: { n: string } }>('/:n', async ({ params }) => `#${params.n};`)
  })
  const [all, over] = [open(t, port), open(t, port)]
  const seen = reading(all)
  all.write(Array.from({ length: 64 }, (_, number) => requests(`/${number}`, 1)).join(''))
  await until(() => seen().length === 64, { what: '64 responses' })
  t.same(seen(), Array.from({ length: 64 }, (_, number) => String(number)))

  over.resume()
  const closed = once(over, 'close')
  over.write(requests('/0', 65))
  await closed
})

t.test('connection limits close the connections with the most requests without a response when the process has more than 4,096, and no others', async (t) => {
  const held: (() => void)[] = []
  const received: IncomingMessage[] = []
  let most = 0
  const { port, handled } = await start(t, limited, (app, count) => {
    app.get<{ Params: { n: string } }>('/:n', async ({ params, raw }) => {
      count()
      received.push(raw)
      most = Math.max(most, received.filter(({ socket }) => !socket.destroyed).length)
      await new Promise<void>((resolve) => { held.push(resolve) })
      return `#${params.n};`
    })
  })
  const modest = [1, 2, 16].map((count) => ({ count, socket: open(t, port) }))
  const seen = modest.map(({ socket }) => reading(socket))
  for (const { count, socket } of modest) socket.write(requests('/1', count))
  await until(() => handled() === 19, { what: 'the requests of the small clients are handled' })

  const greedy = Array.from({ length: 80 }, () => open(t, port))
  let closed = 0
  for (const socket of greedy) socket.on('close', () => { closed += 1 }).resume()
  for (const socket of greedy) socket.write(requests('/2', 60))
  await until(() => closed > 0, { what: 'some are closed' })
  await until(() => handled() >= 19 + (80 - closed) * 60, { what: 'the requests of open connections are handled' })
  t.ok(closed < 80, `${closed} of 80 are closed`)
  t.ok(most <= 4096 + 1, `${most} requests without a response on open connections at a time`)

  await until(() => {
    for (const release of held.splice(0)) release()
    return seen.every((each, index) => each().length === modest[index]?.count)
  }, { what: 'the small clients have their responses' })
})

t.test('connection limits close a connection whose client does not read, and no other', async (t) => {
  const body = Buffer.alloc(24_000_000, 'x')
  const lines: string[] = []
  const { app, port } = await start(t, { ...limited, connections: { sendTimeout: '1s' } }, (app) => {
    app.get('/large', async () => body)
    app.get('/stream', (_request, reply) => {
      reply.hijack()
      for (let part = 0; part < 24; part++) reply.raw.write(body.subarray(0, 1_000_000))
    })
    app.get('/never', async () => await new Promise(() => {}))
    app.get('/', async () => '#1;')
  }, { logger: { level: 'warn', stream: { write: (line: string) => lines.push(line) } } })
  const connections = async () => await new Promise<number>((resolve) => { app.server.getConnections((_error, count) => { resolve(count) }) })

  const [idle, waiting, slow] = [open(t, port), open(t, port), open(t, port)]
  const seen = reading(idle)
  idle.write(requests('/', 1))
  waiting.resume().write(requests('/never', 1))
  let read = 0
  slow.on('data', (part) => {
    read += part.length
    slow.pause()
    setTimeout(() => slow.resume(), 5)
  }).write(requests('/large', 1))
  for (const path of ['/large', '/large', '/stream']) open(t, port).pause().write(requests(path, path === '/stream' ? 1 : 3))
  await until(async () => await connections() === 6, { what: 'six connections' })

  await until(async () => await connections() === 3, { what: 'those that do not read are closed' })
  await until(() => read > body.length, { what: 'the slow client has read all', deadlineMs: 60_000 })
  idle.write(requests('/', 1))
  await until(() => seen().length === 2, { what: 'the idle connection receives a response' })
  t.notOk(waiting.destroyed)
  t.match(lines.find((line) => line.includes('Connections closed')), /"unread":[123]/)
})

t.test('connection limits do not apply to HTTP/2 streams', async (t) => {
  const { app, port } = await start(t, limited, (app) => { app.get('/', async () => 'here') }, { http2: true })
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  t.teardown(() => { session.destroy() })
  const statuses = await Promise.all(Array.from({ length: 200 }, async () => {
    const [headers] = await once(session.request({ ':path': '/' }).resume(), 'response')
    return headers[':status']
  }))

  t.ok(app.server.listening)
  t.same(new Set(statuses), new Set([200]))
})

t.test('connection limits keep the async context of each pipelined request', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const context = new AsyncLocalStorage<string>()
  app.addHook('onRequest', (request, _reply, done) => { context.run(request.url.slice(1), done) })
  await app.register(prism, { redis: { url: server.url, commandTimeout }, ...limited })
  app.get('/:n', async () => `#${context.getStore()};`)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = open(t, (app.server.address() as AddressInfo).port)
  const seen = reading(socket)
  socket.write(Array.from({ length: 16 }, (_, number) => requests(`/${number}`, 1)).join(''))

  await until(() => seen().length === 16, { what: '16 responses' })
  t.same(seen(), Array.from({ length: 16 }, (_, number) => String(number)))
})

t.test('connection limits reject invalid options by name', async (t) => {
  const register = async (connections: object) => { await Fastify().register(prism, { redis: { url: server.url, commandTimeout }, ...plain, connections }) }

  for (const sendTimeout of ['soon', 30, '0s', null, false]) await t.rejects(register({ sendTimeout }), { code: 'PRISM_ERR_OPTION', message: /connections\.sendTimeout/ })
  await t.rejects(register({ sendTimout: '1s' }), { code: 'PRISM_ERR_OPTION', message: /connections\.sendTimout.*Known options: sendTimeout/ })
})

t.end() // The Redis server would otherwise keep the process alive.
