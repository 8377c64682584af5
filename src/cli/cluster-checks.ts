import type { Redis } from 'ioredis'
import { parseInfo } from '../redis/health/server-info.ts'
import type { InfoFields } from '../redis/health/server-info.ts'
import type { Finding } from './checks.ts'

const slots = 16_384

/** Whether a node's Cluster serves all slots; nothing where the server is no node of one, or forbids the question. */
export async function checkCluster (client: Redis): Promise<Finding[]> {
  const isCluster = await client.info('cluster').then((text) => /^cluster_enabled:1/m.test(text), () => false)
  if (!isCluster) return []
  try {
    const info = parseInfo(String(await client.cluster('INFO')))
    return [checkSlots(info), ...checkNodes(info, String(await client.cluster('NODES')))]
  } catch (error) {
    return [{ check: 'cluster', state: 'wrong', says: `The node does not report the state of its Cluster: ${(error as Error).message}.`, change: 'Grant the user +cluster.' }]
  }
}

function checkSlots (info: InfoFields): Finding {
  const [state, assigned, served] = [info.get('cluster_state'), Number(info.get('cluster_slots_assigned')), Number(info.get('cluster_slots_ok'))]
  if (assigned < slots) return { check: 'cluster', state: 'wrong', says: `${slots - assigned} of ${slots} slots are assigned to no node: keys in them cannot be read or written.`, change: 'Create the Cluster (redis-cli --cluster create), or assign the slots (redis-cli --cluster fix).' }
  if (state !== 'ok' || served < slots) return { check: 'cluster', state: 'wrong', says: `The Cluster's state is ${state}: ${slots - served} of ${slots} slots are not served.`, change: 'Start the masters that are down, or let their replicas take over (CLUSTER FAILOVER).' }
  return { check: 'cluster', state: 'fine', says: `All ${slots} slots are served.` }
}

/** `<id> <host>:<port>@<bus port> <flags> <master> … <slots>` */
function checkNodes (info: InfoFields, text: string): Finding[] {
  const nodes = text.split('\n').map((line) => line.trim().split(' ')).filter((words) => words.length >= 8).map(([, address = '', flags = '', , , , , , ...ranges]) => ({ address: address.split('@')[0], flags, hasSlots: ranges.length > 0 }))
  const found: Finding[] = []
  if (Number(info.get('cluster_known_nodes')) === 1) found.push({ check: 'cluster', state: 'warning', says: 'This node knows no other node of its Cluster.', change: 'Join it to the others (CLUSTER MEET), or start it with cluster-enabled no.' })
  for (const { address, flags, hasSlots } of nodes) {
    if (/\bfail\b/.test(flags)) found.push({ check: 'cluster', state: 'wrong', says: `The node ${address} is down.`, change: 'Start it, or let a replica take over.' })
    else if (/\bmaster\b/.test(flags) && !hasSlots) found.push({ check: 'cluster', state: 'warning', says: `The master ${address} serves no slots.`, change: 'Move slots to it (redis-cli --cluster rebalance --cluster-use-empty-masters), or remove it.' })
  }
  return found
}
