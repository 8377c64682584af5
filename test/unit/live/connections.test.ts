import t from 'tap'
import { Connections } from '../../../src/live/connections.ts'
import { resolveLivePolicy } from '../../../src/live/options.ts'
import { ReplayBudget } from '../../../src/live/replay-budget.ts'
import { ConnectionStore } from '../../../src/live/connection-store.ts'
import { StreamConnection } from '../../../src/live/event-stream.ts'
import { buildTestApp } from '../../support/app.ts'
import { greatestShare } from '../../support/client-crowd.ts'

t.test('connections are closed evenly: at most 15 % of them within 250 ms, however busy the machine', async (t) => {
  const { events, redisPool } = await buildTestApp(t)
  const policy = resolveLivePolicy()
  const store = new ConnectionStore(redisPool.batch, redisPool.keyspace, 'this instance', policy.heartbeatMs, () => false)
  const connections = new Connections(store, async () => [], policy)
  const closedAt: number[] = []
  const surroundings = { events, policy, replayBudget: new ReplayBudget(policy.replayedEventsPerSecond), onFailure (error: unknown) { t.fail(String(error)) }, onSocketError () {}, onChange () {}, onClose () { closedAt.push(performance.now()) } }
  for (let index = 0; index < 400; index++) {
    const stream = new StreamConnection({ writableLength: 0, writableFinished: true, destroy: () => {} }, { userId: undefined, device: undefined, address: `10.0.0.${index}` }, surroundings)
    stream.open(['events'], new Map())
    connections.add(stream)
  }

  await connections.drain(policy.drainMs)

  t.equal(closedAt.length, 400)
  const share = greatestShare(closedAt, 250)
  t.ok(share <= 0.15, `${Math.round(share * 100)} %`)
})
