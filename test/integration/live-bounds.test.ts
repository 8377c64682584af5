import { EventSource } from 'eventsource'
import fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import live from '../../plugins/live.ts'
import type { LiveOptions } from '../../plugins/live.ts'
import { testSecret } from '../support/app.ts'
import { openLive, startLive } from '../support/live.ts'
import { publish } from '../support/publish.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

/** Live connections behind a trusted proxy, with the whole stack. */
async function startBehindProxy (t: Test, options: LiveOptions = {}, rateLimit: PrismOptions['rateLimit'] = { quota: 10_000 }): Promise<{ app: FastifyInstance, url: string }> {
  const app = fastify({ trustProxy: ['127.0.0.1', '10.0.0.0/8'], forceCloseConnections: true })
  t.after(() => app.close())
  await app.register(prism, { redis: { url: (await startRig(t)).url }, session: { secrets: [testSecret] }, rateLimit })
  await app.register(live, options)
  await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  return { app, url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}` }
}

/** The status of an event stream that stays open until the test ends. */
async function statusOf (t: Test, url: string, headers: Record<string, string>): Promise<number> {
  const abort = new AbortController()
  t.after(() => abort.abort())
  return (await fetch(`${url}/events`, { headers, signal: abort.signal })).status
}

t.test('live connections are limited per client address as rate limits are, in every notation of the address', async (t) => {
  const clients: Record<string, string[]> = {
    'one IPv4 address': ['203.0.113.9', '203.0.113.9:1', '[203.0.113.9]:2', '::ffff:203.0.113.9', '203.0.113.9:3, 10.0.0.5:443'],
    'one IPv6 network': ['2001:db8:1:2::1', '[2001:db8:1:2::2]:443', '2001:db8:1:2:3:4:5:6', '2001:DB8:1:2::7', '"[2001:db8:1:2::8]:1", 10.0.0.5']
  }
  const { url } = await startBehindProxy(t, { connectionsPerAddress: 3 })

  for (const [name, forms] of Object.entries(clients)) {
    const statuses: number[] = []
    for (const form of forms) statuses.push(await statusOf(t, url, { 'x-forwarded-for': form }))
    t.same(statuses, [200, 200, 200, 429, 429], name)
  }
  t.equal(await statusOf(t, url, { 'x-forwarded-for': '2001:db8:1:3::1' }), 200, 'another network')
})

t.test('live connections count an IPv6 network by the ipv6Subnet of the stack', async (t) => {
  const { url } = await startBehindProxy(t, { connectionsPerAddress: 1 }, { quota: 10_000, ipv6Subnet: 56 })

  t.equal(await statusOf(t, url, { 'x-forwarded-for': '2001:db8:1:200::1' }), 200)
  t.equal(await statusOf(t, url, { 'x-forwarded-for': '2001:db8:1:2ff::1' }), 429)
  t.equal(await statusOf(t, url, { 'x-forwarded-for': '2001:db8:1:300::1' }), 200)
})

t.test('live connections of one user are limited by connectionsPerUser', async (t) => {
  const app = await startLive(t, (await startRig(t)).url, { connectionsPerUser: 2 })
  const cookie = await app.signIn('ann')

  const statuses: number[] = []
  for (let n = 0; n < 3; n++) statuses.push(await statusOf(t, app.url, { cookie }))
  t.same(statuses, [200, 200, 429])
})

t.test('a stream over a quota receives a retry interval, and its EventSource reconnects', async (t) => {
  const { app, url } = await startBehindProxy(t, {}, { quota: 2, window: '2s' })
  for (let n = 0; n < 2; n++) await fetch(`${url}/nowhere`)

  const refused = await fetch(`${url}/events`)
  const text = await refused.text()
  const source = new EventSource(`${url}/events`)
  t.after(() => source.close())

  t.equal(refused.status, 200)
  t.equal(refused.headers.get('content-type'), 'text/event-stream')
  t.equal(refused.headers.get('cache-control'), 'no-store')
  t.match(text, /^retry: \d+\n\n$/)
  t.ok(Number(/\d+/.exec(text)?.[0]) >= Number(refused.headers.get('retry-after')) * 1000, 'the interval lasts until the quota refills')
  await until(() => app.live.counts.stream === 1, { what: 'the stream is open' })
  await until(() => source.readyState === source.OPEN, { what: 'the client has received the head' })
})

t.test('a stream over the connection limit sends an EventSource a retry interval, and other clients 429', async (t) => {
  const { url } = await startBehindProxy(t, { connectionsPerAddress: 1 })
  await statusOf(t, url, {})

  const other = await fetch(`${url}/events`)
  const source = await fetch(`${url}/events`, { headers: { accept: 'text/event-stream' } })

  t.equal(other.status, 429)
  t.equal(source.status, 200)
  t.match(await source.text(), /^retry: \d+\n\n$/)
})

t.test('a stream that a closed rate limit rejects during an outage receives a retry interval', async (t) => {
  const rig = await startRig(t)
  const app = fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: rig.url }, session: { secrets: [testSecret] }, rateLimit: { quota: 10, failureMode: 'closed' } })
  await app.register(live)
  await reached(app)
  await rig.redis.kill()

  const { statusCode, body } = await app.inject('/events')

  t.equal(statusCode, 200)
  t.match(body, /^retry: \d+\n\n$/)
})

t.test('a stream that is rejected permanently receives its status', async (t) => {
  const { url } = await startBehindProxy(t)

  for (const [query, status] of [['topic=user:bob', 403], ['since=1', 400]] as const) t.equal((await fetch(`${url}/events?${query}`, { headers: { accept: 'text/event-stream' } })).status, status, query)
})

t.test('replayed events are limited per client over all of its connections, and none is lost', async (t) => {
  const app = await startLive(t, (await startRig(t)).url, { replayedEventsPerSecond: 100 })
  using subscription = app.app.events.subscribe('events', () => {})
  await subscription.ready
  const begin = await publish(app.app, 'events', { type: 'begin' })
  const ids: string[] = []
  for (let n = 0; n < 400; n++) ids.push(await publish(app.app, 'events', { type: 'n', data: n }))

  const clients = [await openLive(app), await openLive(app)]
  const at = performance.now()
  for (let round = 0; round < 40; round++) for (const client of clients) client.say({ type: 'subscribe', topic: 'events', since: begin })
  for (const client of clients) client.say({ type: 'ping' })
  await Promise.all(clients.map((client) => client.next('pong')))
  const received = () => clients.flatMap(({ frames }) => frames).filter(({ event }) => event?.type === 'n').length
  await until(() => clients.every(({ frames }) => frames.some(({ event }) => event?.id === ids.at(-1))), { what: 'both have all missed events' })
  const allowed = 800 + (performance.now() - at) / 1000 * 100 + 2 * 400

  t.ok(received() <= allowed, `${received()} events, at most ${Math.round(allowed)} allowed`)
  const next = await publish(app.app, 'events', { type: 'n', data: 'next' })
  await until(() => clients.every(({ frames }) => frames.some(({ event }) => event?.id === next)), { what: 'both receive the next event', deadlineMs: 60_000 })
  t.same(clients.map(({ frames }) => frames.filter(({ type }) => type === 'reset').length), [0, 0])
})

t.test('subscriptions from unknown positions are limited by the pages that they read', async (t) => {
  const app = await startLive(t, (await startRig(t)).url, { replayedEventsPerSecond: 16 })
  await publish(app.app, 'events', { type: 'begin' })
  const client = await openLive(app)

  for (let n = 0; n < 20; n++) client.say({ type: 'subscribe', topic: 'events', since: '1-1' })
  client.say({ type: 'ping' })
  await client.next('pong')
  await until(() => client.frames.some(({ type }) => type === 'reset'), { what: 'a reset' })

  t.ok(client.frames.filter(({ type }) => type === 'reset').length <= 3, 'two pages at once, the others later')
})
