import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import prism from '../../plugins/index.ts'
import live from '../../plugins/live.ts'
import type { LiveOptions } from '../../plugins/live.ts'
import metrics from '../../plugins/metrics.ts'
import { commandTimeout } from '../support/deadline.ts'
import { testSecret } from '../support/app.ts'
import { followSocket } from '../support/live.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

const redis = await startRedis(t)

/** An app with live connections, in a scope with a prefix where one is given. */
async function startApp (t: Test, { prefix, hasWebSockets = false, perMessageDeflate = false, ...options }: LiveOptions & { prefix?: string, hasWebSockets?: boolean, perMessageDeflate?: boolean } = {}): Promise<{ app: FastifyInstance, origin: string }> {
  const app = Fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  if (hasWebSockets) await app.register(websocket, { options: { perMessageDeflate } })
  await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: { secrets: [testSecret] } })
  if (prefix === undefined) await app.register(live, options)
  else await app.register(async (scope) => { await scope.register(live, options) }, { prefix })
  if (hasWebSockets) app.get('/own', { websocket: true }, (socket) => { socket.send('own') })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await until(() => app.redisPool.state === 'ready', { what: 'a connection to Redis' })
  return { app, origin: app.listeningOrigin }
}

/** Status of a request for an event stream that ends at once. */
async function statusOfStream (url: string): Promise<number> {
  const response = await fetch(`${url}?topic=events`)
  await response.body?.cancel()
  return response.status
}

async function subscribes (url: string): Promise<boolean> {
  const client = followSocket(new WebSocket(url.replace('http', 'ws')))
  await until(() => client.socket.readyState === WebSocket.OPEN, { what: `an open WebSocket at ${url}` })
  client.say({ type: 'subscribe', topic: 'events' })
  const { topic } = await client.next('subscribed')
  client.socket.terminate()
  return topic === 'events'
}

const cases: Record<string, { prefix?: string, paths?: LiveOptions['paths'], urls: [websocket: string, stream: string, client: string] }> = {
  'at chosen paths': { paths: { websocket: '/ws', stream: '/sse', client: '/assets/client.mjs' }, urls: ['/ws', '/sse', '/assets/client.mjs'] },
  'at some chosen paths': { paths: { stream: '/sse' }, urls: ['/live', '/sse', '/live.js'] },
  'below the prefix of a scope': { prefix: '/api', urls: ['/api/live', '/api/events', '/api/live.js'] },
  'at chosen paths below a prefix': { prefix: '/api/v1', paths: { websocket: '/ws', client: '/ws.js' }, urls: ['/api/v1/ws', '/api/v1/events', '/api/v1/ws.js'] }
}

for (const [name, { prefix, paths, urls: [socketUrl, streamUrl, clientUrl] }] of Object.entries(cases)) {
  t.test(`live connections are served ${name}, and the client module connects there`, async (t) => {
    const { app, origin } = await startApp(t, { ...(prefix === undefined ? {} : { prefix }), ...(paths === undefined ? {} : { paths }) })

    t.ok(await subscribes(origin + socketUrl))
    t.equal(await statusOfStream(origin + streamUrl), 200)
    const { body } = await app.inject(clientUrl)
    t.match(body, `connect (url = "${socketUrl}")`)
    const others = ['/live', '/events', '/live.js'].filter((url) => ![socketUrl, streamUrl, clientUrl].includes(url))
    for (const url of others) t.equal((await app.inject(url)).statusCode, 404, url)
  })
}

t.test('an event stream at a chosen path tells its client to reconnect while Redis is unavailable or the quota is exceeded', async (t) => {
  const { app, origin } = await startApp(t, { paths: { stream: '/sse' }, connectionsPerAddress: 1 })
  const open = await fetch(`${origin}/sse?topic=events`)
  const rejected = await fetch(`${origin}/sse?topic=events`, { headers: { accept: 'text/event-stream' } })

  t.equal(rejected.status, 200)
  t.match(await rejected.text(), /^retry: \d+/)
  t.equal((await fetch(`${origin}/sse?topic=events`)).status, 429)
  await open.body?.cancel()
  await app.close()
})

t.test('live connections use the WebSocket plugin that the app has registered, beside the routes of the app', async (t) => {
  const { origin } = await startApp(t, { hasWebSockets: true })

  t.ok(await subscribes(`${origin}/live`))
  const own = new WebSocket(`${origin.replace('http', 'ws')}/own`)
  const text = await new Promise((resolve) => own.once('message', (data) => resolve(String(data))))
  t.equal(text, 'own')
  own.terminate()
})

t.test('events keep their order where the WebSocket plugin of the app compresses', async (t) => {
  const { app, origin } = await startApp(t, { hasWebSockets: true, perMessageDeflate: true })
  const client = followSocket(new WebSocket(`${origin.replace('http', 'ws')}/live`))
  await until(() => client.socket.readyState === WebSocket.OPEN, { what: 'an open WebSocket' })
  t.equal(client.socket.extensions, 'permessage-deflate')
  client.say({ type: 'subscribe', topic: 'events' })
  await client.next('subscribed')

  // ws compresses events above 1 KiB, which takes time, and no smaller ones.
  const ids = await Promise.all(Array.from({ length: 40 }, (_, n) => app.events.publish('events', { type: 'n', data: 'x'.repeat(n % 2 * 8000) })))
  const received: unknown[] = []
  while (received.length < ids.length) received.push((await client.next('event')).event?.id)

  t.same(received, ids)
  client.socket.terminate()
})

t.test('metrics are served at a chosen path, on the app\'s port and on the separate one', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: false })
  await app.register(metrics, { path: '/internal/metrics', port: 0, host: '127.0.0.1' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await until(() => app.metrics.port !== undefined, { what: 'the metrics port' })

  t.match((await app.inject('/internal/metrics')).body, /^prism_build_info/m)
  t.equal((await app.inject('/metrics')).statusCode, 404)
  const separate = await fetch(`http://127.0.0.1:${app.metrics.port}/internal/metrics`)
  t.match(await separate.text(), /^prism_build_info/m)
  t.equal((await fetch(`http://127.0.0.1:${app.metrics.port}/metrics`)).status, 404)
})

t.test('a wrong or unknown option of the metrics is rejected by name', async (t) => {
  const wrong: [options: object, option: string][] = [[{ path: 'metrics' }, 'metrics.path'], [{ path: '/:any' }, 'metrics.path'], [{ route: '/metrics' }, 'metrics.route'], [{ every: 5 }, 'metrics.every']]

  for (const [options, option] of wrong) {
    const app = Fastify()
    await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: false })
    await t.rejects(async () => { await app.register(metrics, options) }, { code: 'PRISM_ERR_OPTION', message: new RegExp(option) }, option)
    await app.close().catch(() => {}) // its start has failed
  }
})

t.end() // the running Redis would keep the process alive
