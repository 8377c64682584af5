import { once } from 'node:events'
import { Agent, get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { EventSource } from 'eventsource'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import prism from '../../plugins/index.ts'
import live from '../../plugins/live.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'
import { reached } from '../support/wait-for-redis.ts'

interface World {
  app: FastifyInstance
  url: string
  /** requests that wait in a hook of the app while its gate is closed */
  waiting: number
  gate: PromiseWithResolvers<void>
  /** closes the app, and waits for 5 s at most: Node's keep-alive timeout would be 72 s */
  close: () => Promise<void>
}

/** An app with the defaults of Fastify: on close it waits until each connection has ended. */
async function start (t: Test, drain: '50ms' | '2500ms' = '50ms'): Promise<World> {
  const { url: redisUrl } = await startRedisProcess(t)
  const app: FastifyInstance = fastify()
  let closing: Promise<unknown> | undefined
  t.after(async () => {
    app.server.closeAllConnections()
    await (closing ?? app.close())
  })
  await app.register(prism, { redis: { url: redisUrl, commandTimeout }, session: { secrets: ['a secret of the tests: 32 or more'] }, rateLimit: false })
  const gate = Promise.withResolvers<void>()
  const world: World = {
    app,
    url: '',
    waiting: 0,
    gate,
    close: async () => {
      let isClosed = false
      closing = app.close().then(() => { isClosed = true })
      await until(() => isClosed, { what: 'the app is closed', deadlineMs: 5000 })
    }
  }
  app.addHook('preHandler', async ({ headers }) => {
    if (headers['x-waits'] === undefined) return
    world.waiting += 1
    await gate.promise
  })
  await app.register(live, { drain })
  world.url = await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  return world
}

const waits = { 'x-waits': '1' }

function sourceOf (t: Test, url: string, headers: Record<string, string> = {}): EventSource {
  const source = new EventSource(`${url}/events`, { fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }) })
  t.after(() => source.close())
  return source
}

function socketOf (t: Test, url: string, headers: Record<string, string> = {}): WebSocket {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { headers: { origin: url, ...headers } })
  t.after(() => socket.terminate())
  return socket
}

/** A stream of a client that keeps its connection. Its body is not read. */
async function streamOf (t: Test, url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const [response] = await once(get(`${url}/events`, { agent, headers }), 'response') as [IncomingMessage]
  response.on('error', () => {})
  return response
}

t.test('close ends the streams and sockets of all clients, and waits for none of their connections', async (t) => {
  const { app, url, close } = await start(t)
  const sources = [1, 2, 3].map(() => sourceOf(t, url))
  const sockets = [1, 2, 3].map(() => socketOf(t, url))
  const ended = sockets.map(async (socket) => (await once(socket, 'close'))[0] as number)
  await Promise.all([1, 2, 3].map(() => streamOf(t, url)))
  await until(() => app.live.counts.stream === 6 && app.live.counts.websocket === 3, { what: 'all are open' })

  await close()

  t.same(await Promise.all(ended), [1012, 1012, 1012])
  await until(() => sources.every(({ readyState }) => readyState !== EventSource.OPEN), { what: 'the streams have ended' })
})

t.test('close ends a stream or a socket whose request waits in a hook while all others are closed', async (t) => {
  const world = await start(t)
  const { app, url } = world
  const source = sourceOf(t, url, waits)
  const socket = socketOf(t, url, waits)
  const codes: number[] = []
  socket.on('close', (code) => { codes.push(code) })
  // Unlike an EventSource, this client does not use its connection again.
  const kept = streamOf(t, url, waits).then((response) => response.resume())
  await until(() => world.waiting === 3, { what: 'all wait in the hook' })

  const closed = world.close()
  await until(() => !app.server.listening, { what: 'the server accepts no more connections' })
  world.gate.resolve()
  await Promise.all([closed, kept])

  await until(() => codes.length === 1, { what: 'the client is told' })
  t.same(codes, [1012])
  await until(() => source.readyState !== EventSource.OPEN, { what: 'the stream has ended' })
  t.same(app.live.counts, { websocket: 0, stream: 0 })
})

t.test('close does not wait for a client that reads the end of its stream later', async (t) => {
  const { app, url, close } = await start(t)
  const opened = once(app.server, 'connection') as Promise<[Socket]>
  const client = connect(Number(new URL(url).port), '127.0.0.1')
  t.after(() => client.destroy())
  client.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n')
  const [connection] = await opened
  await until(() => app.live.counts.stream === 1, { what: 'the stream is open' })
  // More than the kernel takes, and less than makes the client a slow one. The client reads nothing yet.
  while (connection.writableLength < 100_000) await app.events.publish('events', { type: 'n', data: 'x'.repeat(15_000) })
  t.equal(app.live.counts.stream, 1)

  const closed = close()
  await until(() => app.live.counts.stream === 0, { what: 'the stream is ended' })
  client.resume()
  await closed
})

t.test('an EventSource does not connect again while its process closes, because it gives up for good after the 503 of Fastify', async (t) => {
  const { app, url, close } = await start(t, '2500ms')
  const sources = Array.from({ length: 50 }, () => sourceOf(t, url))
  await until(() => app.live.counts.stream === 50, { what: 'all are open' })
  const failures: Event[] = []
  let again = 0
  app.server.on('request', () => { again += 1 })

  await close()
  t.equal(again, 0)
  // The end of the stream, then a connection that is refused.
  for (const source of sources) source.addEventListener('error', (event) => { failures.push(event) })
  await until(() => failures.length >= 50, { what: 'all have tried to connect again' })

  t.same(sources.filter(({ readyState }) => readyState === EventSource.CLOSED), [], 'none has given up')
})
