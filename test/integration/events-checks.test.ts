import t from 'tap'
import { listen, startEventsApp } from '../support/events-app.ts'
import { startRig } from '../support/proxied-redis.ts'
import { publish } from '../support/publish.ts'
import { until } from '../support/until.ts'

const topics = Array.from({ length: 200 }, (_, index) => `user:${index}`)
const logOf = (topic: string) => `prism:${topic}:log`

t.test('silent topics are checked together: lifetimes are renewed, a lost log causes its reset, and a key of another type hinders no other topic', async (t) => {
  const { url, control } = await startRig(t)
  const app = await startEventsApp(t, url)
  const received = new Map(topics.map((topic) => [topic, listen(app, topic)]))
  await Promise.all([...received.values()].map(({ ready }) => ready))
  const [lost = '', foreign = '', ...others] = topics

  await control.call('CONFIG', 'RESETSTAT')
  await control.del(logOf(lost), logOf(foreign))
  await control.set(logOf(foreign), 'a key of another type')
  for (const topic of others) await control.pexpire(logOf(topic), 60_000)
  await until(() => received.get(lost)?.resets.length === 1, { what: 'the reset of the topic without a log', deadlineMs: 10_000 })
  await until(async () => (await Promise.all(others.map((topic) => control.pttl(logOf(topic))))).every((ms) => ms > 60_000), { what: 'all other logs are renewed', deadlineMs: 10_000 })
  const calls = Number(/cmdstat_evalsha:calls=(\d+)/.exec(await control.info('commandstats'))?.[1])

  t.ok(calls < topics.length / 4, `${calls} calls for ${topics.length} topics`)
  t.ok(others.every((topic) => received.get(topic)?.resets.length === 0))
  await control.del(logOf(foreign))
  await until(() => received.get(foreign)?.resets.length === 1, { what: 'the reset of the topic whose log is new', deadlineMs: 10_000 })
})

t.test('a topic without subscriptions is left, however many events arrive', async (t) => {
  const { url, control } = await startRig(t)
  const app = await startEventsApp(t, url)
  const publisher = await startEventsApp(t, url)
  const seen: unknown[] = []
  const subscription = app.events.subscribe('busy', ({ data }) => seen.push(data))
  await subscription.ready
  const subscribers = async () => Number((await control.call('PUBSUB', 'NUMSUB', 'prism:busy') as unknown[])[1])
  await until(async () => await subscribers() === 1, { what: 'the channel is subscribed, which may be after the position is known' })

  subscription.close()
  await until(async () => {
    await publish(publisher, 'busy', { type: 'n' })
    return await subscribers() === 0
  }, { what: 'the channel is left' })

  t.same(seen, [])
})
