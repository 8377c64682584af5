import t from 'tap'
import { rules } from '../../service/alerts/rules.ts'
import { pointOf } from '../../service/dashboard/chart-point.ts'
import { buildTestApp } from '../support/app.ts'
import { startCluster } from '../support/cluster.ts'
import { until } from '../support/until.ts'

const limitBytes = 30 * 1024 * 1024
const memory = rules.filter(({ name }) => name === 'PrismRedisMemoryCritical').map((rule) => ({ ...rule, forSeconds: 0.2 }))

t.test('metrics of a Cluster are per node: a full node fires the alert, and a node that is down counts as Redis down', async (t) => {
  t.setTimeout(300_000)
  const cluster = await startCluster(t, { args: ['--maxmemory', String(limitBytes), '--cluster-require-full-coverage', 'no'] })
  const app = await buildTestApp(t, { redisUrl: cluster.url, metricsEvery: '100ms', alerting: { rules: memory } })
  const { collector, registry, history } = app.metrics
  const nodeNames = cluster.masters.map(({ server }) => `${server.host}:${server.port}`)
  const lines = async (name: string) => (await registry.text()).split('\n').filter((line) => line.startsWith(`${name}{`))

  await until(() => collector.isUp && collector.sample?.nodes.length === 3, { what: 'each node is sampled' })
  await until(() => collector.sample?.nodes.map(({ node }) => node).sort().join() === nodeNames.sort().join(), { what: 'each has its name' })
  await until(async () => (await lines('redis_memory_used_bytes')).filter((line) => line.includes('node="')).length === 3, { what: 'each node has its series' })
  t.equal(app.alerts.all[0]?.state, 'inactive')

  const [full, , gone] = cluster.masters
  const tagged = await keyOf(cluster, full)
  for (let index = 0; await usedShare(full) < 0.93; index++) await full?.control.set(`{${tagged}}${index}`, 'x'.repeat(500_000), 'EX', 600)
  await until(() => app.alerts.all[0]?.state === 'firing', { what: 'the full node fires the alert' })

  const { last } = history
  const point = last && pointOf(last, last)
  t.ok((app.alerts.all[0]?.value ?? 0) > 0.9)
  t.equal(point?.memoryMax, limitBytes)
  t.ok((point?.memoryUsed ?? 0) / limitBytes > 0.9, 'the dashboard shows the fullest node')
  await until(() => collector.sample?.namespaces.some(({ namespace, keys }) => namespace === 'other' && keys > 10), { what: 'the keyspace statistics cover every node' })

  await gone?.server.kill()
  await until(() => !collector.isUp, { what: 'the missing node is detected' })
  t.match(await registry.text(), /^redis_up 0$/m)
})

type Nodes = Awaited<ReturnType<typeof startCluster>>

/** A hash tag whose slot this node owns. */
async function keyOf (cluster: Nodes, node: Nodes['masters'][number] | undefined): Promise<string> {
  for (let index = 0; ; index++) if (await cluster.ownerOf(await cluster.slotOf(`{t${index}}`)) === node) return `t${index}`
}

async function usedShare (node: Nodes['masters'][number] | undefined): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await node?.control.info('memory') ?? '')?.[1]) / limitBytes
}
