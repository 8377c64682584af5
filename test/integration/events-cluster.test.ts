import t from 'tap'
import { startCluster } from '../support/cluster.ts'
import type { Cluster } from '../support/cluster.ts'
import { startEventsApp } from '../support/events-app.ts'
import { until } from '../support/until.ts'

/** The node to which the app is subscribed. */
async function subscribedNode (cluster: Cluster): Promise<Cluster['nodes'][number]> {
  return await until(async () => {
    for (const node of cluster.nodes) if (String(await node.control.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).includes('sub=1')) return node
  }, { what: 'a node has the subscription' })
}

t.test('events in a Cluster arrive after the subscribed node closes the connection, or leaves the Cluster', async (t) => {
  const cluster = await startCluster(t, { args: ['--cluster-require-full-coverage', 'no'] })
  const app = await startEventsApp(t, cluster.url)
  const publisher = await startEventsApp(t, cluster.url)
  const received: unknown[] = []
  const resets: string[] = []
  await app.events.subscribe('events', ({ data }) => received.push(data), { onReset: (id) => resets.push(id) }).ready
  // An unconfirmed event is published again under another number, because it is unknown whether it arrives.
  let tries = 0
  const sent: unknown[] = []
  const tryOne = async () => {
    const data = ++tries
    await publisher.events.publish('events', { type: 'n', data })
    return sent.push(data)
  }
  const publish = async (count: number) => {
    for (let n = 0; n < count; n++) await until(tryOne, { what: 'an event is published' })
  }
  const seen = () => received.filter((data) => sent.includes(data))

  const owner = await cluster.ownerOf(await cluster.slotOf('prism:events:log'))
  let node = await subscribedNode(cluster)
  for (let kills = 0; kills < 3 || node === owner; kills++) {
    await node.control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await publish(10)
    await until(() => seen().length === sent.length, { what: 'all that was published' })
    node = await subscribedNode(cluster)
  }
  await node.control.flushall() // a master with keys is not reset
  await node.control.call('CLUSTER', 'RESET', 'HARD')
  await publish(10)
  await until(() => seen().length === sent.length, { what: 'the events that the removed node does not deliver' })
  await until(async () => await subscribedNode(cluster) !== node, { what: 'another node has the subscription', deadlineMs: 20_000 })

  t.same(seen(), sent)
  t.same(resets, [])
})
