import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { connect } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import live from '../../plugins/live.ts'
import { commandTimeout } from '../support/deadline.ts'
import { testSecret } from '../support/app.ts'
import { publish } from '../support/publish.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

async function startApp (t: Test): Promise<FastifyInstance> {
  const redis = await startRedis(t)
  const app = Fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: { secrets: [testSecret] } })
  // As a compression plugin does: the response is another stream than the payload.
  app.addHook('onSend', async (request, _reply, payload) => {
    return request.headers['x-replace'] !== undefined && payload instanceof Readable ? payload.pipe(new PassThrough()) : payload
  })
  // As a hook that takes every payload for a text does, or a framework that writes to the raw response.
  app.addHook('onSend', async ({ headers }, reply) => {
    if (headers['x-length'] === 'reply') reply.header('content-length', 40)
    if (headers['x-length'] === 'raw') reply.raw.setHeader('Content-Length', 40)
  })
  app.addHook('onSend', async (request, reply) => { if (request.headers['x-trailer'] !== undefined) reply.trailer('x-sum', async () => 'sum') })
  // As @fastify/compress does: a hook of the route, which runs after those of all scopes.
  app.addHook('onRoute', (route) => { route.onSend = [...[route.onSend ?? []].flat(), async (_request, reply) => { reply.header('x-late', '1') }] })
  await app.register(live, { topics: { 'a:*': 'anyone' } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await until(() => app.redisPool.state === 'ready', { what: 'a connection to Redis' })
  return app
}

/** Sends bytes, and collects what the server sends; chunk heads and response heads are removed. */
function request (t: Test, app: FastifyInstance, text: string): { raw: () => string, text: () => string, isEnded: () => boolean } {
  const socket = connect(Number(new URL(app.listeningOrigin).port), '127.0.0.1')
  t.after(() => socket.destroy())
  let received = ''
  socket.setEncoding('latin1')
  socket.on('data', (part: string) => { received += part })
  socket.on('error', () => {})
  socket.write(text)
  const decoded = () => Buffer.from(received, 'latin1').toString()
  return { raw: () => received, text: () => decoded().replaceAll(/^HTTP[^]*?\r\n\r\n/gm, '').replaceAll(/(?:\r\n)?^[0-9a-f]+\r\n|\r\n/gm, ''), isEnded: () => /\r\n0\r\n(?:x-sum: sum\r\n)?\r\n$/.test(received) || socket.destroyed }
}

/** The head of the response that is an event stream. */
function streamHead (raw: string): string {
  return raw.split('\r\n\r\n').find((head) => head.includes('text/event-stream')) ?? ''
}

const path = '/events?topic=a:1'
const transports: Record<string, string> = {
  'over HTTP/1.1': `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'over HTTP/1.0': `GET ${path} HTTP/1.0\r\n\r\n`,
  'as a pipelined response': `GET /live.js HTTP/1.1\r\nHost: a\r\n\r\nGET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'as the payload of a hook': `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Replace: 1\r\n\r\n`,
  'with trailers': `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Trailer: 1\r\n\r\n`,
  'with a length that a hook has set': `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Length: reply\r\n\r\n`,
  'with a length of the raw response': `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Length: raw\r\n\r\n`,
  'as the payload of a hook that has set a length': `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Replace: 1\r\nX-Length: reply\r\n\r\n`,
  'over HTTP/1.0 with a length': `GET ${path} HTTP/1.0\r\nX-Length: reply\r\n\r\n`,
  'with several topics': `GET ${path}&topic=a:2 HTTP/1.1\r\nHost: a\r\n\r\n`
}

t.test('a stream has all events in order and complete, then its end, whatever it is written with', async (t) => {
  const app = await startApp(t)
  const streams = Object.entries(transports).map(([name, text]) => ({ name, ...request(t, app, text) }))
  await until(() => streams.every(({ text }) => /^id: \S+$/m.test(text())), { what: 'all streams have begun' })
  const data = Array.from({ length: 30 }, (_, n) => `${n} ${'ü€x'.repeat(n * n)}`)
  const ids: string[] = []
  for (const each of data) ids.push(await publish(app, 'a:1', { type: 'n', data: each }))
  await until(() => streams.every(({ text }) => text().includes(`"id":"${ids.at(-1)}"`)), { what: 'all events' })
  app.close()
  await until(() => streams.every(({ isEnded }) => isEnded()), { what: 'all streams have ended' })

  for (const { name, text, raw } of streams) {
    const blocks = text().split('\n\n').filter((block) => block.includes('event: n'))
    t.same(blocks.map((block) => JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? '{}').data), data, name)
    t.same(blocks.map((block) => /^id: (?:a:1=)?([\d-]+)/m.exec(block)?.[1]), ids, name)
    t.match(text(), /retry: \d+\n\n(?:x-sum: sum)?$/, name)
    t.match(raw(), /^HTTP[^]*\r\nx-late: 1\r\n[^]*\r\n\r\n[^]*retry:/, `${name}: the hooks of the route`)
    t.notMatch(streamHead(raw()), /^content-length:/im, `${name}: no length`)
    t.equal(/^transfer-encoding: chunked\r?$/im.test(streamHead(raw())), !name.includes('HTTP/1.0'), `${name}: chunks`)
    t.equal(raw().includes('x-sum: sum'), name === 'with trailers', `${name}: trailers`)
  }
})
