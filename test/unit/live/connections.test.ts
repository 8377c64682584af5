import t from 'tap'
import type { Test } from 'tap'
import { Connections } from '../../../src/live/connections.ts'
import { resolveLivePolicy } from '../../../src/live/options.ts'
import { ReplayBudget } from '../../../src/live/replay-budget.ts'
import { ConnectionStore } from '../../../src/live/connection-store.ts'
import { StreamConnection } from '../../../src/live/event-stream.ts'
import { buildTestApp } from '../../support/app.ts'
import { greatestShare } from '../../support/client-crowd.ts'

/** Connections of one process, each following a topic. @param onClose called for each that is closed */
async function openMany (t: Test, count: number, onClose: () => void): Promise<Connections> {
  const { events, redisPool } = await buildTestApp(t)
  const policy = resolveLivePolicy()
  const store = new ConnectionStore(redisPool.batch, redisPool.keyspace, 'this instance', policy.heartbeatMs, () => false)
  const connections = new Connections(store, async () => [], policy)
  const surroundings = { events, policy, replayBudget: new ReplayBudget(policy.replayedEventsPerSecond), onFailure (error: unknown) { t.fail(String(error)) }, onSocketError () {}, onChange () {}, onClose }
  for (let index = 0; index < count; index++) {
    const stream = new StreamConnection({ writableLength: 0, writableFinished: true, destroy: () => {} }, { userId: undefined, device: undefined, address: `10.0.0.${index}` }, surroundings)
    stream.open(['events'], new Map())
    connections.add(stream)
  }
  return connections
}

t.test('connections are closed evenly: at most a fifth of them within 250 ms, however busy the machine', async (t) => {
  const closedAt: number[] = []
  const connections = await openMany(t, 400, () => { closedAt.push(performance.now()) })

  await connections.drain(resolveLivePolicy().drainMs)

  t.equal(closedAt.length, 400)
  const share = greatestShare(closedAt, 250)
  t.ok(share <= 0.2, `${Math.round(share * 100)} %`)
})

t.test('late steps of a drain are made up for, by at most 40 % a step', async (t) => {
  const [ms, stepMs, count] = [1500, 50, 400]
  const closedBySteps: number[] = []
  let isInStep = false
  const connections = await openMany(t, count, () => {
    if (!isInStep) {
      closedBySteps.push(0)
      queueMicrotask(() => { isInStep = false })
    }
    isInStep = true
    closedBySteps.push((closedBySteps.pop() ?? 0) + 1)
  })
  // Each step comes 100 ms late.
  const blocker = setInterval(() => { for (const end = performance.now() + 100; performance.now() < end;); }, 1)
  await connections.drain(ms)
  clearInterval(blocker)

  const atMost = Math.ceil(1.4 * count / (ms / stepMs))
  t.equal(closedBySteps.reduce((sum, closed) => sum + closed), count)
  t.ok(closedBySteps.length <= 25, `${closedBySteps.length} steps in place of ${ms / stepMs}`)
  t.ok(closedBySteps.every((closed) => closed <= atMost), closedBySteps.join())
})
