import { Redis } from 'ioredis'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'

const NODE_TIMEOUT_MS = 500

/** Starts a node of a future cluster: without peers and slots. */
export async function startClusterNode (owner: Owner, args: string[]): Promise<ClusterNode> {
  const busPort = await freePort()
  const server = await startRedisProcess(owner, {
    args: [
      '--cluster-enabled', 'yes',
      '--cluster-port', String(busPort),
      '--cluster-node-timeout', String(NODE_TIMEOUT_MS),
      '--cluster-replica-validity-factor', '0',
      '--repl-diskless-sync-delay', '0',
      ...args
    ]
  })
  const control = new Redis(server.port, server.host, { enableReadyCheck: false, maxRetriesPerRequest: null, retryStrategy: () => 50, disconnectTimeout })
  control.on('error', () => {}) // it reconnects until the node is back
  owner.after(() => control.disconnect())
  return new ClusterNode({ server, control, busPort, id: await control.cluster('MYID') })
}

/** One node of a cluster. */
export class ClusterNode {
  readonly id: string
  readonly server: RedisProcess
  /** The test's own connection to it. */
  readonly control: Redis
  /** The port of its cluster bus. */
  readonly busPort: number

  constructor ({ id, server, control, busPort }: Pick<ClusterNode, 'id' | 'server' | 'control' | 'busPort'>) {
    this.id = id
    this.server = server
    this.control = control
    this.busPort = busPort
  }

  /** The number of known nodes, itself included. */
  async knows (): Promise<number> {
    const nodes = await this.#nodes()
    return nodes.filter((line) => !/handshake|noaddr/.test(line)).length
  }

  /** True if this node sees the node with this ID as a master with slots. */
  async seesMaster (id: string): Promise<boolean> {
    const nodes = await this.#nodes()
    return nodes.some((line) => line.startsWith(id) && /\bmaster\b.* connected \d/.test(line))
  }

  /** True while it sees itself as a master with slots. */
  async isMaster (): Promise<boolean> {
    return await this.seesMaster(this.id)
  }

  /** True if it sees every slot served, knows this many nodes, and, as a replica, has its master's data. */
  async isWell (nodeCount: number): Promise<boolean> {
    const facts = `${await this.control.cluster('INFO')}${await this.control.info('replication')}`
    return facts.includes('cluster_state:ok') &&
      facts.includes('cluster_slots_ok:16384') &&
      facts.includes(`cluster_known_nodes:${nodeCount}\r`) &&
      !facts.includes('master_link_status:down')
  }

  async #nodes (): Promise<string[]> {
    const text = String(await this.control.cluster('NODES'))
    return text.trim().split('\n')
  }
}
