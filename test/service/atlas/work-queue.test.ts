import fc from 'fast-check'
import t from 'tap'
import { WorkQueue } from '../../../service/atlas/work-queue.ts'
import { PasswordQueueFullError } from '../../../service/errors.ts'

/** Work that ends when the test says so, on a clock that goes when the test says so. */
function startQueue (assumedMs: number) {
  let nowMs = 0
  const running: (() => void)[] = []
  const queue = new WorkQueue({ atOnce: 2, maxWaitMs: 2000, assumedMs, full: (seconds) => new PasswordQueueFullError(seconds), now: () => nowMs })
  const waits: number[] = []
  const ask = () => {
    const askedAtMs = nowMs
    return queue.run(() => {
      waits.push(nowMs - askedAtMs)
      return new Promise<void>((resolve) => { running.push(resolve) })
    })
  }
  /** Lets the pieces that run take so long, and end. */
  const pass = async (ms: number) => {
    nowMs += ms
    for (const end of running.splice(0)) end()
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  return { queue, ask, pass, waits, isIdle: () => running.length === 0 }
}

t.test('work queue lets in what is expected to begin within 2 s, and tells the others when there is room', async (t) => {
  const { ask, queue } = startQueue(100)

  const asked = Array.from({ length: 60 }, ask)
  const refused = await Promise.race(asked).catch((error: unknown) => error)

  t.match(refused, { code: 'PRISM_ERR_PASSWORD_QUEUE_FULL', statusCode: 503, retryAfterSeconds: 3 })
  t.equal(queue.expectedWaitMs, 2050, '2 run, 40 wait, each for 100 ms')
})

t.test('work queue measures how long the work takes, and lets in fewer where it has become slow', async (t) => {
  const { ask, pass, queue } = startQueue(100)
  for (let round = 0; round < 20; round++) {
    const both = [ask(), ask()]
    await pass(1000)
    await Promise.all(both)
  }

  const outcomes = Array.from({ length: 10 }, () => ask().then(() => 'done', () => 'refused'))
  for (let round = 0; round < 10; round++) await pass(1000)
  t.same(await Promise.all(outcomes), [...Array(6).fill('done'), ...Array(4).fill('refused')])
  t.equal(queue.expectedWaitMs, 0)
})

t.test('work queue refuses after twice its bound the callers that wait while the work becomes slower than it ever was', async (t) => {
  const { ask, pass, waits, isIdle } = startQueue(100)

  const outcomes = Array.from({ length: 40 }, () => ask().then(() => 'done', (error) => error.code))
  while (!isIdle()) await pass(3000)

  t.same(await Promise.all(outcomes), [...Array(4).fill('done'), ...Array(36).fill('PRISM_ERR_PASSWORD_QUEUE_FULL')])
  t.ok(Math.max(...waits) <= 4000)
})

t.test('work queue makes no caller wait more than 4 s, however arrivals and durations vary', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ arrivals: fc.nat(30), ms: fc.nat(3000) }), { minLength: 1, maxLength: 30 }), async (rounds) => {
    const { ask, pass, waits, queue, isIdle } = startQueue(100)
    const outcomes: Promise<unknown>[] = []
    for (const { arrivals, ms } of rounds) {
      for (let count = 0; count < arrivals; count++) outcomes.push(ask().catch((error) => error.code))
      await pass(ms)
    }
    while (!isIdle()) await pass(10)
    const ends = await Promise.all(outcomes)
    if (queue.expectedWaitMs !== 0) throw new Error('a place was lost')
    if (Math.max(0, ...waits) > 4000) throw new Error(`waited ${Math.max(...waits)} ms`)
    if (ends.some((end) => end !== undefined && end !== 'PRISM_ERR_PASSWORD_QUEUE_FULL')) throw new Error(String(ends))
  }), { numRuns: 100 })
})
