import type { ClusterNode } from './cluster-node.ts'

const KEYS_AT_ONCE = 100
const TIMEOUT_MS = 5000

/** The nodes of a migration. */
export interface MigrationNodes {
  from: ClusterNode
  to: ClusterNode
  /** all nodes that must know of it */
  all: readonly ClusterNode[]
}

/** The migration of a slot from one master to another in steps, so that a test can act between them. */
export class Migration {
  readonly slot: number
  readonly #nodes: MigrationNodes

  constructor (slot: number, nodes: MigrationNodes) {
    this.slot = slot
    this.#nodes = nodes
  }

  /** From here on the old master redirects clients for missing keys: ASK. */
  async open (): Promise<void> {
    const { from, to } = this.#nodes
    await to.control.cluster('SETSLOT', this.slot, 'IMPORTING', from.id)
    await from.control.cluster('SETSLOT', this.slot, 'MIGRATING', to.id)
  }

  /** Moves every key of the slot. */
  async moveKeys (): Promise<void> {
    const { from, to: { server } } = this.#nodes
    for (;;) {
      const keys = await from.control.cluster('GETKEYSINSLOT', this.slot, KEYS_AT_ONCE)
      if (keys.length === 0) return
      await from.control.call('MIGRATE', server.host, server.port, '', 0, TIMEOUT_MS, 'REPLACE', 'KEYS', ...keys)
    }
  }

  /** From here on the slot belongs to the new master, and the old one redirects clients: MOVED. */
  async close (): Promise<void> {
    const { from, to, all } = this.#nodes
    const isReplica = async (node: ClusterNode) => !await node.isMaster()
    for (const node of new Set([to, from, ...all])) {
      if (node !== to && await isReplica(node)) continue // a replica learns it from its master
      await node.control.cluster('SETSLOT', this.slot, 'NODE', to.id)
    }
  }
}
