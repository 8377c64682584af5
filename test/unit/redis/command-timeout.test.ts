import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import type { RedisOptions } from '../../../src/redis/options.ts'
import { startProxiedCluster } from '../../support/proxied-cluster.ts'
import { startRig } from '../../support/proxied-redis.ts'
import { until } from '../../support/until.ts'

t.setTimeout(300_000)

/** A round trip of about 300 ms. */
const farAway = { delayMs: 150 }

function open (t: Test, options: RedisOptions): PooledRedis {
  const pool = new PooledRedis(resolveRedisPolicy({ min: 2, max: 3, ...options }))
  t.after(() => pool.quit())
  return pool
}

t.test('a Redis 300 ms away works with a longer commandTimeout, and not with the default', async (t) => {
  const rig = await startRig(t)
  await rig.proxy.fault('latency', farAway)
  const patient = open(t, { url: rig.url, commandTimeout: '1s' })
  const usual = open(t, { url: rig.url })

  await until(() => patient.state === 'ready', { what: 'the pool is ready' })
  await patient.set('key', 'value')
  t.equal(await patient.get('key'), 'value')
  t.equal(String(await patient.batch.get('key')), 'value')
  t.same(await patient.pipeline().get('key').exec(), [[null, 'value']])
  await using lease = await patient.lease()
  t.equal(await (lease.client as Redis).get('key'), 'value')
  const subscriber = patient.openSubscriber()
  t.after(() => subscriber.disconnect())
  await subscriber.subscribe('channel')

  await t.rejects(usual.get('key'), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
  t.equal(patient.batch.counts.timeouts, 0)
  t.equal(patient.state, 'ready')
})

t.test('a Cluster 300 ms away works with a longer commandTimeout', async (t) => {
  const { url, proxies } = await startProxiedCluster(t)
  for (const proxy of proxies.values()) await proxy.fault('latency', farAway)
  const pool = open(t, { url, commandTimeout: '1s' })

  await until(() => pool.state === 'ready' && pool.load.ready === 2, { what: 'the pool is ready' })
  for (let index = 0; index < 12; index++) t.equal(await pool.set(`key:${index}`, 'value'), 'OK')
  t.equal(pool.batch.counts.timeouts, 0)
})

t.test('every kind of call waits for commandTimeout', async (t) => {
  const rig = await startRig(t)
  const pool = open(t, { url: rig.url, commandTimeout: '400ms' })
  await until(() => pool.state === 'ready', { what: 'the pool is ready' })
  const lease = await pool.lease()
  t.after(() => lease.release())
  await rig.proxy.fault('partition')

  const late = await Promise.allSettled([pool.get('key'), pool.batch.get('key'), pool.batch.command('GET', ['key']), pool.pipeline().get('key').exec(), lease.client.get('key')])

  for (const each of late) t.match(each, { status: 'rejected', reason: { message: /no reply within 400 ms|no connection/ } })
  await rig.proxy.heal()
  await until(() => pool.state === 'ready' && pool.set('written', 'yes').then(() => true, () => false), { what: 'the pool has recovered' })
})
