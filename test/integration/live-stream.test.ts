import { EventSource } from 'eventsource'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { startLive } from '../support/live.ts'
import type { LiveApp } from '../support/live.ts'
import { publish } from '../support/publish.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

/** Reads a stream as text until it ends. */
async function openStream (t: Test, url: string, headers: Record<string, string> = {}) {
  const abort = new AbortController()
  t.after(() => abort.abort())
  const response = await fetch(url, { headers, signal: abort.signal })
  const stream = { response, text: '', isEnded: false, abort }
  const read = async () => {
    const decoder = new TextDecoder()
    try {
      for await (const chunk of response.body ?? []) stream.text += decoder.decode(chunk, { stream: true })
    } catch { /* aborted by the test */ }
    stream.isEnded = true
  }
  read()
  return stream
}

/** An independent EventSource and the events that it dispatched. */
function follow (t: Test, url: string, types: string[]) {
  const source = new EventSource(url)
  t.after(() => source.close())
  const seen: { type: string, id: string, data: { id?: string, data?: unknown } }[] = []
  for (const type of types) source.addEventListener(type, ({ data, lastEventId }) => seen.push({ type, id: lastEventId, data: JSON.parse(data) }))
  return { source, seen }
}

/** Waits until the positions of topics are known to the process: all its subscribers have them. */
async function begun ({ app }: LiveApp, ...topics: string[]): Promise<void> {
  for (const topic of topics) {
    using subscription = app.events.subscribe(topic, () => {})
    await subscription.ready
  }
}

t.setTimeout(300_000)

t.test('an independent EventSource receives events and resumes by itself', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const { source, seen } = follow(t, `${live.url}/events?topic=events`, ['city.noted', 'reset'])
  await until(() => live.app.live.counts.stream === 1, { what: 'the stream is open' })
  await begun(live, 'events')
  const ids = [await publish(live.app, 'events', { type: 'city.noted', data: { text: 'one\ntwo\u2028\r' } })]
  await until(() => seen.length > 0, { what: 'the event' })

  live.app.server.closeAllConnections()
  for (let n = 0; n < 3; n++) ids.push(await publish(live.app, 'events', { type: 'city.noted', data: n }))
  await until(() => seen.at(-1)?.id === ids.at(-1), { what: 'the missed events' })

  t.same(seen.map(({ id }) => id).filter((id) => ids.includes(id)), ids)
  t.match(seen.find(({ id }) => id === ids[0])?.data, { specversion: '1.0', id: ids[0], type: 'city.noted', data: { text: 'one\ntwo\u2028\r' } })
  t.equal(source.readyState, source.OPEN)
})

t.test('event streams have Cache-Control: no-store and the content type text/event-stream', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)

  const { response } = await openStream(t, `${live.url}/events`)

  t.equal(response.status, 200)
  t.equal(response.headers.get('content-type'), 'text/event-stream')
  t.equal(response.headers.get('cache-control'), 'no-store')
})

t.test('event streams prefer Last-Event-ID to since, and report a gap by a reset', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const ids: string[] = []
  for (let n = 0; n < 3; n++) ids.push(await publish(live.app, 'events', { type: 'n', data: n }))

  const since = await openStream(t, `${live.url}/events?since=${ids[0]}`)
  const header = await openStream(t, `${live.url}/events?since=${ids[0]}`, { 'last-event-id': ids[1] ?? '' })
  const lost = await openStream(t, `${live.url}/events`, { 'last-event-id': '1-1' })
  await until(() => since.text.includes(`id: ${ids[2]}`) && header.text.includes(`id: ${ids[2]}`) && lost.text.includes('event: reset'), { what: 'all resumed' })

  t.equal(since.text.match(/^event: n$/gm)?.length, 2)
  t.equal(header.text.match(/^event: n$/gm)?.length, 1)
  t.match(lost.text, `id: ${ids[2]}\nevent: reset\ndata: {"topic":"events","id":"${ids[2]}"}\n\n`)
  t.equal((await fetch(`${live.url}/events?since=soon`)).status, 400)
})

t.test('an event stream of several topics resumes each at its own position', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url, { topics: { '*': 'anyone' } })
  const { source, seen } = follow(t, `${live.url}/events?topic=a&topic=b&topic=c`, ['n', 'reset'])
  await until(() => live.app.live.counts.stream === 1, { what: 'the stream is open' })
  await begun(live, 'a', 'b', 'c')
  const ids: string[] = []
  const received = () => seen.filter(({ data: { id = '' } }) => ids.includes(id))
  for (let n = 0; n < 3; n++) for (const topic of ['b', 'a']) ids.push(await publish(live.app, topic, { type: 'n', data: `${topic}${n}` }))
  await until(() => received().length === 6, { what: 'six events' })

  live.app.server.closeAllConnections()
  for (const topic of ['a', 'b', 'c']) ids.push(await publish(live.app, topic, { type: 'n', data: `${topic}3` }))
  await until(() => received().length === 9, { what: 'the missed events' })

  t.same(received().map(({ data }) => data.data).sort(), ['a0', 'a1', 'a2', 'a3', 'b0', 'b1', 'b2', 'b3', 'c3'])
  t.equal(source.readyState, source.OPEN)
})

t.test('event streams of forbidden topics are rejected with a problem document', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const cookie = await live.signIn('ann')

  for (const [query, status] of [['topic=user:bob', 403], ['topic=user:ann', 200], ['topic=_sessions', 403], ['topic=a%0Ab', 400], ['topic=*', 400], ['topic=', 400], ['since=1', 400], [Array.from({ length: 51 }, (_, n) => `topic=t${n}`).join('&'), 400]] as const) {
    const { response } = await openStream(t, `${live.url}/events?${query}`, { cookie })
    t.equal(response.status, status, query)
    t.equal(response.headers.get('content-type'), status === 200 ? 'text/event-stream' : 'application/problem+json')
  }
  t.same(live.app.live.counts.stream, 1)
})

t.test('no event can end its block in the event stream', async (t) => {
  const { url, control } = await startRig(t)
  const live = await startLive(t, url)
  const stream = await openStream(t, `${live.url}/events`)
  await until(() => stream.text.includes('id: '), { what: 'the stream has begun' })

  await control.publish('prism:events', '{"type":"x\\nid: 9-9\\n\\nevent: evil","data":1}')
  await control.publish('prism:events', '{"type":"reset","data":1}')
  await control.publish('prism:events', '{"type":"n",\n\n"id":"7-7","prev":"1-1"\r\n,"data":2}')
  const id = await publish(live.app, 'events', { type: 'n', data: 3 })
  await until(() => stream.text.includes(id), { what: 'the last event' })

  t.notMatch(stream.text, /^event: (evil|reset)$/m)
  t.notMatch(stream.text, /^id: 9-9$/m)
  for (const block of stream.text.split('\n\n').filter((block) => block.includes('data: '))) {
    t.doesNotThrow(() => JSON.parse(block.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n')))
  }
})

t.test('event streams end with their session', async (t) => {
  const { url } = await startRig(t)
  const one = await startLive(t, url)
  const other = await startLive(t, url)
  const stream = await openStream(t, `${one.url}/events?topic=user:ann`, { cookie: await one.signIn('ann') })

  await other.app.sessions.revokeAll('ann')
  await until(() => stream.isEnded, { what: 'the stream has ended' })

  t.match(stream.text, /retry: \d+\n\n$/)
})

t.test('event streams of clients whose session cannot be read receive a retry interval', async (t) => {
  const { url, redis } = await startRig(t)
  const live = await startLive(t, url)
  const cookie = await live.signIn('ann')
  await redis.kill()

  const { status, text } = await fetch(`${live.url}/events`, { headers: { cookie } }).then(async (response) => ({ status: response.status, text: await response.text() }))

  t.equal(status, 200)
  t.match(text, /^retry: \d+\n\n$/)
})

t.test('event streams of disconnected clients are removed', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const stream = await openStream(t, `${live.url}/events`)
  await until(() => stream.text.includes('id: '), { what: 'the stream has begun' })

  stream.abort.abort()
  await until(() => live.app.live.counts.stream === 0, { what: 'the stream is removed' })

  t.same(await live.app.live.connections(), [])
})

t.test('event streams of clients that disconnect before their session is read occupy no slot', async (t) => {
  const { url, control } = await startRig(t)
  const live = await startLive(t, url)
  const cookie = await live.signIn('ann')
  const { server, redisPool } = live.app
  let gone = 0
  server.on('request', (_request, response) => response.once('close', () => gone++))
  const sockets = Array.from({ length: 20 }, () => connect(live.port, '127.0.0.1'))
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))

  await control.client('PAUSE', 100)
  for (const socket of sockets) socket.write(`GET /events HTTP/1.1\r\nHost: x\r\nCookie: ${cookie}\r\n\r\n`, () => socket.destroy())
  await until(() => gone === 20, { what: 'all clients have disconnected', everyMs: 1 })
  await until(() => redisPool.load.inFlight === 0, { what: 'their sessions are read' })

  t.equal((await openStream(t, `${live.url}/events`, { cookie })).response.status, 200)
})

t.test('an event stream far behind is served in several connections until it is up to date', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  await begun(live, 'events')
  const begin = await publish(live.app, 'events', { type: 'begin' })
  // As much as a replay buffer holds, and more than one connection may buffer.
  const ids: string[] = []
  for (let n = 0; n < 500; n++) ids.push(await publish(live.app, 'events', { type: 'large', data: 'x'.repeat(1945) }))

  const last = ids.at(-1)
  const seen: string[] = []
  for (let connection = 0; connection < 10 && seen.at(-1) !== last; connection++) {
    const stream = await openStream(t, `${live.url}/events`, { 'last-event-id': seen.at(-1) ?? begin })
    await until(() => stream.isEnded || stream.text.includes(`id: ${last}\nevent: large`), { what: 'the end of this connection' })
    stream.abort.abort()
    seen.push(...[...stream.text.matchAll(/^id: (.*)\nevent: large/gm)].map(([, id = '']) => id))
  }

  t.same(seen.filter((id) => ids.includes(id)), ids)
})

t.test('an event stream that its client does not read is ended, and its buffer released', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const socket = connect(live.port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {}) // the server side reports it
  socket.pause()
  socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => live.app.live.counts.stream === 1, { what: 'the stream is open' })

  const data = 'x'.repeat(15_000)
  await until(async () => {
    await live.app.events.publish('events', { type: 'n', data })
    return live.app.live.counts.stream === 0
  }, { what: 'the stream is ended', everyMs: 0, deadlineMs: 25_000 })

  t.pass('within the buffer limit and the kernel buffers')
})
