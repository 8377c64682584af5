import { Redis } from 'ioredis'
import t from 'tap'
import type { CloudEvent } from '../../plugins/events.ts'
import { publish } from '../support/publish.ts'
import { faults } from '../support/faults.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'
import { dataOf, listen, startEventsApp } from '../support/events-app.ts'

t.test('events of one process reach another, in order, as CloudEvents', async (t) => {
  const { url } = await startRig(t)
  const publisher = await startEventsApp(t, url)
  const receiver = await startEventsApp(t, url)
  const received: CloudEvent[] = []
  const subscription = receiver.events.subscribe('events', (event) => received.push(event))
  const begin = await subscription.ready

  const ids = [await publish(publisher, 'events', { type: 'city.noted', data: { city: 1, tags: [], big: 12345678901234567n.toString() } })]
  for (let n = 2; n <= 20; n++) ids.push(await publish(publisher, 'events', { type: 'city.noted', data: n }))
  await until(() => received.at(-1)?.id === ids.at(-1), { what: '20 events' })

  t.same(received.map(({ id }) => id).filter((id = '') => ids.includes(id)), ids)
  t.same(received.map(({ prev }) => prev), [begin, ...received.slice(0, -1).map(({ id }) => id)])
  t.match(received[0], { specversion: '1.0', source: 'fastify-prism', type: 'city.noted', data: { city: 1, tags: [] } })
  t.equal(subscription.position, ids.at(-1))
})

t.test('events published in the tick of the subscription are delivered', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)

  const received = listen(app, 'events')
  await publish(app, 'events', { type: 'x', data: 1 })

  await until(() => received.seen.length === 1, { what: 'the event' })
  t.same(received.resets, [])
})

t.test('events published in the tick of the subscription are delivered, even after earlier events', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)

  const before = app.events.publish('events', { type: 'x', data: 'before' })
  const received = listen(app, 'events')
  await Promise.all([before, app.events.publish('events', { type: 'x', data: 1 }), app.events.publish('events', { type: 'x', data: 2 })])

  await until(() => received.seen.length >= 2, { what: 'both events' })
  t.same(dataOf(received.seen).slice(-2), [1, 2])
  t.same(received.resets, [])
})

t.test('publish rejects with an error code during an outage, and subscriptions made meanwhile receive later events', async (t) => {
  const rig = await startRig(t)
  const app = await startEventsApp(t, rig.url)
  await rig.redis.kill()
  const received = listen(app, 'events')
  await t.rejects(app.events.publish('events', { type: 'x' }), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })

  await rig.redis.start()
  await received.ready
  await publish(app, 'events', { type: 'x', data: 1 })

  await until(() => received.seen.length > 0, { what: 'the event' })
  t.same(received.resets, [])
})

t.test('an event with data that JSON would change is rejected before publication, with the alternative in the error', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)
  const received = listen(app, 'events')
  await received.ready
  class Cart { things = ['tea'] }
  const refused: [unknown, RegExp][] = [
    [new Map([['a', 1]]), /Object\.fromEntries/], [new Set([1]), /\[\.\.\.set\]/], [/x/, /RegExp/], [NaN, /NaN/], [Infinity, /Infinity/], [1n, /String\(value\)/],
    [() => {}, /function/], [Promise.resolve(1), /await/], [new Cart(), /Cart/], [new Error('x'), /message/], [Buffer.from('x'), /base64/], [new Date(NaN), /Date/]
  ]
  for (const [value, reason] of refused) {
    await t.rejects(app.events.publish('events', { type: 'x', data: { list: [value] } }), { code: 'PRISM_ERR_EVENT', message: reason })
    await t.rejects(app.events.publish('events', { type: 'x', data: value }), { code: 'PRISM_ERR_EVENT', message: reason })
  }
  const data = { at: new Date(0), none: null, list: [], gone: undefined }
  for (const event of [{ type: 'x', data }, { type: 'x', data: undefined }, { type: 'x' }]) await publish(app, 'events', event)

  await until(() => received.seen.length === 3, { what: 'the valid events' })
  t.same(dataOf(received.seen), [{ at: '1970-01-01T00:00:00.000Z', none: null, list: [] }, undefined, undefined])
})

t.test('messages of other services are delivered without an id, and malformed ones are counted', async (t) => {
  const { url, control } = await startRig(t)
  const app = await startEventsApp(t, url)
  const received = listen(app, 'events')
  await until(() => control.pubsub('NUMSUB', 'prism:events').then(([, count]) => count === 1), { what: 'the channel has a subscriber' })

  for (const text of ['{"type":"py","data":[],"id":"7"}', '{"hello":"world"}', 'nonsense', '[1]', '{"type":5}', JSON.stringify({ type: 'x', data: 'y'.repeat(20_000) })]) await control.publish('prism:events', text)
  await publish(app, 'events', { type: 'n', data: 'last' })
  await until(() => received.seen.length === 3, { what: 'three events' })

  t.match(received.seen[0], { specversion: '1.0', type: 'py', source: 'redis', data: [], id: undefined })
  t.match(received.seen[1], { type: 'message', data: { hello: 'world' }, id: undefined })
  t.equal(app.events.counts.malformed, 4)
  t.equal(app.events.counts.external, 2)
  t.same(received.resets, [])
})

t.test('a plain Redis subscriber can read the events', async (t) => {
  const { url, redis } = await startRig(t)
  const app = await startEventsApp(t, url)
  const plain = new Redis(redis.port)
  t.after(() => plain.disconnect())
  const messages: string[] = []
  await plain.subscribe('prism:user:42')
  plain.on('message', (_channel, message: string) => messages.push(message))

  const id = await publish(app, 'user:42', { type: 'n', data: { list: [], ünï: '\u2028"' } })
  const message = await until(() => messages.map((message) => JSON.parse(message)).find((event) => event.id === id), { what: 'the message' })

  t.match(message, { specversion: '1.0', id, prev: String, type: 'n', data: { list: [], ünï: '\u2028"' } })
  t.equal(JSON.parse(messages[0] ?? '').prev, '')
})

t.test('closed subscriptions cause no reads after an outage', async (t) => {
  const rig = await startRig(t)
  const app = await startEventsApp(t, rig.url)
  await listen(app, 'events').ready
  await faults.down.inject(rig)
  await until(() => app.redisPool.state !== 'ready', { what: 'the outage is detected' })

  for (let n = 0; n < 200; n++) app.events.subscribe('events', () => {}, { from: `${n + 1}-0` }).close()
  const gone = Array.from({ length: 200 }, (_, n) => app.events.subscribe('events', () => {}, { from: `${n + 1}-0` }))
  await until(() => app.events.publish('events', { type: 'x' }).then(() => false, () => true), { what: 'a failure' })
  for (const each of gone) each.close()
  await faults.down.heal(rig)
  await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable again' })
  await listen(app, 'events').ready
  await listen(app, 'other').ready

  const [, reads] = /cmdstat_xrevrange:calls=(\d+)/.exec(await app.redis.info('commandstats')) ?? []
  t.ok(Number(reads) < 50, `${reads} log reads`)
})

t.test('invalid topics, events and positions are rejected with a code', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)

  for (const topic of ['', 'a*', 'a b', 'a\nb', 'ü', 'x'.repeat(129)]) {
    await t.rejects(app.events.publish(topic, { type: 'n' }), { code: 'PRISM_ERR_TOPIC' })
    t.throws(() => app.events.subscribe(topic, () => {}), { code: 'PRISM_ERR_TOPIC' })
  }
  await t.rejects(app.events.publish('events', { type: '' }), { code: 'PRISM_ERR_EVENT' })
  await t.rejects(app.events.publish('events', { type: 'n', data: 1n }), { code: 'PRISM_ERR_EVENT' })
  await t.rejects(app.events.publish('events', { type: 'n', data: 'x'.repeat(16_384) }), { code: 'PRISM_ERR_EVENT_TOO_LARGE' })
  for (const time of ['soon', '27 Nov 2026', '2026-11-27', '2026-13-27T10:00:00Z', '2026-11-27T10:00:00']) await t.rejects(app.events.publish('events', { type: 'n', time }), { code: 'PRISM_ERR_EVENT' })
  // Redis rejects every read from the last two.
  for (const from of ['soon', '1', '01-0', '1-00', '18446744073709551615-18446744073709551615', '99999999999999999999-0']) {
    t.throws(() => app.events.subscribe('events', () => {}, { from }), { code: 'PRISM_ERR_OPTION' })
  }
  t.ok(await publish(app, 'events', { type: 'n', time: '2026-11-27T10:00:00.5+01:00' }))
})

t.test('a subscription made while an event is delivered begins with the next event', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)
  const late: unknown[] = []
  const early: unknown[] = []
  await app.events.subscribe('events', ({ data }) => {
    if (early.push(data) === 1) app.events.subscribe('events', ({ data }) => late.push(data))
  }).ready

  for (let n = 1; n <= 3; n++) await app.events.publish('events', { type: 'n', data: n })
  await until(() => early.length === 3 && late.length > 1, { what: 'all events' })

  t.same(late, [2, 3])
})

t.test('a subscriber that throws does not affect other subscribers', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)
  app.events.subscribe('events', () => { throw new Error('mine') })
  app.events.subscribe('events', async () => { throw new Error('mine too') })
  const received: CloudEvent[] = []
  app.events.subscribe('events', (event) => received.push(event))

  const id = await publish(app, 'events', { type: 'n' })
  await until(() => received.at(-1)?.id === id, { what: 'the event' })

  t.equal(app.events.counts.failed, 2 * received.length)
})

t.test('a subscription with a wrong or unknown option is rejected', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url)
  const subscribe = app.events.subscribe.bind(app.events) as (...args: unknown[]) => unknown
  const listener = () => {}

  for (const [args, message] of [[['events'], /listener/], [['events', listener, { after: '1-0' }], /subscribe\.after.*from, onBegin, onReset/], [['events', listener, { onReset: 'reload' }], /onReset/], [['events', listener, 'reload'], /subscribe/]] as const) {
    t.throws(() => subscribe(...args), { code: 'PRISM_ERR_OPTION', message })
  }
})
