import { Cluster as Client } from 'ioredis'
import t, { type Test } from 'tap'
import { startCluster, type Cluster } from './cluster.ts'
import { until } from './until.ts'

t.setTimeout(180_000)

function connect (t: Test, cluster: Cluster): Client {
  const client = new Client(cluster.url.split(','), { clusterRetryStrategy: () => 50, retryDelayOnFailover: 50, maxRedirections: 100 })
  client.on('error', () => {}) // each test looks at its own call's error
  t.after(() => client.disconnect())
  return client
}

function nodeAt<T> (nodes: readonly T[], index: number): T {
  const node = nodes[index]
  if (!node) throw new Error(`no node ${index}`)
  return node
}

t.test('a cluster of three masters serves every slot', async (t) => {
  const cluster = await startCluster(t)
  const client = connect(t, cluster)

  await Promise.all(Array.from({ length: 100 }, (_, i) => client.set(`key:${i}`, i)))

  t.equal(await client.get('key:42'), '42')
  t.equal(await cluster.slotOf('foo'), 12182)
  t.equal(await cluster.ownerOf(12182), cluster.masters[2])
  t.equal(await cluster.ownerOf(0), cluster.masters[0])
  const sizes = await Promise.all(cluster.masters.map(({ control }) => control.dbsize()))
  t.ok(sizes.every((size) => size > 0), 'every master got some')
})

t.test('a migration redirects with ASK while it is open and with MOVED once it is closed, and loses nothing', async (t) => {
  const cluster = await startCluster(t)
  const client = connect(t, cluster)
  const slot = await cluster.slotOf('{tag}')
  const from = await cluster.ownerOf(slot)
  const to = nodeAt(cluster.masters.filter((node) => node !== from), 0)
  await Promise.all(Array.from({ length: 250 }, (_, i) => client.set(`{tag}:${i}`, i)))

  const migration = await cluster.openMigration(slot, to)
  t.equal(await from.control.get('{tag}:7'), '7', 'a key that has not moved')
  await t.rejects(from.control.get('{tag}:new'), { message: `ASK ${slot} 127.0.0.1:${to.server.port}` })
  await migration.moveKeys()
  await t.rejects(from.control.get('{tag}:7'), { message: /^ASK / })
  t.equal(await client.get('{tag}:7'), '7', 'a client that follows')
  await migration.close()
  await t.rejects(from.control.get('{tag}:7'), { message: `MOVED ${slot} 127.0.0.1:${to.server.port}` })

  t.equal(await cluster.ownerOf(slot), to)
  t.equal(await client.get('{tag}:249'), '249')
  await cluster.migrateSlot(slot, from)
  t.equal(await cluster.ownerOf(slot), from, 'and back in one step')
})

t.test('a failover assigns a killed master\'s slots to its replica', async (t) => {
  const cluster = await startCluster(t, { replicas: 1 })
  const client = connect(t, cluster)
  const slot = await cluster.slotOf('k')
  const master = await cluster.ownerOf(slot)
  await client.set('k', 'v')
  await master.control.wait(1, 5000)

  const heir = await cluster.failover(master)

  t.notOk(master.server.isRunning)
  t.equal(await cluster.ownerOf(slot), heir)
  t.equal(await until(() => client.get('k'), { what: 'a client finds the heir' }), 'v')
})

t.test('a manual failover makes the replica a master, and the old master runs as its replica', async (t) => {
  const cluster = await startCluster(t, { replicas: 1 })
  const slot = await cluster.slotOf('k')
  const master = await cluster.ownerOf(slot)

  const heir = await cluster.handOver(master)

  t.equal(await cluster.ownerOf(slot), heir)
  t.ok(master.server.isRunning)
  await t.rejects(master.control.get('k'), { message: /^MOVED/ })
})
