import fc from 'fast-check'
import t from 'tap'
import { WorkQueue } from '../../../service/atlas/work-queue.ts'
import { PasswordQueueFullError } from '../../../service/errors.ts'
import { propertyRuns } from '../../support/property-runs.ts'

/** Work that ends on the test's command, on a clock that the test advances. */
function startQueue (assumedMs: number) {
  let nowMs = 0
  const running: (() => void)[] = []
  const queue = new WorkQueue({ atOnce: 2, maxWaitMs: 2000, assumedMs, full: (seconds) => new PasswordQueueFullError(seconds), now: () => nowMs })
  const waits: number[] = []
  const send = () => {
    const arrivedAtMs = nowMs
    return queue.run(() => {
      waits.push(nowMs - arrivedAtMs)
      return new Promise<void>((resolve) => { running.push(resolve) })
    })
  }
  /** Lets the running pieces take this long, and end. */
  const pass = async (ms: number) => {
    nowMs += ms
    for (const end of running.splice(0)) end()
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  return { queue, send, pass, waits, isIdle: () => running.length === 0 }
}

t.test('work queue accepts work that is expected to begin within 2 s, and tells rejected callers when to retry', async (t) => {
  const { send, queue } = startQueue(100)

  const pending = Array.from({ length: 60 }, send)
  const refused = await Promise.race(pending).catch((error: unknown) => error)

  t.match(refused, { code: 'PRISM_ERR_PASSWORD_QUEUE_FULL', statusCode: 503, retryAfterSeconds: 3 })
  t.equal(queue.expectedWaitMs, 2050, '2 run, 40 wait, each for 100 ms')
})

t.test('work queue measures the duration of work, and accepts less when work becomes slower', async (t) => {
  const { send, pass, queue } = startQueue(100)
  for (let round = 0; round < 20; round++) {
    const both = [send(), send()]
    await pass(1000)
    await Promise.all(both)
  }

  const outcomes = Array.from({ length: 10 }, () => send().then(() => 'done', () => 'refused'))
  for (let round = 0; round < 10; round++) await pass(1000)
  t.same(await Promise.all(outcomes), [...Array(6).fill('done'), ...Array(4).fill('refused')])
  t.equal(queue.expectedWaitMs, 0)
})

t.test('work queue rejects waiting callers after twice its limit when work becomes slower than before', async (t) => {
  const { send, pass, waits, isIdle } = startQueue(100)

  const outcomes = Array.from({ length: 40 }, () => send().then(() => 'done', (error) => error.code))
  while (!isIdle()) await pass(3000)

  t.same(await Promise.all(outcomes), [...Array(4).fill('done'), ...Array(36).fill('PRISM_ERR_PASSWORD_QUEUE_FULL')])
  t.ok(Math.max(...waits) <= 4000)
})

t.test('work queue delays no caller by more than 4 s, for any arrivals and durations', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ arrivals: fc.nat(30), ms: fc.nat(3000) }), { minLength: 1, maxLength: 30 }), async (rounds) => {
    const { send, pass, waits, queue, isIdle } = startQueue(100)
    const outcomes: Promise<unknown>[] = []
    for (const { arrivals, ms } of rounds) {
      for (let count = 0; count < arrivals; count++) outcomes.push(send().catch((error) => error.code))
      await pass(ms)
    }
    while (!isIdle()) await pass(10)
    const ends = await Promise.all(outcomes)
    if (queue.expectedWaitMs !== 0) throw new Error('a slot was lost')
    if (Math.max(0, ...waits) > 4000) throw new Error(`waited ${Math.max(...waits)} ms`)
    if (ends.some((end) => end !== undefined && end !== 'PRISM_ERR_PASSWORD_QUEUE_FULL')) throw new Error(String(ends))
  }), { numRuns: propertyRuns(50) })
})
