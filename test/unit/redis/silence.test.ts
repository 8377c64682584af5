import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import type { RedisOptions } from '../../../src/redis/options.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { Subscriber } from '../../../src/redis/subscriber.ts'
import { startRig } from '../../support/faults.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedisProcess } from '../../support/redis-process.ts'
import { startTls } from '../../support/tls.ts'
import { until } from '../../support/until.ts'

/** Longer than any timer of a connection. */
const standstillMs = 2000

async function open (t: Test, options: RedisOptions): Promise<PooledRedis> {
  const pool = new PooledRedis(resolveRedisPolicy({ min: 1, max: 1, ...options }))
  t.after(() => pool.quit())
  await reached({ redisPool: pool })
  await pool.set('key', 'value')
  return pool
}

/** Blocks the event loop, as a computing handler does. */
function standStill (): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, standstillMs)
}

async function repliesAfterStandstill (pool: PooledRedis): Promise<unknown[]> {
  const replies = [pool.get('key'), pool.batch.get('key').then(String), pool.pipeline().get('key').exec().then((results) => results?.[0]?.[1])]
  await new Promise((resolve) => setImmediate(resolve))
  standStill()
  return await Promise.all(replies)
}

t.test('a connection whose reply arrived while the event loop was blocked is not unresponsive', async (t) => {
  const { url } = await startRedisProcess(t)
  const pool = await open(t, { url })
  const [{ lost }, { timeouts }] = [{ ...pool.losses }, { ...pool.batch.counts }]

  t.same(await repliesAfterStandstill(pool), ['value', 'value', 'value'])

  t.equal(pool.losses.lost, lost)
  t.equal(pool.batch.counts.timeouts, timeouts)
})

t.test('a TLS connection whose reply arrived while the event loop was blocked is not unresponsive', async (t) => {
  const { url, ca } = await startTls(t)
  const pool = await open(t, { url, connection: { tls: { ca } } })
  const { lost } = { ...pool.losses }

  t.same(await repliesAfterStandstill(pool), ['value', 'value', 'value'])

  t.equal(pool.losses.lost, lost)
})

t.test('a dedicated connection whose reply arrived while the event loop was blocked keeps its WATCH', async (t) => {
  const { url } = await startRedisProcess(t)
  const pool = await open(t, { url })
  await using lease = await pool.lease()
  await lease.client.watch('key')

  const reply = lease.client.get('key')
  standStill()

  t.equal(await reply, 'value')
  t.same(await lease.client.multi().set('key', 'changed').exec(), [[null, 'OK']])
})

t.test('a subscriber whose reply arrived while the event loop was blocked stays connected', async (t) => {
  const { url } = await startRedisProcess(t)
  const pool = await open(t, { url })
  const client = pool.openSubscriber() as Redis
  const received = Promise.withResolvers<unknown>()
  const ping = client.ping.bind(client)
  client.ping = () => {
    const reply = ping()
    setImmediate(standStill)
    received.resolve(reply)
    return reply
  }
  const subscriber = new Subscriber(() => client, () => {})
  t.after(() => subscriber.close())
  const heard: string[] = []
  await new Promise<void>((resolve) => subscriber.join('channel', { onMessage: (message) => heard.push(message), onSubscribed: resolve }))

  await received.promise
  client.ping = ping
  await pool.publish('channel', 'hello')

  await until(() => heard.length > 0, { what: 'the message is received' })
  t.equal(subscriber.connections, 1)
})

t.test('an unresponsive connection is detected and replaced', async (t) => {
  const { proxy } = await startRig(t)
  const pool = await open(t, { url: proxy.url })
  const accepted = proxy.accepted
  await proxy.fault('halfOpen')

  await t.rejects(pool.pipeline().get('key').exec(), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
  const value = await until(() => pool.get('key'), { what: 'a reply on another connection' })

  t.equal(value, 'value')
  t.ok(proxy.accepted > accepted)
})
