import t from 'tap'
import type { Test } from 'tap'
import { RedisUnavailableError } from '../../src/shared/errors.ts'
import { PooledRedis } from '../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../src/redis/options.ts'
import { startCluster } from '../support/cluster.ts'
import type { Cluster, ClusterOptions } from '../support/cluster.ts'
import type { ClusterNode } from '../support/cluster-node.ts'
import { Load } from '../support/load.ts'
import { until } from '../support/until.ts'

/** Serves the slots of live nodes while others are down. */
const inParts = ['--cluster-require-full-coverage', 'no']

interface Scene {
  cluster: Cluster
  pool: PooledRedis
  /** the node that fails */
  node: ClusterNode
  /** keys on that node */
  theirs: string[]
  /** keys on other nodes */
  others: string[]
}

async function start (t: Test, options: ClusterOptions): Promise<Scene> {
  const cluster = await startCluster(t, options)
  const pool = new PooledRedis(resolveRedisPolicy({ url: cluster.url }))
  t.after(() => pool.quit())
  await pool.start(5000)
  await until(() => pool.load.ready === pool.load.connections, { what: 'all connections are ready' })
  const [node] = cluster.masters
  const owners = await Promise.all(Array.from({ length: 60 }, async (_, index) => ({ key: `key:${index}`, owner: await cluster.ownerOf(await cluster.slotOf(`key:${index}`)) })))
  for (const { key } of owners) await pool.set(key, key)
  const keysOf = (isTheirs: boolean) => owners.filter(({ owner }) => (owner === node) === isTheirs).map(({ key }) => key)
  if (node === undefined) throw new Error('a cluster has masters')
  return { cluster, pool, node, theirs: keysOf(true), others: keysOf(false) }
}

/** Reads keys one after the other, a hundred a second; a reply with another key's value counts as failed. */
function load (t: Test, pool: PooledRedis, keys: readonly string[]): Load {
  let turn = 0
  const load = new Load({
    rate: 50,
    call: async () => {
      const key = keys[turn++ % keys.length] ?? ''
      if (String(await pool.batch.get(key)) !== key) throw new Error('the reply to something else')
    }
  })
  t.after(() => load.stop())
  return load
}

async function allReply ({ pool, theirs, others }: Scene): Promise<boolean> {
  const values = await Promise.all([...theirs, ...others].map((key) => pool.batch.get(key)))
  return values.every((value, index) => String(value) === [...theirs, ...others][index])
}

/** Invariants while a node is down, and after its return. */
async function endure (t: Test, scene: Scene, die: () => unknown, comeBack: () => unknown): Promise<void> {
  const { pool, theirs, others } = scene
  const loads = { theirs: load(t, pool, theirs), others: load(t, pool, others) }
  await until(() => loads.others.count('succeeded') > 20, { what: 'both receive replies' })

  await die()
  await until(() => pool.isCircuitOpen, { what: 'the outage is detected' })
  await until(() => loads.theirs.count('failed') > 0 && loads.theirs.count('waiting') === 0, { what: 'its pending commands have failed' })
  const { timeouts } = pool.batch.counts
  const refused = await Promise.allSettled(Array.from({ length: 100 }, (_, index) => pool.batch.get(theirs[index % theirs.length] ?? '')))
  const replies = await Promise.all(others.map((key) => pool.batch.get(key)))
  const pipeline = await pool.pipeline().get(theirs[0] ?? '').exec().catch((error: Error) => error)

  t.ok(refused.every((each) => each.status === 'rejected' && each.reason instanceof RedisUnavailableError), 'commands for its slots fail')
  t.ok(pipeline instanceof RedisUnavailableError, 'also in a pipeline')
  t.equal(pool.batch.counts.timeouts, timeouts, 'no command waited for its timeout')
  t.same(replies.map(String), others)
  t.equal(pool.state, 'degraded')

  await comeBack()
  await until(() => pool.state === 'ready' && allReply(scene), { what: 'all nodes respond', deadlineMs: 30_000 })
  loads.theirs.stop()
  loads.others.stop()
  await until(() => loads.others.count('waiting') === 0, { what: 'all have a reply' })
  t.equal(loads.others.count('failed'), 0, 'the other nodes responded all the time')
}

t.test('a Cluster node that hangs delays no command of other nodes, and causes no timeouts of its own once detected', { timeout: 300_000 }, async (t) => {
  const scene = await start(t, { args: inParts })
  const { server } = scene.node
  t.after(() => server.isRunning && server.signal('SIGCONT'))

  await endure(t, scene, () => server.signal('SIGSTOP'), () => server.signal('SIGCONT'))
})

t.test('a killed Cluster node is replaced by its replica', { timeout: 300_000 }, async (t) => {
  // The replica waits until the commands have failed: on a busy machine it could take over before.
  const scene = await start(t, { args: [...inParts, '--cluster-replica-no-failover', 'yes'], replicas: 1 })
  const { cluster, node, pool, theirs } = scene

  await endure(t, scene, async () => {
    await node.control.wait(1, 5000)
    await node.server.kill()
  }, async () => {
    await Promise.all(cluster.nodes.filter((each) => each !== node).map(({ control }) => control.config('SET', 'cluster-replica-no-failover', 'no')))
    await cluster.settled()
  })

  t.equal(await pool.set(theirs[0] ?? '', 'written'), 'OK')
})

t.test('commands without a key go to Cluster nodes that respond', { timeout: 300_000 }, async (t) => {
  const { pool, node: { server }, theirs } = await start(t, { args: inParts })
  t.after(() => server.signal('SIGCONT'))
  server.signal('SIGSTOP')
  await until(() => pool.batch.get(theirs[0] ?? '').then(() => false, () => pool.isCircuitOpen), { what: 'the outage is detected' })

  const replies = await Promise.all(Array.from({ length: 9 }, () => pool.batch.command('PING', [])))

  t.same(replies, Array(9).fill('PONG'))
})
