import { once } from 'node:events'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { CacheChoice } from '../../plugins/cache.ts'
import { commandTimeout } from '../support/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import fastify from 'fastify'
import prism from '../../plugins/index.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'

/** The first message of a new WebSocket, or how the connection ended. */
async function firstOf (t: Test, app: FastifyInstance, path: string): Promise<string> {
  const socket = new WebSocket(`ws://127.0.0.1:${String((app.server.address() as { port: number }).port)}${path}`)
  t.after(() => { socket.terminate() })
  socket.on('error', () => {})
  const message = once(socket, 'message').then(([data]) => `message ${String(data)}`, () => 'error')
  const closed = once(socket, 'close').then(([code]) => `closed ${String(code)}`, () => 'error')
  return await Promise.race([message, closed])
}

const scopes: Readonly<Record<string, CacheChoice>> = {
  'with a ttl': { ttl: '5m' },
  'by the response': { ttl: 'response' },
  'without input tracking': { ttl: '5m', trackInputs: false },
  'with a partition': { ttl: '5m', partition: () => 'all' },
  'one handler run at a time': { ttl: '5m', maxConcurrency: 1 }
}

t.test('WebSocket routes in a cached scope work, whichever plugin is registered first, and pages beside them are cached', async (t) => {
  const { url } = await startRedisProcess(t)
  for (const order of ['behind the cache', 'in the scope']) {
    for (const [name, choice] of Object.entries(scopes)) {
      const app = await cachingApp(t, { url })
      if (order === 'behind the cache') await app.register(websocket)
      let runs = 0
      await app.register(async (scope) => {
        scope.routeDefaults({ cache: choice })
        if (order === 'in the scope') await scope.register(websocket)
        scope.get('/ws', { websocket: true }, (socket, request) => { socket.send(`at ${request.url} from ${String(request.headers.host).split(':')[0]}`) })
        scope.route({ method: 'GET', url: '/both', handler: async (_request, reply) => await reply.header('cache-control', 'max-age=60').send(`run ${++runs}`), wsHandler: (socket) => { socket.send('both') } })
      })
      await app.listen({ port: 0, host: '127.0.0.1' })
      const what = `websocket ${order}, scope ${name}`

      for (let round = 0; round < 3; round++) {
        t.equal(await firstOf(t, app, '/ws?a=1'), 'message at /ws?a=1 from 127.0.0.1', what)
        t.equal(await firstOf(t, app, '/both'), 'message both', what)
      }
      t.equal((await app.inject('/both')).body, 'run 1', what)
      await stored(app)
      t.match(await app.inject('/both'), { body: 'run 1', headers: { 'cache-status': /hit/ } }, what)
      t.equal(await firstOf(t, app, '/both'), 'message both', what)
      t.equal((await app.inject('/ws')).statusCode, 404, what)
    }
  }
})

t.test('an upgrade for a cached page is not served from the cache, and leaves the page cached', async (t) => {
  const app = await cachingApp(t)
  await app.register(websocket)
  let runs = 0
  app.get('/page', { config: { cache: { ttl: '5m' } } }, async () => `run ${++runs}`)
  await app.listen({ port: 0, host: '127.0.0.1' })

  t.match(await firstOf(t, app, '/page'), /closed/)
  t.equal((await app.inject('/page')).body, 'run 1')
  await stored(app)
  t.match(await firstOf(t, app, '/page'), /closed/)
  t.match(await app.inject('/page'), { body: 'run 1', headers: { 'cache-status': /hit/ } })
})

t.test('the documented order, websocket in front of the stack: pages are cached, WebSocket routes work, and no user sees the page of another one', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = fastify()
  t.after(() => app.close())
  await app.register(websocket)
  await app.register(prism, { redis: { url, commandTimeout }, session: { secrets: ['a secret of the tests, 32 or more'] }, cache: { debug: true } })
  await reached(app)
  let runs = 0
  app.get('/page', { config: { cache: { ttl: '5m' } } }, async () => `run ${++runs}`)
  app.get('/greeting', { config: { cache: { ttl: '5m' } } }, async (request) => `for ${request.session.userId ?? 'guests'}`)
  app.get('/ws', { websocket: true, config: { cache: { ttl: '5m' } } }, (socket) => { socket.send('hello') })
  app.get('/kind', { config: { cache: { ttl: '5m' } } }, async (request) => ({ isUpgrade: request.ws, run: ++runs }))
  app.post('/sign-in', async (request) => { await request.session.signIn('ada'); return '' })
  await app.listen({ port: 0, host: '127.0.0.1' })

  for (let round = 0; round < 2; round++) {
    t.match(await firstOf(t, app, '/page'), /closed/)
    t.equal(await firstOf(t, app, '/ws'), 'message hello')
  }
  for (const path of ['/page', '/kind']) {
    const first = await app.inject(path)
    await stored(app)
    t.match(await app.inject(path), { body: first.body, headers: { 'cache-status': /hit/ } }, String(first.headers['cache-status']))
  }
  const cookie = String((await app.inject({ method: 'POST', url: '/sign-in' })).headers['set-cookie']).split(';')[0] ?? ''
  t.equal((await app.inject({ url: '/greeting', headers: { cookie } })).body, 'for ada')
  await stored(app)
  t.equal((await app.inject('/greeting')).body, 'for guests')
})
