import t from 'tap'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { Subscriber } from '../../../src/redis/subscriber.ts'
import { startRig } from '../../support/proxied-redis.ts'
import { until } from '../../support/until.ts'

/** A subscriber behind a proxy on one channel, and its received calls. */
async function joined (t: Parameters<typeof startRig>[0]) {
  const rig = await startRig(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url: rig.url, min: 1, max: 1 }))
  t.after(() => pool.disconnect())
  const subscriber = new Subscriber(() => pool.openSubscriber(), () => {})
  t.after(() => subscriber.close())
  const told = { heard: [] as string[], joined: 0 }
  subscriber.join('news', { onMessage: (message) => told.heard.push(message), onSubscribed: () => { told.joined += 1 } })
  await until(() => told.joined === 1, { what: 'the channel is subscribed' })
  return { rig, subscriber, told }
}

t.test('subscriber subscribes its channels again after each loss of the connection, once', async (t) => {
  const { rig, told } = await joined(t)

  await rig.control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until(() => told.joined === 2, { what: 'the channel is subscribed again' })
  await rig.control.publish('news', 'after')
  await until(() => told.heard.length > 0, { what: 'the message' })

  t.same(told, { heard: ['after'], joined: 2 })
})

t.test('a subscriber closed during a resubscription leaves no unhandled rejection', async (t) => {
  const { rig, subscriber } = await joined(t)
  const unhandled: unknown[] = []
  const note = (error: unknown) => { unhandled.push(error) }
  process.on('unhandledRejection', note)
  t.after(() => process.off('unhandledRejection', note))

  await rig.proxy.fault('latency', { delayMs: 300, jitterMs: 0 })
  await rig.control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until(() => subscriber.connections === 2, { what: 'the connection is open, its channel is not subscribed' })
  subscriber.close()
  await until(() => !subscriber.isReady, { what: 'the connection has ended' })

  t.same(unhandled, [])
})
