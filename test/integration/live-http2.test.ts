import type { ServerResponse } from 'node:http'
import { connect, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2'
import fastify from 'fastify'
import type { FastifyHttpOptions, FastifyInstance, RawServerDefault } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import live from '../../plugins/live.ts'
import { testSecret } from '../support/app.ts'
import { publish } from '../support/publish.ts'
import { startRig } from '../support/proxied-redis.ts'
import type { Rig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'
import { reached } from '../support/wait-for-redis.ts'

interface World extends Rig {
  app: FastifyInstance
  /** Opens a connection, which may carry many streams. */
  open (): ClientHttp2Session
}

async function startWorld (t: Test): Promise<World> {
  const rig = await startRig(t)
  const app: FastifyInstance = fastify({ http2: true } as unknown as FastifyHttpOptions<RawServerDefault>)
  t.after(() => app.close())
  await app.register(prism, { redis: { url: rig.url }, session: { secrets: [testSecret] }, rateLimit: false })
  app.addHook('onSend', async ({ headers }, reply) => { if (headers['x-length'] !== undefined) reply.header('content-length', 40) })
  await app.register(live, { topics: { '*': 'anyone' }, drain: '50ms' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  const open = () => {
    const client = connect(url)
    t.after(() => client.destroy())
    client.on('error', () => {}) // the server ends it
    return client
  }
  return { ...rig, app, open }
}

/** A stream and what its client has read. */
interface Following { stream: ClientHttp2Stream, head: IncomingHttpHeaders, text: string, isEnded: boolean }

function follow (client: ClientHttp2Session, path: string, headers: Record<string, string> = {}): Following {
  const stream = client.request({ ':path': path, accept: 'text/event-stream', ...headers })
  const following: Following = { stream, head: {}, text: '', isEnded: false }
  stream.setEncoding('utf8')
  stream.on('response', (head) => { following.head = head })
  stream.on('data', (part: string) => { following.text += part })
  stream.on('end', () => { following.isEnded = true })
  stream.on('error', () => {}) // it is reset
  return following
}

/** The events of a type, as a client's parser takes them from the text. */
function eventsOf ({ text }: Pick<Following, 'text'>, type: string): { id: string | undefined, data: unknown }[] {
  return text.split('\n\n').filter((block) => block.split('\n').includes(`event: ${type}`)).map((block) => ({
    id: /^id: (.*)$/m.exec(block)?.[1],
    data: (JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? '{}') as { data?: unknown }).data
  }))
}

const hasBegun = ({ text }: Following) => /^id: \S+$/m.test(text)

t.setTimeout(120_000)

t.test('event streams over HTTP/2 have all events in order and complete, then their end, also where a hook has set a length', async (t) => {
  const { app, open } = await startWorld(t)
  const client = open()
  const one = follow(client, '/events?topic=a')
  const several = follow(client, '/events?topic=a&topic=b')
  const measured = follow(client, '/events?topic=a', { 'x-length': '1' })
  const all = [one, several, measured]
  await until(() => all.every(hasBegun), { what: 'all streams have begun' })

  const data = Array.from({ length: 30 }, (_, n) => `${n} ${'ü€x'.repeat(n * n)}\n`)
  const ids: string[] = []
  for (const each of data) ids.push(await publish(app, 'a', { type: 'n', data: each }))
  await until(() => all.every(({ text }) => text.includes(`"id":"${ids.at(-1)}"`)), { what: 'all events' })
  const closed = app.close()
  await until(() => all.every(({ isEnded }) => isEnded), { what: 'all streams have ended' })
  await closed

  t.match(one.head, { ':status': 200, 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  const positionOf = (id = '') => /^(?:a=)?([\d-]+)/.exec(id)?.[1] ?? ''
  for (const following of all) {
    const received = eventsOf(following, 'n').map(({ id, data }) => ({ id: positionOf(id), data })).filter(({ id }) => ids.includes(id))
    t.same(received, data.map((each, n) => ({ id: ids[n], data: each })))
  }
  for (const { text } of all) t.match(text, /\nretry: \d+\n\n$/)
})

t.test('event streams over HTTP/2 resume by Last-Event-ID without a gap or a duplicate, and report a lost log by one reset', async (t) => {
  const { app, control, open } = await startWorld(t)
  const first = follow(open(), '/events?topic=a')
  await until(() => hasBegun(first), { what: 'the stream has begun' })
  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.push(await publish(app, 'a', { type: 'n', data: n }))
  await until(() => eventsOf(first, 'n').at(-1)?.id === ids.at(-1), { what: 'five events' })
  first.stream.session?.destroy()
  for (let n = 5; n < 150; n++) ids.push(await publish(app, 'a', { type: 'n', data: n }))

  const second = follow(open(), '/events?topic=a', { 'last-event-id': eventsOf(first, 'n').at(-1)?.id ?? '' })
  await until(() => eventsOf(second, 'n').at(-1)?.id === ids.at(-1), { what: 'what was missed' })
  ids.push(await publish(app, 'a', { type: 'n', data: 150 }))
  await until(() => eventsOf(second, 'n').at(-1)?.id === ids.at(-1), { what: 'the next event' })
  const received = [...eventsOf(first, 'n'), ...eventsOf(second, 'n')].filter(({ id = '' }) => ids.includes(id))
  t.same(received, ids.map((id, data) => ({ id, data })))
  t.notMatch(second.text, 'event: reset')

  await control.del('prism:a:log')
  await until(() => eventsOf(second, 'reset').length > 0, { what: 'the reset' })
  const id = await publish(app, 'a', { type: 'n', data: 'after' })
  await until(() => eventsOf(second, 'n').at(-1)?.id === id, { what: 'the event after the reset' })
  t.equal(eventsOf(second, 'reset').length, 1)
})

t.test('an event stream over HTTP/2 that its client does not read is ended, and the other stream of the connection loses nothing', async (t) => {
  const { app, open } = await startWorld(t)
  const responses: ServerResponse[] = []
  app.server.on('request', (_request, response) => responses.push(response))
  const client = open()
  const unread = follow(client, '/events?topic=a')
  const read = follow(client, '/events?topic=a')
  await until(() => hasBegun(unread) && hasBegun(read), { what: 'both streams have begun' })
  let isReleased = false
  unread.stream.pause()
  const [response] = responses
  response?.once('close', () => { isReleased = true })

  const ids: string[] = []
  const data = 'x'.repeat(15_000)
  await until(async () => {
    ids.push(await publish(app, 'a', { type: 'n', data }))
    return app.live.counts.stream === 1
  }, { what: 'the stream is ended', everyMs: 0, deadlineMs: 60_000 })
  t.ok(ids.length * data.length < 4_000_000, `within the limit and the windows of HTTP/2: ${ids.length} events`)

  ids.push(await publish(app, 'a', { type: 'n', data: 'next' }))
  await until(() => read.text.includes(`"id":"${ids.at(-1)}"`), { what: 'all events' })
  t.same(eventsOf(read, 'n').map(({ id }) => id).filter((id = '') => ids.includes(id)), ids)
  await until(() => isReleased, { what: 'the response is destroyed, with what it has buffered' })
  t.equal(app.live.counts.stream, 1)
})

t.test('clients over HTTP/2 that reset their stream or close their connection leave no connection and no subscription', async (t) => {
  const { app, control, open } = await startWorld(t)
  const client = open()
  const [reset, cut, kept] = [follow(client, '/events?topic=reset'), follow(open(), '/events?topic=cut'), follow(client, '/events?topic=kept')]
  const streams = [reset, cut, kept]
  await until(() => streams.every(hasBegun), { what: 'all streams have begun' })
  const subscribers = async (topic: string) => Number((await control.call('PUBSUB', 'NUMSUB', `prism:${topic}`) as unknown[])[1])
  for (const topic of ['reset', 'cut', 'kept']) await until(async () => await subscribers(topic) === 1, { what: `a subscription of ${topic}` })

  reset.stream.close(constants.NGHTTP2_CANCEL)
  cut.stream.session?.destroy()
  await until(() => app.live.counts.stream === 1, { what: 'two are gone' })
  for (const topic of ['reset', 'cut']) await until(async () => await subscribers(topic) === 0, { what: `no subscription of ${topic} is left` })

  const id = await publish(app, 'kept', { type: 'n', data: 1 })
  await until(() => eventsOf(kept, 'n').at(-1)?.id === id, { what: 'the other stream has its event' })
  t.same((await app.live.connections()).map(({ topics }) => topics), [['kept']])
})
