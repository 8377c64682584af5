import t from 'tap'
import { startEventsApp, listen } from '../support/events-app.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

t.test('a confirmed publish reaches the subscriber of its process although the first read of the topic has timed out', async (t) => {
  const rig = await startRig(t)
  const app = await startEventsApp(t, rig.url, 200)
  let confirmed = 0
  for (let round = 0; round < 4; round++) {
    await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable' })
    rig.redis.signal('SIGSTOP')
    const resumed = setTimeout(() => rig.redis.signal('SIGCONT'), 240 + 20 * round)
    const received = listen(app, `topic${round}`)
    const publish = async () => await app.events.publish(`topic${round}`, { type: 'x', data: round })
    const id = await publish().catch(() => undefined) ?? await until(async () => await publish().catch(() => undefined), { what: 'it is confirmed' })
    confirmed += id === undefined ? 0 : 1
    await until(() => received.seen.length > 0, { what: 'the event is received' })
    clearTimeout(resumed)
  }
  t.equal(confirmed, 4)
})

t.test('as many entries of another service as a page holds are one gap, and the topic goes on', async (t) => {
  const rig = await startRig(t)
  const app = await startEventsApp(t, rig.url, 2000)
  const received = listen(app, 'events')
  await received.ready
  await app.events.publish('events', { type: 'x', data: 1 })
  for (let count = 0; count < 200; count++) await rig.control.xadd('prism:events:log', '*', 'foreign', 'x')
  await app.events.publish('events', { type: 'x', data: 2 })
  await until(() => received.resets.length > 0, { what: 'the gap is reported' })
  await app.events.publish('events', { type: 'x', data: 3 })

  t.ok(await until(() => received.seen.length >= 2, { what: 'later events are received' }))
  t.equal(received.resets.length, 1)
})
