import t from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { openLive, startLive } from '../support/live.ts'
import { publish } from '../support/publish.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

t.test('live connections opened during an outage receive all events after it', async (t) => {
  const rig = await startRig(t)
  await rig.redis.kill()
  const live = await startLive(t, rig.url, {}, defaultDeadlineMs)
  const client = await openLive(live)
  client.say({ type: 'subscribe', topic: 'events' })
  client.say({ type: 'ping' })
  await client.next('pong')

  await rig.redis.start()
  await client.next('subscribed')
  const id = await publish(live.app, 'events', { type: 'n', data: 1 })
  await until(() => client.frames.some(({ event }) => event?.id === id), { what: 'the event' })

  t.same(client.frames.filter(({ type }) => type === 'reset'), [])
})

t.test('live connections stay open while Redis hangs, is unreachable, and restarts empty', async (t) => {
  const rig = await startRig(t)
  const live = await startLive(t, rig.url, { heartbeat: '1s' }, defaultDeadlineMs)
  const client = await openLive(live, { headers: { cookie: await live.signIn('ann') } })
  client.say({ type: 'subscribe', topic: 'events' })
  await client.next('subscribed')

  rig.redis.signal('SIGSTOP')
  await until(() => live.app.redisPool.batch.get('any').then(() => false, () => live.app.redisPool.state === 'degraded'), { what: 'the outage is detected' })
  rig.redis.signal('SIGCONT')
  const ids = [await publish(live.app, 'events', { type: 'n', data: 1 })]
  await rig.proxy.fault('partition')
  await until(() => live.app.redisPool.batch.get('any').then(() => false, () => live.app.redisPool.state === 'degraded'), { what: 'the outage is detected' })
  await rig.proxy.heal()
  ids.push(await publish(live.app, 'events', { type: 'n', data: 2 }))
  await until(() => ids.every((id) => client.frames.some(({ event }) => event?.id === id)), { what: 'both events' })
  t.same(client.frames.filter(({ type }) => type === 'reset'), [])
  t.equal(client.socket.readyState, client.socket.OPEN)

  await rig.redis.restart()
  t.equal(await client.closed, 4001, 'its session was lost with the data')
})
