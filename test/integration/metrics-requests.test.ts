import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import websocket from '@fastify/websocket'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import WebSocket from 'ws'
import prism from '../../plugins/index.ts'
import metrics from '../../plugins/metrics.ts'
import type { MetricsOptions } from '../../plugins/metrics.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** An app with metrics, which `routes` completes, and its origin. */
async function started (t: Test, routes: (app: FastifyInstance) => void, { redisUrl, ...options }: MetricsOptions & { redisUrl?: string } = {}): Promise<{ app: FastifyInstance, origin: string }> {
  const app = fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  await app.register(prism, { redis: { url: redisUrl ?? (await startRedis(t)).url, commandTimeout }, session: false, cache: false, events: false, rateLimit: false })
  await app.register(metrics, { every: '100ms', ...options })
  await app.register(websocket)
  await app.register(async (scope) => routes(scope))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, origin: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}` }
}

const scrape = async (app: FastifyInstance) => await app.metrics.registry.text()
/** The values of one metric, by the text between its braces. */
async function valuesOf (app: FastifyInstance, name: string): Promise<Record<string, number>> {
  return Object.fromEntries([...(await scrape(app)).matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))].map(([, labels = '', value]) => [labels, Number(value)]))
}
const inFlight = async (app: FastifyInstance) => (await valuesOf(app, 'prism_http_in_flight_requests'))['']

t.test('the version and the commit of the app are labels of prism_build_info', async (t) => {
  const { app } = await started(t, () => {}, { build: { version: '1.2.3', commit: 'abc1234' } })

  t.same(await valuesOf(app, 'prism_build_info'), { 'version="1.2.3",commit="abc1234"': 1 })
})

t.test('requests are in flight until their response is complete or their client has disconnected', async (t) => {
  let release = () => {}
  const { app, origin } = await started(t, (app) => {
    app.get('/slow', async () => await new Promise((resolve) => { release = () => resolve('done') }))
  })
  const leaving = new AbortController()

  const left = fetch(`${origin}/slow`, { signal: leaving.signal }).catch(() => 'left')
  await until(async () => await inFlight(app) === 1, { what: 'the first request is in flight' })
  leaving.abort()
  t.equal(await left, 'left')
  await until(async () => await inFlight(app) === 0, { what: 'the request of a client that disconnected is not in flight, although its handler runs' })
  const response = fetch(`${origin}/slow`)
  await until(async () => await inFlight(app) === 1, { what: 'the second request is in flight' })
  release()
  t.equal(await (await response).text(), 'done')
  t.equal(await inFlight(app), 0)
})

t.test('injected, rejected and failed requests are not in flight after their response', async (t) => {
  const { app } = await started(t, (app) => {
    app.get('/fails', async () => { throw new Error('fails') })
    app.get('/refused', { onRequest: async (_request, reply) => await reply.code(403).send() }, async () => 'never')
  })

  for (const url of ['/fails', '/refused', '/nowhere']) await app.inject(url)
  t.equal(await inFlight(app), 0)
})

t.test('event streams and WebSockets are counted as requests at most, never in flight or as durations', async (t) => {
  const head = { 'content-type': 'text/event-stream; charset=utf-8' }
  const { app, origin } = await started(t, (app) => {
    app.get('/plain', async () => 'plain')
    app.get('/stream', async (_request, reply) => {
      return reply.type('text/event-stream').send(Readable.from((async function * () { yield 'data: 1\n\n'; await wait(300); yield 'data: 2\n\n' })()))
    })
    app.get('/hijacked', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, head).write('data: 1\n\n')
      setTimeout(() => reply.raw.end('data: 2\n\n'), 300)
    })
    app.get('/socket', { websocket: true }, (socket) => { socket.send('1') })
  })

  const socket = new WebSocket(`${origin.replace('http', 'ws')}/socket`)
  await once(socket, 'message')
  const streams = await Promise.all(['/stream', '/hijacked'].map(async (path) => await fetch(origin + path)))
  t.equal(await inFlight(app), 0, 'open streams are not in flight')
  for (const stream of streams) t.match(await stream.text(), 'data: 2')
  socket.close()
  await once(socket, 'close')
  await (await fetch(`${origin}/plain`)).text()

  const durations = await until(async () => {
    const counts = await valuesOf(app, 'prism_http_request_duration_seconds_count')
    return counts['method="GET",route="/plain"'] === 1 && counts
  }, { what: 'the plain response is counted' })
  for (const route of ['/stream', '/hijacked', '/socket']) t.notOk(durations[`method="GET",route="${route}"`], route)
  t.equal((await valuesOf(app, 'prism_http_requests_total'))['method="GET",route="/stream",status="200",cache="none"'], 1)
})

t.test('commands are counted by name and Lua script, with their errors and durations', async (t) => {
  const redis = await startRedis(t)
  const { app } = await started(t, () => {}, { redisUrl: redis.url })
  const counts = async () => await valuesOf(app, 'prism_redis_command_duration_seconds_count')
  const errors = async (labels: string) => (await valuesOf(app, 'prism_redis_command_errors_total'))[labels]
  await until(async () => (await counts())['command="info",script=""'], { what: 'INFO is counted' })

  t.ok((await counts())['command="evalsha",script="lease"'], 'a script by its name')
  await app.redis.set('text', 'x')
  t.ok((await counts())['command="set",script=""'], 'a command of the app')
  await t.rejects(app.redis.lpush('text', 'x'), /WRONGTYPE/)
  t.equal(await errors('command="lpush",script=""'), 1, 'an error reply')
  await redis.kill('SIGSTOP')
  t.after(() => redis.kill('SIGCONT'))
  await t.rejects(app.redisPool.batch.command('strlen', ['text']), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
  t.equal(await errors('command="strlen",script=""'), 1, 'a missing reply')
})

t.test('the number of command series is bounded, whatever commands an app sends', async (t) => {
  const { app } = await started(t, () => {})

  await Promise.all(Array.from({ length: 200 }, async (_, index) => await app.redisPool.batch.command(`unknown${index}`, []).catch(() => {})))
  const errors = await valuesOf(app, 'prism_redis_command_errors_total')

  t.ok(Object.keys(errors).length <= 65, `${Object.keys(errors).length} series`)
  t.ok((errors['command="other",script=""'] ?? 0) > 100)
})
