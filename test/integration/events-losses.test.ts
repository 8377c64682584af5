import t from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { publish } from '../support/publish.ts'
import { startRig } from '../support/proxied-redis.ts'
import type { Rig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'
import { dataOf, listen, startEventsApp } from '../support/events-app.ts'

t.test('a subscriber that resumes after an id receives all later events, from Redis and from the replay buffer', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url, defaultDeadlineMs)
  const other = await startEventsApp(t, url, defaultDeadlineMs)
  const first = listen(app, 'events')
  await first.ready
  const ids: string[] = []
  for (let n = 0; n < 200; n++) ids.push(await publish(app, 'events', { type: 'n', data: n }))
  await until(() => first.seen.length === 200, { what: 'the first subscriber has all events' })

  const near = listen(app, 'events', ids[99])
  const far = listen(other, 'events', ids[9])
  await until(() => near.seen.length === 100 && far.seen.length === 190, { what: 'both resumed' })
  await publish(app, 'events', { type: 'n', data: 'last' })
  await until(() => near.seen.length === 101 && far.seen.length === 191, { what: 'both have all events' })

  t.same(dataOf(near.seen).slice(0, 2), [100, 101])
  t.same(dataOf(far.seen).slice(0, 2), [10, 11])
  t.same([near.resets, far.resets], [[], []])
})

t.test('a subscriber receives one reset if the log no longer contains its position', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url, defaultDeadlineMs)
  const id = await publish(app, 'events', { type: 'n', data: 1 })

  const unknown = listen(app, 'events', '1-1')
  const future = listen(app, 'events', '9999999999999-0')
  await until(() => unknown.resets.length === 1 && future.resets.length === 1, { what: 'both received a reset' })
  await publish(app, 'events', { type: 'n', data: 2 })
  await until(() => unknown.seen.length === 1 && future.seen.length === 1, { what: 'both receive later events' })

  t.same([unknown.resets, future.resets], [[id], [id]])
})

const losses: Record<string, (rig: Rig) => Promise<unknown>> = {
  'FLUSHALL takes the log': ({ control }) => control.flushall(),
  'eviction takes the log': ({ control }) => control.del('prism:events:log'),
  'the log is trimmed to nothing': ({ control }) => control.xtrim('prism:events:log', 'MAXLEN', 0),
  'Redis is killed and restarts empty': ({ redis }) => redis.restart()
}

t.test('each subscriber receives exactly one reset', async (t) => {
  t.jobs = 4
  for (const [what, lose] of Object.entries(losses)) {
    for (const publishes of [true, false]) {
      t.test(`when ${what}${publishes ? ' and an event is published' : ' and no event is published'}`, { buffered: true }, async (t) => {
        const rig = await startRig(t)
        const app = await startEventsApp(t, rig.url, defaultDeadlineMs)
        const other = await startEventsApp(t, rig.url, defaultDeadlineMs)
        const received = [listen(app, 'events'), listen(app, 'events'), listen(other, 'events')]
        await Promise.all(received.map(({ ready }) => ready))
        await publish(app, 'events', { type: 'n', data: 'before' })
        await until(() => received.every(({ seen }) => seen.length > 0), { what: 'all have the event' })

        await lose(rig)
        if (publishes) await publish(app, 'events', { type: 'n', data: 'meanwhile' })
        await until(() => received.every(({ resets }) => resets.length > 0), { what: 'all received a reset' })
        await publish(app, 'events', { type: 'n', data: 'after' })
        await until(() => received.every(({ seen }) => seen.at(-1)?.data === 'after'), { what: 'all receive later events' })

        for (const { resets } of received) t.equal(resets.length, 1)
      })
    }
  }
})

t.test('events of 500 topics and a long, large log are read after a lost connection, and other topics are served meanwhile', async (t) => {
  const { url, control } = await startRig(t)
  const app = await startEventsApp(t, url, defaultDeadlineMs)
  const publisher = await startEventsApp(t, url, defaultDeadlineMs)
  const received = Array.from({ length: 500 }, (_, n) => listen(app, `user:${n}`))
  await Promise.all(received.map(({ ready }) => ready))
  const large = listen(app, 'large')
  await large.ready

  await control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  for (let n = 0; n < 500; n++) await publish(publisher, `user:${n}`, { type: 'n', data: n })
  for (let n = 0; n < 200; n++) await publish(publisher, 'large', { type: 'n', data: `${n} ${'x'.repeat(15_000)}` })
  await until(() => large.seen.length === 200 && received.every(({ seen }) => seen.length === 1), { what: 'all topics' })

  t.same([...received, large].flatMap(({ resets }) => resets), [])
})

t.test('an entry that another service wrote into the log causes a reset', async (t) => {
  const { url } = await startRig(t)
  const app = await startEventsApp(t, url, defaultDeadlineMs)
  const { seen, resets, ready } = listen(app, 'events')
  await ready

  for (const fields of [['prev', 'x'], ['prev', '', 'other', '{}'], ['a', 'b']]) {
    const count = resets.length
    await app.redis.xadd('prism:events:log', '*', ...fields)
    await publish(app, 'events', { type: 'lost' })
    await until(() => resets.length > count, { what: `a reset after ${fields.join()}` })
    await publish(app, 'events', { type: 'after', data: count })
    await until(() => dataOf(seen).includes(count), { what: 'the next event' })
  }

  t.same(dataOf(seen.filter(({ type }) => type === 'after')), [0, 1, 2])
})

t.test('no event is lost when the subscribed connection is killed or half open', async (t) => {
  const rig = await startRig(t)
  const app = await startEventsApp(t, rig.url, defaultDeadlineMs)
  const received = listen(app, 'events')
  const publisher = await startEventsApp(t, rig.redis.url, defaultDeadlineMs)
  await received.ready
  const sent: number[] = []
  const send = async (n: number) => {
    await publish(publisher, 'events', { type: 'n', data: n })
    sent.push(n)
  }
  await send(0)
  await until(() => received.seen.length > 0, { what: 'the first event' })

  await rig.control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  for (let n = 1; n < 50; n++) await send(n)
  await rig.proxy.fault('halfOpen')
  for (let n = 50; n < 100; n++) await send(n)
  await rig.proxy.heal()
  await until(() => received.seen.length === 100, { what: 'all events' })

  t.same(dataOf(received.seen), sent)
  t.same(received.resets, [])
})
