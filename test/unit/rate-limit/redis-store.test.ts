import { Redis } from 'ioredis'
import { test } from 'tap'
import type { Test } from 'tap'
import { decisionOf } from '../../../src/rate-limit/script-reply.ts'
import type { Decision } from '../../../src/rate-limit/script-reply.ts'
import { quotaCostOf } from '../../../src/rate-limit/quota.ts'
import { LimitStore } from '../../../src/rate-limit/redis-store.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedisProcess } from '../../support/redis-process.ts'

const costs = [quotaCostOf({ algorithm: 'sliding', quota: 100, windowMs: 60_000, bucketOrBurst: 1000 }, 1)]
const claimOf = (who: string) => ({ name: who, keys: [`ratelimit:{ip:${who}}:all`], costs })

async function open (t: Test): Promise<{ pool: PooledRedis, redis: Redis }> {
  const { url } = await startRedisProcess(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url, commandTimeout }))
  const redis = new Redis(url)
  t.after(async () => {
    redis.disconnect()
    await pool.quit()
  })
  await reached({ redisPool: pool })
  return { pool, redis }
}

async function take (store: LimitStore, who: string): Promise<Decision> {
  const check = store.consume(claimOf(who))
  const place = check.add()
  return decisionOf(await check.promise(), place, costs)
}

test('store coalesces identical checks of a tick, and each gets the result it would have alone', async (t) => {
  const { pool } = await open(t)
  const store = new LimitStore(pool.batch)
  const { operations } = pool.batch.counts

  const decision = await Promise.all(Array.from({ length: 103 }, () => take(store, '192.0.2.1')))

  t.equal(pool.batch.counts.operations - operations, 1)
  t.same(decision.slice(0, 3).map(({ statuses }) => statuses[0]?.remaining), [99, 98, 97])
  t.same(decision.map(({ isAllowed }) => isAllowed), [...new Array<boolean>(100).fill(true), false, false, false])
})

test('store sends a new check in the next tick', async (t) => {
  const { pool } = await open(t)
  const store = new LimitStore(pool.batch)

  const remaining = [await take(store, '192.0.2.1'), await take(store, '192.0.2.1'), await take(store, '192.0.2.2')].map(({ statuses }) => statuses[0]?.remaining)

  t.same(remaining, [99, 98, 99])
})

test("store keeps counting when Redis's clock is set forward or back", async (t) => {
  const { pool } = await open(t)
  let aheadMs = 0
  const store = new LimitStore(pool.batch, () => performance.now() + aheadMs)

  const remaining: (number | undefined)[] = []
  for (aheadMs of [0, -3_600_000, 0, 7_200_000, 0]) remaining.push((await take(store, '192.0.2.1')).statuses[0]?.remaining)

  t.same(remaining, [99, 98, 97, 96, 95])
})

test('store peeks without consuming, and resets', async (t) => {
  const { pool, redis } = await open(t)
  const store = new LimitStore(pool.batch)
  await take(store, '192.0.2.1')

  const seen = [await store.peek(claimOf('192.0.2.1')), await store.peek(claimOf('192.0.2.1'))]
  await store.reset(claimOf('192.0.2.1').keys)

  t.same(seen.map(({ statuses }) => statuses[0]?.remaining), [99, 99])
  t.equal(await redis.dbsize(), 0)
})

test('store counts correctly when one call checks a counter repeatedly, in the same bucket or a new one', async (t) => {
  const { pool } = await open(t)
  const store = new LimitStore(pool.batch)
  const remainingFor = async (route: string) => {
    const check = store.consume({ ...claimOf('192.0.2.1'), name: route })
    const place = check.add()
    return decisionOf(await check.promise(), place, costs).statuses[0]?.remaining
  }

  const first = await Promise.all(['a', 'b', 'c', 'd'].map(remainingFor))
  const second = await Promise.all(['a', 'b', 'c'].map(remainingFor))

  t.same(first, [99, 98, 97, 96])
  t.same(second, [95, 94, 93])
})
