import t from 'tap'
import type { Test } from 'tap'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { startRig } from '../../support/faults.ts'
import type { Rig } from '../../support/faults.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { until } from '../../support/until.ts'

const unavailable = { code: 'PRISM_ERR_REDIS_UNAVAILABLE' }

async function start (t: Test): Promise<Rig & { pool: PooledRedis }> {
  const rig = await startRig(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url: rig.url, min: 1, max: 2 }))
  t.after(() => pool.quit())
  await reached({ redisPool: pool })
  return { ...rig, pool }
}

t.test('a dedicated connection supports WATCH: the transaction fails if another client has written', async (t) => {
  const { pool } = await start(t)
  await using lease = await pool.lease()

  await lease.client.watch('key')
  await pool.set('key', 'by another client')
  const lost = await lease.client.multi().set('key', 'mine').exec()
  await lease.client.watch('key')
  const won = await lease.client.multi().set('key', 'mine').exec()

  t.equal(lost, null)
  t.same(won, [[null, 'OK']])
})

t.test('a dedicated connection waits longer than any shared command', async (t) => {
  const { pool } = await start(t)
  await using lease = await pool.lease({ isBlocking: true })

  const waiting = lease.client.blpop('list', 1)
  const inVain = await waiting
  const popped = lease.client.blpop('list', 0)
  await pool.rpush('list', 'value')

  t.equal(inVain, null)
  t.same(await popped, ['list', 'value'])
})

t.test('a dedicated connection fails every command after its connection broke, because its WATCH is lost', async (t) => {
  const { pool, control } = await start(t)
  const lease = await pool.lease()
  t.after(() => lease.release())
  await lease.client.watch('key')

  await control.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => lease.client.status === 'end', { what: 'the connection has ended' })

  await t.rejects(lease.client.multi().set('key', 'mine').exec())
  await t.rejects(lease.client.get('key'))
  t.equal(await control.get('key'), null)
})

t.test('a dedicated connection fails a command without a reply in time', async (t) => {
  const { pool, redis } = await start(t)
  await using lease = await pool.lease()
  redis.signal('SIGSTOP')
  t.after(() => redis.signal('SIGCONT'))

  await t.rejects(lease.client.get('key'))
})

t.test('dedicated connections are limited in number, and available again after a release', async (t) => {
  const { pool } = await start(t)
  const leases = await Promise.all([pool.lease(), pool.lease()])

  await t.rejects(pool.lease(), unavailable)
  leases[0]?.release()
  leases[0]?.release()
  const next = await pool.lease()

  t.equal(await next.client.ping(), 'PONG')
  for (const lease of [leases[1], next]) lease?.release()
})

t.test('a dedicated connection is rejected during an outage, and occupies no slot then', async (t) => {
  const { pool, proxy } = await start(t)
  await proxy.fault('down')

  const outcomes = [await pool.lease().catch((error: Error) => error), await pool.lease().catch((error: Error) => error), await pool.lease().catch((error: Error) => error)]
  await proxy.heal()

  for (const outcome of outcomes) t.match(outcome, unavailable)
  const lease = await until(() => pool.lease(), { what: 'a dedicated connection' })
  t.equal(await lease.client.ping(), 'PONG')
  lease.release()
})

t.test('dedicated connections end with their pool, and with them waiting callers', async (t) => {
  const { pool } = await start(t)
  const lease = await pool.lease({ isBlocking: true })
  const waiting = lease.client.blpop('list', 0)

  await pool.quit()

  await t.rejects(waiting)
})
