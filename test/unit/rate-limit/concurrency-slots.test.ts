import fc from 'fast-check'
import { Redis } from 'ioredis'
import { test } from 'tap'
import type { Test } from 'tap'
import { ConcurrencySlots } from '../../../src/rate-limit/concurrency-slots.ts'
import { concurrencyQuota } from '../../../src/rate-limit/quota.ts'
import type { Quota } from '../../../src/rate-limit/quota.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { startClock } from '../../support/limit-clock.ts'
import type { Step } from '../../support/limit-clock.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedisProcess } from '../../support/redis-process.ts'
import { until } from '../../support/until.ts'
import { propertyRuns } from '../../support/property-runs.ts'

const key = 'ratelimit:{ip:192.0.2.1}:GET:/%23concurrency'
const beginUs = 1_763_800_000_000_000
const narrow: Quota = { algorithm: 'sliding', quota: 12, windowMs: 60_000, bucketOrBurst: 1 }

async function open (t: Test): Promise<{ slots: ConcurrencySlots, redis: Redis }> {
  const { url } = await startRedisProcess(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url, commandTimeout }))
  const redis = new Redis(url)
  const slots = new ConcurrencySlots(pool.batch, () => 0)
  t.after(async () => {
    slots.close()
    redis.disconnect()
    await pool.quit()
  })
  await reached({ redisPool: pool })
  return { slots, redis }
}

/** One step of a test: requests slots, and releases some of the held ones. */
const moments = fc.array(fc.record({ gapMs: fc.constantFrom(0, 1, 500, 20_000, 31_000), requestCount: fc.integer({ min: 0, max: 6 }), returned: fc.integer({ min: 0, max: 6 }) }), { minLength: 1, maxLength: 30 })

test('slots and quotas are consumed together or not at all, in any sequence of checks and releases', async (t) => {
  const run = await startClock(t)

  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 8 }), moments, async (limit, made) => {
    const held: { place: string, endsAtUs: number }[] = []
    const steps: Step[] = []
    let [atUs, used] = [beginUs, 0]
    for (const [index, { gapMs, requestCount, returned }] of made.entries()) {
      atUs += gapMs * 1000
      const given = held.splice(0, returned)
      for (let at = held.length - 1; at >= 0; at--) if ((held[at]?.endsAtUs ?? 0) <= atUs) held.splice(at, 1)
      const claims = [{ key: 'quota', quota: narrow, cost: 1 }, { key: 'places', quota: concurrencyQuota(limit), cost: 1 }]
      steps.push({ atUs, requestCount, claims, lease: `t.${index}`, returned: given.map(({ place }) => ({ key: 'places', place })) })
      const told = (await run(steps)).at(-1)
      const expected = Math.min(requestCount, limit - held.length, narrow.quota - used)
      // The window is long enough for all steps, except the last one, which is beyond it.
      if (atUs - beginUs >= narrow.windowMs * 1000) return true
      for (let place = 1; place <= expected; place++) held.push({ place: `t.${index}.${place}`, endsAtUs: atUs + 30_000_000 })
      used += expected
      if (told?.granted !== expected) return false
      if (told.statuses[0]?.remaining !== narrow.quota - used || told.statuses[1]?.remaining !== limit - held.length) return false
    }
    return true
  }), { numRuns: propertyRuns(30) })

  t.pass('held')
})

test('held slots are renewed beyond their lease, and recreated after Redis has lost them', async (t) => {
  const { slots, redis } = await open(t)
  const [one, other] = [slots.track(key, 'a.1.1'), slots.track(key, 'a.2.1')]

  slots.recover()
  await until(async () => await redis.zcard(key) === 2, { what: 'both slots are held' })
  const lifeMs = await redis.pttl(key)
  one.release()
  other.release()
  one.release()

  t.ok(lifeMs > 0 && lifeMs <= 30_000)
  await until(async () => await redis.exists(key) === 0, { what: 'no slot is held' })
})

test('a slot released during a renewal becomes free', async (t) => {
  const { slots, redis } = await open(t)

  for (let index = 0; index < 50; index++) {
    const slot = slots.track(key, `a.${index}.1`)
    slots.recover()
    slot.release()
  }
  await until(async () => await redis.zcard(key) > 0, { what: 'the renewal has run' })

  await until(async () => await redis.exists(key) === 0, { what: 'no slot is held' })
})

test('slots that may have been granted without a reply are released', async (t) => {
  const { slots, redis } = await open(t)
  await redis.zadd(key, Date.now() + 30_000, 'a.1.1', Date.now() + 30_000, 'b.1.1')

  slots.releaseUnconfirmed(key, 'a.1.1')

  await until(async () => (await redis.zrange(key, '0', '-1')).join() === 'b.1.1', { what: 'the released slot is free, and the other is held' })
  t.pass('free')
})

test('a key of another type is replaced by the slots', async (t) => {
  const { slots, redis } = await open(t)
  await redis.set(key, 'another type')

  slots.track(key, 'a.1.1')
  slots.recover()

  await until(async () => (await redis.zrange(key, '0', '-1')).join() === 'a.1.1', { what: 'the key holds slots' })
  t.pass('healed')
})
