import type { Redis } from 'ioredis'
import { parseInfo } from '../redis/health/server-info.ts'
import type { InfoFields } from '../redis/health/server-info.ts'
import { bounded } from './connect.ts'
import { reasonOf } from '../redis/health/unreachable-reason.ts'
import { refused } from './checks.ts'
import type { Finding } from './checks.ts'

const slots = 16_384

/** Whether a node's Cluster serves all slots; nothing where the server is no node of one and need not be, or forbids the question. */
export async function checkCluster (client: Redis, isExpected: boolean): Promise<Finding[]> {
  const [, isEnabled] = await client.info('cluster').then((text) => /^cluster_enabled:([01])/m.exec(text) ?? [], () => [])
  if (isEnabled === '0' && isExpected) return [refused('cluster', new Error('ERR This instance has cluster support disabled'), whereOf(client))]
  if (isEnabled !== '1') return []
  try {
    const info = parseInfo(String(await client.cluster('INFO')))
    return [checkSlots(info), ...await checkNodes(client, info, String(await client.cluster('NODES')))]
  } catch (error) {
    return [{ check: 'cluster', state: 'wrong', says: `The node does not report the state of its Cluster: ${(error as Error).message}.`, change: 'Grant the user +cluster.' }]
  }
}

/** A failed check of the Cluster, with the code that the service reports. */
function down (says: string, change: string): Finding {
  return { check: 'cluster', state: 'wrong', says, change, reason: reasonOf(new Error('CLUSTERDOWN')).code }
}

/** The code that the service reports for a node that it cannot reach. */
async function reasonAt (client: Redis, address: string): Promise<Pick<Finding, 'reason'>> {
  const colon = address.lastIndexOf(':')
  const node = client.duplicate({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)) })
  let cause: Error | undefined
  node.on('error', (error) => { cause ??= error })
  const error = await bounded(node.connect()).then(() => undefined, (error: Error) => cause ?? error)
  node.disconnect()
  return error === undefined ? {} : { reason: reasonOf(error).code }
}

function whereOf ({ options }: Redis): string {
  return `${options.host}:${options.port}`
}

function checkSlots (info: InfoFields): Finding {
  const [state, assigned, served] = [info.get('cluster_state'), Number(info.get('cluster_slots_assigned')), Number(info.get('cluster_slots_ok'))]
  if (assigned < slots) return down(`${slots - assigned} of ${slots} slots are assigned to no node: keys in them cannot be read or written.`, 'Create the Cluster (redis-cli --cluster create), or assign the slots (redis-cli --cluster fix).')
  if (state !== 'ok' || served < slots) return down(`The Cluster's state is ${state}: ${slots - served} of ${slots} slots are not served.`, 'Start the masters that are down, or let their replicas take over (CLUSTER FAILOVER).')
  return { check: 'cluster', state: 'fine', says: `All ${slots} slots are served.` }
}

/** `<id> <host>:<port>@<bus port> <flags> <master> … <slots>` */
async function checkNodes (client: Redis, info: InfoFields, text: string): Promise<Finding[]> {
  const nodes = text.split('\n').map((line) => line.trim().split(' ')).filter((words) => words.length >= 8).map(([, address = '', flags = '', , , , , , ...ranges]) => ({ address: address.startsWith(':') ? whereOf(client) : address.split('@')[0] ?? '', flags, hasSlots: ranges.length > 0 }))
  const found: Finding[] = []
  if (Number(info.get('cluster_known_nodes')) === 1) found.push({ check: 'cluster', state: 'warning', says: 'This node knows no other node of its Cluster.', change: 'Join it to the others (CLUSTER MEET), or start it with cluster-enabled no.' })
  for (const { address, flags, hasSlots } of nodes) {
    if (/\bfail\b/.test(flags)) found.push({ check: 'cluster', state: 'wrong', says: `The node ${address} is down.`, change: 'Start it, or let a replica take over.', ...await reasonAt(client, address) })
    else if (/\bmaster\b/.test(flags) && !hasSlots) found.push({ check: 'cluster', state: 'warning', says: `The master ${address} serves no slots.`, change: 'Move slots to it (redis-cli --cluster rebalance --cluster-use-empty-masters), or remove it.' })
  }
  return found
}
