import { Redis } from 'ioredis'
import t from 'tap'
import { faults, startRig } from './faults.ts'
import { Load } from './load.ts'
import { until } from './until.ts'

t.test('a load keeps its rate while no call settles, and reports the longest wait and the recovery', async (t) => {
  const rig = await startRig(t)
  const client = new Redis(rig.url, { commandTimeout: 100, maxRetriesPerRequest: 0, enableOfflineQueue: false, retryStrategy: () => 20 })
  client.on('error', () => {}) // counted by the load
  t.after(() => client.disconnect())
  await until(() => client.status === 'ready', { what: 'the client is ready' })

  const load = new Load({ rate: 200, call: () => client.ping() })
  t.after(() => load.stop())
  await until(() => load.count('succeeded') > 20, { what: 'calls succeed' })
  const brokenAt = performance.now()
  await faults.hung.inject(rig)
  await until(() => load.count('failed') > 20, { what: 'calls fail' })
  t.equal(load.recoveryMs(brokenAt), undefined, 'not recovered')
  const healedAt = performance.now()
  await faults.hung.heal(rig)
  await until(() => load.count('succeeded', healedAt) > 20, { what: 'calls succeed again' })
  load.stop()

  t.ok(load.longestWaitMs(brokenAt) >= 99)
  t.ok((load.recoveryMs(healedAt) ?? -1) >= 0)
  t.equal(load.samples.length, load.count('succeeded') + load.count('failed') + load.count('waiting'))
})

t.test('a load reports pending calls', async (t) => {
  const load = new Load({ rate: 1000, call: () => new Promise(() => {}) })
  t.after(() => load.stop())

  await until(() => load.count('waiting') >= 10, { what: 'ten calls wait' })

  t.ok(load.longestWaitMs() > 0)
  t.equal(load.recoveryMs(0), undefined)
})
