import t from 'tap'
import { followSocket, openLive, startLive, statusOfUpgrade } from '../support/live.ts'
import { publish } from '../support/publish.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

t.test('WebSocket clients subscribe, receive events, unsubscribe and ping', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const client = await openLive(live)

  client.say({ type: 'subscribe', topic: 'events' })
  const { id: begin } = await client.next('subscribed')
  const id = await publish(live.app, 'events', { type: 'city.noted', data: { city: 1 } })
  const event = await until(() => client.frames.find(({ event }) => event?.id === id), { what: 'the event' })
  client.say({ type: 'ping' })
  await client.next('pong')
  client.say({ type: 'unsubscribe', topic: 'events' })
  client.say({ type: 'ping' })
  await client.next('pong')
  const received = client.frames.filter(({ type }) => type === 'event')
  await publish(live.app, 'events', { type: 'city.noted', data: { city: 2 } })
  client.say({ type: 'ping' })
  await client.next('pong')

  t.match(event, { topic: 'events', event: { specversion: '1.0', id, prev: String, type: 'city.noted', data: { city: 1 } } })
  t.match(received[0], { event: { prev: begin } })
  t.same(client.frames.filter(({ type }) => type === 'event'), received)
})

t.test('live connections resume at their position, also in another process', async (t) => {
  const { url } = await startRig(t)
  const one = await startLive(t, url)
  const other = await startLive(t, url)
  const first = await openLive(one)
  first.say({ type: 'subscribe', topic: 'events' })
  const { id: begin } = await first.next('subscribed')
  first.socket.terminate()

  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.push(await publish(one.app, 'events', { type: 'n', data: n }))
  const second = await openLive(other)
  second.say({ type: 'subscribe', topic: 'events', since: begin })
  await until(() => second.frames.some(({ event }) => event?.id === ids.at(-1)), { what: 'all missed events' })
  const third = await openLive(other)
  third.say({ type: 'subscribe', topic: 'events', since: '1-1' })
  const reset = await third.next('reset')

  t.same(second.frames[0], { type: 'subscribed', topic: 'events', id: begin })
  t.same(second.frames.filter(({ event }) => ids.includes(event?.id ?? '')).map(({ event }) => event?.data), [0, 1, 2, 3, 4])
  t.same(reset, { type: 'reset', topic: 'events', id: ids.at(-1) })
})

t.test('a page of another origin opens a WebSocket without the session cookie, and with it only where its origin is listed', async (t) => {
  const { url } = await startRig(t)
  const own = await startLive(t, url)
  const listed = await startLive(t, url, { origins: ['https://example.com'] })
  const others: Record<string, string>[] = [...['http://evil.example', 'http://127.0.0.1', `http://127.0.0.1:${own.port}/`, `ftp://127.0.0.1:${own.port}`, `http://x@127.0.0.1:${own.port}`].map((origin) => ({ origin })), { 'sec-fetch-site': 'cross-site' }]
  const opaque: Record<string, string>[] = [{ origin: 'null' }, { origin: '' }, { origin: 'null', 'sec-fetch-site': 'cross-site' }]
  const same: Record<string, string>[] = [{}, { origin: own.url }, { origin: 'null', 'sec-fetch-site': 'same-origin' }]
  const cookie = await own.signIn('ann')

  for (const headers of [...same, ...others]) t.equal(await statusOfUpgrade(own, { headers }), 101, `${JSON.stringify(headers)} without a cookie`)
  for (const headers of opaque) t.equal(await statusOfUpgrade(own, { headers }), 403, `${JSON.stringify(headers)} without a cookie`)
  for (const headers of same) t.equal(await statusOfUpgrade(own, { headers: { ...headers, cookie } }), 101, `${JSON.stringify(headers)} with a cookie`)
  for (const headers of [...others, ...opaque]) t.equal(await statusOfUpgrade(own, { headers: { ...headers, cookie } }), 403, `${JSON.stringify(headers)} with a cookie`)
  for (const headers of [{ origin: 'https://example.com' }, { origin: listed.url }]) t.equal(await statusOfUpgrade(listed, { headers: { ...headers, cookie: await listed.signIn('ann') } }), 101, `${headers.origin} listed`)
  t.equal(await statusOfUpgrade(listed, { headers: { origin: 'https://example.com.evil', cookie: await listed.signIn('ann') } }), 403)
})

t.test('a WebSocket of another origin without the session cookie follows public topics alone', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const other = await openLive(live, { headers: { origin: 'https://other.example', 'sec-fetch-site': 'cross-site' } })

  other.say({ type: 'subscribe', topic: 'events' })
  t.match(await other.next('subscribed'), { topic: 'events' })
  other.say({ type: 'subscribe', topic: 'user:ann' })
  t.match(await other.next('error'), { code: 'PRISM_ERR_TOPIC_FORBIDDEN' })
})

t.test('live connections can subscribe only to topics that are open to their user', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const ann = await openLive(live, { headers: { cookie: await live.signIn('ann') } })
  const anonymous = await openLive(live)

  ann.say({ type: 'subscribe', topic: 'user:ann' })
  const subscribed = await ann.next('subscribed')
  for (const topic of ['user:bob', 'user:', 'user:ann:x', '_live', '_sessions', 'other']) {
    ann.say({ type: 'subscribe', topic })
    t.match(await ann.next('error'), { code: 'PRISM_ERR_TOPIC_FORBIDDEN' }, topic)
  }
  for (const topic of ['*', 'user:*', 'a\nb', '', 'x'.repeat(5000), 'prism:{events}']) {
    ann.say({ type: 'subscribe', topic })
    t.match(await ann.next('error'), { code: 'PRISM_ERR_TOPIC' }, JSON.stringify(topic).slice(0, 20))
  }
  anonymous.say({ type: 'subscribe', topic: 'user:ann' })
  t.match(await anonymous.next('error'), { code: 'PRISM_ERR_TOPIC_FORBIDDEN' })

  t.equal(subscribed.topic, 'user:ann')
})

t.test('live connections with a forged or ended session are anonymous', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const cookie = await live.signIn('ann')
  await live.app.inject({ method: 'DELETE', url: '/session', headers: { cookie } })

  for (const headers of [{ cookie }, { cookie: `${cookie}x` }, { cookie: 'sid=v1.x.y' }]) {
    const client = await openLive(live, { headers })
    client.say({ type: 'subscribe', topic: 'user:ann' })
    t.match(await client.next('error'), { code: 'PRISM_ERR_TOPIC_FORBIDDEN' })
  }
})

t.test('live connections end with their session, whichever process ends it', async (t) => {
  const { url } = await startRig(t)
  const one = await startLive(t, url)
  const other = await startLive(t, url)
  const cookie = await one.signIn('ann')
  const client = await openLive(one, { headers: { cookie } })
  const sibling = await openLive(one, { headers: { cookie: await one.signIn('ann') } })

  const signedOutAt = performance.now()
  await other.app.inject({ method: 'DELETE', url: '/session', headers: { cookie } })
  const code = await client.closed
  t.equal(code, 4001)
  t.comment(`closed after ${Math.round(performance.now() - signedOutAt)} ms`)

  sibling.say({ type: 'ping' })
  await sibling.next('pong')
  await other.app.sessions.revokeAll('ann')
  t.equal(await sibling.closed, 4001)
})

t.test('live connections end when their session expires or is lost', async (t) => {
  const { url, control } = await startRig(t)
  const live = await startLive(t, url)
  const client = await openLive(live, { headers: { cookie: await live.signIn('ann') } })

  await control.del('session:{ann}')
  await control.del('prism:_sessions:log')

  t.equal(await client.closed, 4001)
})

t.test('live connections of all processes are listed in each', async (t) => {
  const { url, control } = await startRig(t)
  const one = await startLive(t, url)
  const other = await startLive(t, url)
  const ann = await openLive(one, { headers: { cookie: await one.signIn('ann') } })
  const anonymous = await openLive(other)
  for (const client of [ann, anonymous]) {
    client.say({ type: 'subscribe', topic: 'events' })
    await client.next('subscribed')
  }

  // A process that does not reply in time is omitted.
  const both = await until(async () => { const found = await other.app.live.connections({ topic: 'events' }); return found.length >= 2 && found }, { what: 'both' })
  const anns = await until(async () => { const found = await other.app.live.connections({ user: 'ann' }); return found.length >= 1 && found }, { what: 'the connection of ann' })
  const key = `websocket:{${anns[0]?.id}}`
  const state = await until(async () => {
    const hash = await control.hgetall(key)
    return hash.topics === '["events"]' && hash
  }, { what: 'the state in Redis' })
  const lifetimeMs = await control.pttl(key)

  t.equal(both.length, 2)
  t.match(anns, [{ user: 'ann', kind: 'websocket', topics: ['events'] }])
  t.match(state, { user: 'ann', instance: anns[0]?.instance, since: String(anns[0]?.since), seen: /^\d{13}$/ })
  t.ok(lifetimeMs > 80_000 && lifetimeMs <= 90_000)
  t.same(other.app.live.counts, { websocket: 1, stream: 0 })
  ann.socket.close()
  await until(async () => await control.exists(key) === 0, { what: 'the state is deleted' })
})

t.test('live connections are listed whatever the names of their users are', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const users = await Promise.all([1, 2, 3, 4].map((n) => live.signIn(`${n}${'漢'.repeat(60)}`)))
  for (const cookie of users) await Promise.all(Array.from({ length: 15 }, () => openLive(live, { headers: { cookie } })))

  const found = await until(async () => {
    const all = await live.app.live.connections()
    return all.length === 60 && all
  }, { what: 'all are listed' })

  t.equal(new Set(found.map(({ id }) => id)).size, 60)
})

t.test('topics with presence announce subscribers that join and leave', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url, { topics: { 'room:*': 'anyone' }, presence: ['room:*'] })
  const watcher = await openLive(live)
  watcher.say({ type: 'subscribe', topic: 'room:1' })
  await watcher.next('subscribed')
  t.match(await watcher.next('event'), { event: { type: 'presence.joined' } })

  const ann = await openLive(live, { headers: { cookie: await live.signIn('ann') } })
  ann.say({ type: 'subscribe', topic: 'room:1' })
  t.match(await watcher.next('event'), { event: { type: 'presence.joined', data: { user: 'ann' } } })
  ann.socket.terminate()
  t.match(await watcher.next('event'), { event: { type: 'presence.left', data: { user: 'ann' } } })
})

t.test('live connections are limited per topic, user and address', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url, { topics: { 't:*': 'anyone' } })
  const client = await openLive(live)
  for (let n = 0; n < 50; n++) client.say({ type: 'subscribe', topic: `t:${n}` })
  await until(() => client.frames.filter(({ type }) => type === 'subscribed').length === 50, { what: '50 topics' })
  client.say({ type: 'subscribe', topic: 't:50' })
  t.match(await client.next('error'), { code: 'PRISM_ERR_TOPICS_PER_CONNECTION' })

  const headers = { cookie: await live.signIn('ann'), origin: live.url }
  const anns = await Promise.all(Array.from({ length: 20 }, () => openLive(live, { headers })))
  t.equal(await statusOfUpgrade(live, { headers }), 429)
  anns[0]?.socket.close()
  await anns[0]?.closed
  await until(async () => await statusOfUpgrade(live, { headers }) === 101, { what: 'a slot is free' })
  await until(() => live.app.live.counts.websocket === 20, { what: 'the extra connection is closed' })

  const others = await Promise.all(Array.from({ length: 80 }, () => openLive(live)))
  t.equal(others.length, 80)
  t.equal(await statusOfUpgrade(live, { headers: { origin: live.url } }), 429)
})

t.test('live connections survive a topic rule that throws', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url, { topics: { events: () => { throw new Error('of the app: secret') } } })
  const client = await openLive(live)

  client.say({ type: 'subscribe', topic: 'events' })

  t.match(await client.next('error'), { code: 'PRISM_ERR_INTERNAL', detail: 'Internal error.' })
})

t.test('live connections are no bypass: other routes handle an upgrade as a plain request', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const { WebSocket } = await import('ws')

  const socket = new WebSocket(`ws://127.0.0.1:${live.port}/live.js`, { headers: { origin: live.url } })
  const client = followSocket(socket)
  const status = await new Promise((resolve) => socket.once('unexpected-response', (_request, response) => { resolve(response.statusCode); socket.terminate() }))
  await client.closed
  const plain = await live.app.inject('/live')

  t.equal(status, 200)
  t.equal(plain.statusCode, 426)
  t.equal(plain.headers.upgrade, 'websocket')
  t.equal((await live.app.inject({ method: 'HEAD', url: '/events' })).statusCode, 405)
})
