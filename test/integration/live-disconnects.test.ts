import { connect as connectHttp2, constants } from 'node:http2'
import { connect } from 'node:net'
import fastify from 'fastify'
import type { FastifyHttpOptions, FastifyInstance, RawServerDefault } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import live from '../../plugins/live.ts'
import { testSecret } from '../support/app.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'
import { reached } from '../support/wait-for-redis.ts'

/** An app whose requests wait in a hook of the app, before the handler, until its gate is open. */
interface World {
  app: FastifyInstance
  port: number
  gate: PromiseWithResolvers<void>
  /** requests that wait at the gate */
  waiting: number
  /** requests at the gate whose client has gone, as the server sees it */
  gone: number
  /** calls of handlers that have returned or thrown */
  handled: number
}

async function startWorld (t: Test, redisUrl: string, options: { http2?: true } = {}): Promise<World> {
  const app: FastifyInstance = fastify({ forceCloseConnections: true, ...options } as FastifyHttpOptions<RawServerDefault>)
  t.after(() => app.close())
  const world: World = { app, port: 0, gate: Promise.withResolvers<void>(), waiting: 0, gone: 0, handled: 0 }
  await app.register(prism, { redis: { url: redisUrl }, session: { secrets: [testSecret] }, rateLimit: false })
  app.addHook('onRoute', (route) => {
    const { handler } = route
    route.handler = function (request, reply) {
      try {
        return handler.call(this, request, reply)
      } finally {
        world.handled += 1
      }
    }
  })
  app.addHook('preHandler', async ({ raw }) => {
    world.waiting += 1
    raw.socket.once('close', () => { world.gone += 1 })
    await world.gate.promise
  })
  await app.register(live, { topics: { '*': 'anyone' } })
  world.port = Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port)
  await reached(app)
  return world
}

/** Sends bytes over HTTP/1.1. @returns closes the connection */
function send (t: Test, { port }: World, text: string): () => void {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // the server has closed it
  socket.write(text)
  return () => { socket.destroy() }
}

/** Opens a stream over HTTP/2. @returns resets the stream, or closes its connection */
function request (t: Test, { port }: World, path: string, ends: 'stream' | 'connection'): () => void {
  const client = connectHttp2(`http://127.0.0.1:${port}`)
  t.after(() => client.destroy())
  client.on('error', () => {}) // the server has closed it
  const stream = client.request({ ':path': path })
  stream.on('error', () => {}) // it is reset, or its connection closed
  return ends === 'stream' ? () => stream.close(constants.NGHTTP2_CANCEL) : () => { client.destroy() }
}

t.setTimeout(120_000)

t.test('clients that disconnect before their handler runs leave no connection and no subscription, over every transport', async (t) => {
  const { url, control } = await startRig(t)
  const [http1, http2] = [await startWorld(t, url), await startWorld(t, url, { http2: true })]
  const get = (topic: string, fields = '') => `GET /events?topic=${topic} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`
  const clients: Record<string, () => void> = {
    'http1.1': send(t, http1, get('http1.1')),
    'http1.0': send(t, http1, 'GET /events?topic=http1.0 HTTP/1.0\r\n\r\n'),
    'pipelined-first': send(t, http1, get('pipelined-first') + get('pipelined-second')),
    resuming: send(t, http1, get('resuming', 'Last-Event-ID: 1-1\r\n')),
    'http2-stream': request(t, http2, '/events?topic=http2-stream', 'stream'),
    'http2-connection': request(t, http2, '/events?topic=http2-connection', 'connection')
  }
  await until(() => http1.waiting === 5 && http2.waiting === 2, { what: 'all wait before their handler' })

  for (const disconnect of Object.values(clients)) disconnect()
  await until(() => http1.gone === 5 && http2.gone === 2, { what: 'the server has noticed that all are gone' })
  for (const { gate } of [http1, http2]) gate.resolve()
  await until(() => http1.handled === 5 && http2.handled === 2, { what: 'all handlers have run' })

  for (const { app } of [http1, http2]) t.same(app.live.counts, { websocket: 0, stream: 0 })
  const subscribers = async (topic: string) => Number((await control.call('PUBSUB', 'NUMSUB', `prism:${topic}`) as unknown[])[1])
  // A process subscribes to its channels in order: those of the clients would be subscribed by then.
  for (const { app } of [http1, http2]) app.events.subscribe('later', () => {})
  await until(async () => await subscribers('later') === 2, { what: 'a later channel is subscribed' })
  for (const topic of [...Object.keys(clients), 'pipelined-second']) await until(async () => await subscribers(topic) === 0, { what: `no subscription of ${topic} is left` })
  t.same(await http1.app.live.connections(), [])
})
