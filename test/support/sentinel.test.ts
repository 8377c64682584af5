import { Redis } from 'ioredis'
import t from 'tap'
import { disconnectTimeout } from './redis-process.ts'
import { startSentinel, type SentinelGroup } from './sentinel.ts'
import { until } from './until.ts'

t.setTimeout(180_000)

function connect (t: { after (end: () => void): unknown }, group: SentinelGroup): Redis {
  const client = new Redis({ ...group.clientOptions, sentinelRetryStrategy: () => 50, retryStrategy: () => 50, disconnectTimeout })
  client.on('error', () => {}) // each test looks at its own call's error
  t.after(() => client.disconnect())
  return client
}

t.test('a Sentinel trio directs clients to the master, and to the successor of a killed one', async (t) => {
  const group = await startSentinel(t)
  const client = connect(t, group)
  await client.set('k', 'v')
  await client.wait(1, 5000)
  t.equal(await group.master(), group.servers[0])

  const heir = await group.failover()

  t.equal(heir, group.servers[1])
  t.notOk(group.servers[0]?.isRunning)
  t.equal(await until(() => client.set('k', 'w'), { what: 'a client finds the heir' }), 'OK')
})

t.test('a Sentinel trio promotes the replica while the master lives', async (t) => {
  const group = await startSentinel(t)

  const heir = await group.handOver()

  t.equal(heir, group.servers[1])
  t.ok(group.servers[0]?.isRunning)
})
