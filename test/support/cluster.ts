import { startClusterNode, type ClusterNode } from './cluster-node.ts'
import { Migration } from './migration.ts'
import type { Owner } from './cleanup-scope.ts'
import { until } from './until.ts'

const SLOTS = 16_384

/** Size of a cluster. */
export interface ClusterOptions {
  /** 3, the minimum for an election */
  masters?: number
  /** replicas per master; 0 */
  replicas?: number
  /** command line arguments of redis-server, for each node */
  args?: string[]
}

/** Starts a Redis Cluster with evenly spread slots; resolves when every node is ready. Ends with the owner. */
export async function startCluster (owner: Owner, options: ClusterOptions = {}): Promise<Cluster> {
  const { masters = 3, replicas = 0, args = [] } = options
  const nodes = await Promise.all(Array.from({ length: masters * (1 + replicas) }, () => startClusterNode(owner, args)))
  const cluster = new Cluster(nodes.slice(0, masters), nodes.slice(masters))
  await cluster.form()
  return cluster
}

/** A running cluster. */
export class Cluster {
  /** The nodes that were masters at the start: the first has the lowest slots. */
  readonly masters: readonly ClusterNode[]
  /** The nodes that were replicas at the start. */
  readonly replicas: readonly ClusterNode[]

  constructor (masters: ClusterNode[], replicas: ClusterNode[]) {
    this.masters = masters
    this.replicas = replicas
  }

  /** All nodes, including those that are down. */
  get nodes (): readonly ClusterNode[] {
    return [...this.masters, ...this.replicas]
  }

  /** Seed nodes, `redis://…,redis://…`, as `REDIS_URL` takes them. */
  get url (): string {
    return this.nodes.map(({ server }) => server.url).join(',')
  }

  /** The slot of a key. */
  async slotOf (key: string): Promise<number> {
    return await this.#anyone().control.cluster('KEYSLOT', key)
  }

  /** The master that has a slot now. */
  async ownerOf (slot: number): Promise<ClusterNode> {
    const ranges = await this.#anyone().control.cluster('SLOTS')
    const range = ranges.find(([from, to]) => from <= slot && slot <= to)
    return this.#nodeWith(range?.[2]?.[2])
  }

  /** Starts the migration of a slot; until it is closed, clients are redirected to its keys with ASK. */
  async openMigration (slot: number, to: ClusterNode): Promise<Migration> {
    const migration = new Migration(slot, { from: await this.ownerOf(slot), to, all: this.#living() })
    await migration.open()
    return migration
  }

  /** Moves a slot with its keys, as redis-cli does. */
  async migrateSlot (slot: number, to: ClusterNode): Promise<void> {
    const migration = await this.openMigration(slot, to)
    await migration.moveKeys()
    await migration.close()
  }

  /** Kills a master with one replica, and waits for the failover; returns the replica. */
  async failover (master: ClusterNode): Promise<ClusterNode> {
    const heir = this.#heirOf(master)
    await master.server.kill()
    return await this.#promoted(heir)
  }

  /** Runs a manual failover of a master to its replica without loss, as before an upgrade; returns the new master. */
  async handOver (master: ClusterNode): Promise<ClusterNode> {
    const heir = this.#heirOf(master)
    await heir.control.cluster('FAILOVER')
    return await this.#promoted(heir)
  }

  /** Introduces the nodes to each other and assigns the slots. */
  async form (): Promise<void> {
    await Promise.all(this.masters.map(async ({ control }, i) => {
      await control.cluster('ADDSLOTSRANGE', ...this.#rangeOf(i))
    }))
    await Promise.all(this.nodes.map(({ control }, i) => control.cluster('SET-CONFIG-EPOCH', i + 1)))
    await this.#meet()
    await Promise.all(this.replicas.map(({ control }, i) => this.#follow(control, i % this.masters.length)))
    await this.settled()
  }

  /** Waits until every live node knows all nodes and is ready. */
  async settled (): Promise<void> {
    await until(async () => {
      const wells = await Promise.all(this.#living().map((node) => node.isWell(this.nodes.length)))
      return wells.every(Boolean)
    }, { what: 'the cluster is well', deadlineMs: 30_000 })
  }

  async #meet (): Promise<void> {
    const [first, ...others] = this.nodes
    await Promise.all(others.map(({ server, busPort }) => first?.control.cluster('MEET', server.host, server.port, busPort)))
    await until(async () => {
      const known = await Promise.all(this.nodes.map((node) => node.knows()))
      return known.every((count) => count === this.nodes.length)
    }, { what: 'the nodes know each other', deadlineMs: 30_000 })
  }

  async #follow (control: ClusterNode['control'], master: number): Promise<void> {
    await until(() => control.cluster('REPLICATE', this.masters[master]?.id ?? ''), { what: 'a replica follows its master' })
  }

  /** Waits until every live node redirects clients to this replica for its master's slots. */
  async #promoted (replica: ClusterNode): Promise<ClusterNode> {
    await until(async () => {
      const seen = await Promise.all(this.#living().map((node) => node.seesMaster(replica.id)))
      return seen.every(Boolean)
    }, { what: 'a replica takes over', deadlineMs: 30_000 })
    await this.settled()
    return replica
  }

  /** The first replica of a node that was a master at the start. */
  #heirOf (master: ClusterNode): ClusterNode {
    const heir = this.replicas[this.masters.indexOf(master)]
    if (!heir) throw new Error('a failover needs a master of the start, with a replica')
    return heir
  }

  #rangeOf (master: number): [number, number] {
    const edge = (i: number) => Math.ceil(SLOTS * i / this.masters.length)
    return [edge(master), edge(master + 1) - 1]
  }

  #living (): ClusterNode[] {
    return this.nodes.filter(({ server }) => server.isRunning)
  }

  #anyone (): ClusterNode {
    const [node] = this.#living()
    if (!node) throw new Error('no node of the cluster runs')
    return node
  }

  #nodeWith (id: string | undefined): ClusterNode {
    const node = this.nodes.find((node) => node.id === id)
    if (!node) throw new Error('no node has this slot')
    return node
  }
}
