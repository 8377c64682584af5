import assert from 'node:assert'
import fc from 'fast-check'
import { test } from 'tap'
import type { Test } from 'tap'
import { openCounter } from '../../../src/rate-limit/local-counter.ts'
import type { Algorithm, Quota } from '../../../src/rate-limit/quota.ts'
import { bucketMsOf } from '../../../src/rate-limit/quota.ts'
import { startClock } from '../../support/limit-clock.ts'
import type { Step } from '../../support/limit-clock.ts'
import { propertyRuns } from '../../support/property-runs.ts'

const beginUs = 1_763_800_000_000_000

const quotas = (algorithm: Algorithm) => fc.record({ quota: fc.integer({ min: 1, max: 200 }), windowMs: fc.integer({ min: 1, max: 5000 }), burst: fc.integer({ min: 1, max: 50 }) })
  .map(({ quota, windowMs, burst }): Quota => ({ algorithm, quota, windowMs, bucketOrBurst: algorithm === 'sliding' ? bucketMsOf(quota, windowMs) : algorithm === 'gcra' ? burst : 0 }))

/** Gaps from zero to beyond a window in microseconds; several requests, with several costs. */
const manyRequests = fc.array(fc.record({
  gap: fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.integer({ min: 0, max: 6_000_000 }), fc.constantFrom(0, 999, 1000)),
  requestCount: fc.integer({ min: 1, max: 40 }),
  cost: fc.integer({ min: 1, max: 3 })
}), { minLength: 1, maxLength: 60 })

function stepsOf (quota: Quota, made: { gap: number, requestCount: number, cost: number }[]): Step[] {
  let atUs = beginUs
  return made.map(({ gap, requestCount, cost }) => {
    atUs += gap
    return { atUs, requestCount, claims: [{ key: 'one', quota, cost }] }
  })
}

/** Asserts a property; a failure throws with the smallest counterexample. */
async function holds<Inputs> (t: Test, property: fc.IAsyncProperty<Inputs>, parameters: fc.Parameters<Inputs>): Promise<void> {
  await fc.assert(property, parameters)
  t.pass('held')
}

test('consume.lua never allows more than the quota in any sliding window, of any position', async (t) => {
  const run = await startClock(t)

  await holds(t, fc.asyncProperty(quotas('sliding'), manyRequests, async (quota, made) => {
    const steps = stepsOf(quota, made)
    const replies = await run(steps)
    const allowed = steps.map(({ atUs, claims }, at) => ({ atUs, units: (replies[at]?.granted ?? 0) * (claims[0]?.cost ?? 0) }))
    return allowed.every(({ atUs: fromUs }) => {
      const inWindow = allowed.filter(({ atUs }) => atUs >= fromUs && atUs < fromUs + quota.windowMs * 1000)
      return inWindow.reduce((sum, { units }) => sum + units, 0) <= quota.quota
    })
  }), { numRuns: propertyRuns(100) })
})

test('consume.lua with gcra allows the burst and then the rate, never more', async (t) => {
  const run = await startClock(t)

  await holds(t, fc.asyncProperty(quotas('gcra'), manyRequests, async (quota, made) => {
    const steps = stepsOf(quota, made)
    const replies = await run(steps)
    const allowed = steps.map(({ atUs, claims }, at) => ({ atUs, units: (replies[at]?.granted ?? 0) * (claims[0]?.cost ?? 0) }))
    return allowed.every(({ atUs: fromUs }, from) => {
      let units = 0
      return allowed.slice(from).every(({ atUs, units: more }) => (units += more) <= quota.bucketOrBurst + (atUs - fromUs) / 1000 * quota.quota / quota.windowMs)
    })
  }), { numRuns: propertyRuns(100) })
})

test('consume.lua never allows more than the quota in a fixed window on the clock', async (t) => {
  const run = await startClock(t)

  await holds(t, fc.asyncProperty(quotas('fixed'), manyRequests, async (quota, made) => {
    const steps = stepsOf(quota, made)
    const replies = await run(steps)
    const units = new Map<number, number>()
    steps.forEach(({ atUs, claims }, at) => {
      const window = Math.floor(atUs / 1000 / quota.windowMs)
      units.set(window, (units.get(window) ?? 0) + (replies[at]?.granted ?? 0) * (claims[0]?.cost ?? 0))
    })
    return [...units.values()].every((sum) => sum <= quota.quota)
  }), { numRuns: propertyRuns(60) })
})

test('consume.lua and the local counter agree', async (t) => {
  const run = await startClock(t)
  const any = fc.constantFrom<Algorithm>('sliding', 'gcra', 'fixed').chain(quotas)

  await holds(t, fc.asyncProperty(any, manyRequests, async (quota, made) => {
    const steps = stepsOf(quota, made.map((each) => ({ ...each, requestCount: 1 })))
    const counter = openCounter(quota)
    const expected = steps.map(({ atUs, claims: [claim] }) => {
      const [cost, nowMs] = [claim?.cost ?? 1, atUs / 1000]
      const granted = cost <= counter.free(nowMs) ? 1 : 0
      if (granted === 1) counter.consume(cost, nowMs)
      return { granted, statuses: [counter.status(cost, nowMs)] }
    })
    assert.deepStrictEqual(await run(steps), expected)
  }), { numRuns: propertyRuns(60) })
})

test('consume.lua allows as much to coalesced requests as to sequential ones', async (t) => {
  const run = await startClock(t)
  const any = fc.constantFrom<Algorithm>('sliding', 'gcra', 'fixed').chain(quotas)

  await holds(t, fc.asyncProperty(any, manyRequests, async (quota, made) => {
    const together = stepsOf(quota, made)
    const apart = together.flatMap((step) => Array.from({ length: step.requestCount }, () => ({ ...step, requestCount: 1 })))
    const sum = (replies: { granted: number }[]) => replies.reduce((total, { granted }) => total + granted, 0)
    return sum(await run(together)) === sum(await run(apart))
  }), { numRuns: propertyRuns(30) })
})

test('consume.lua allows the same request exactly after retryMs', async (t) => {
  const run = await startClock(t)
  const any = fc.constantFrom<Algorithm>('sliding', 'gcra', 'fixed').chain(quotas)

  await holds(t, fc.asyncProperty(any, manyRequests, async (quota, made) => {
    const steps = stepsOf(quota, made)
    const replies = await run(steps)
    const [last, reply] = [steps.at(-1), replies.at(-1)]
    const retryMs = reply?.statuses[0]?.retryMs ?? 0
    const room = quota.algorithm === 'gcra' ? quota.bucketOrBurst : quota.quota
    if (last === undefined || retryMs === 0 || (last.claims[0]?.cost ?? 0) > room) return true
    const wholeMsUs = Math.floor(last.atUs / 1000) * 1000
    const then = { ...last, requestCount: 1, atUs: wholeMsUs + retryMs * 1000 + (quota.algorithm === 'gcra' ? 999 : 0) }
    const before = { ...last, requestCount: 1, atUs: Math.max(last.atUs, wholeMsUs + retryMs * 1000 - 1001) }
    return (await run([...steps, then])).at(-1)?.granted === 1 && (await run([...steps, before])).at(-1)?.granted === 0
  }), { numRuns: propertyRuns(60) })
})

test('consume.lua consumes from all policies or from none', async (t) => {
  const run = await startClock(t)
  const wide: Quota = { algorithm: 'sliding', quota: 10, windowMs: 60_000, bucketOrBurst: 1 }
  const narrow: Quota = { algorithm: 'fixed', quota: 2, windowMs: 60_000, bucketOrBurst: 0 }
  const claims = [{ key: 'wide', quota: wide, cost: 1 }, { key: 'narrow', quota: narrow, cost: 1 }]

  const replies = await run([...Array.from({ length: 5 }, () => ({ atUs: beginUs, requestCount: 1, claims })), { atUs: beginUs, requestCount: 1, claims: claims.slice(0, 1) }])

  t.same(replies.map(({ granted }) => granted), [1, 1, 0, 0, 0, 1])
  t.equal(replies.at(-1)?.statuses[0]?.remaining, 7, 'the rejected request consumed nothing')
})

test('after the clock was set back, consume.lua neither delays a client by more than a window nor allows more', async (t) => {
  const run = await startClock(t)
  const any = fc.constantFrom<Algorithm>('sliding', 'gcra', 'fixed').chain(quotas)

  await holds(t, fc.asyncProperty(any, fc.integer({ min: 0, max: 4_000_000_000 }), async (quota, backUs) => {
    const room = quota.algorithm === 'gcra' ? quota.bucketOrBurst : quota.quota
    const fullMs = quota.algorithm === 'gcra' ? Math.ceil(Math.ceil(quota.windowMs * 1000 / quota.quota) * quota.bucketOrBurst / 1000) : quota.windowMs
    const stepAt = (atUs: number): Step => ({ atUs, requestCount: 1000, claims: [{ key: 'one', quota, cost: 1 }] })
    const replies = await run([stepAt(beginUs), stepAt(beginUs - backUs), stepAt(beginUs - backUs + (fullMs + quota.bucketOrBurst + 2) * 1000)])
    const isFresh = quota.algorithm === 'fixed' || quota.algorithm === 'gcra' || backUs > 0
    return replies[0]?.granted === room && replies[1]?.granted === 0 && (!isFresh || replies[2]?.granted === room)
  }), { numRuns: propertyRuns(100) })
})

test('consume-sliding.lua counts as consume.lua, whichever of them counted before', async (t) => {
  const run = await startClock(t)
  const runSliding = await startClock(t, { isSliding: true })

  await holds(t, fc.asyncProperty(quotas('sliding'), manyRequests, async (quota, made) => {
    const steps = stepsOf(quota, made)
    assert.deepStrictEqual(await runSliding(steps), await run(steps))
  }), { numRuns: propertyRuns(150) })
})

test('consume-sliding.lua leaves a counter that it cannot read or that lies in the future to consume.lua', async (t) => {
  const run = await startClock(t, { isSliding: true })
  const quota: Quota = { algorithm: 'sliding', quota: 10, windowMs: 60_000, bucketOrBurst: 1 }
  const stepAt = (atUs: number): Step => ({ atUs, requestCount: 1, claims: [{ key: 'one', quota, cost: 1 }] })

  const replies = await run([stepAt(beginUs), stepAt(beginUs - 1_000_000), stepAt(beginUs)])

  t.same(replies.map(({ granted }) => granted), [1, 0xffffffff, 1])
})
