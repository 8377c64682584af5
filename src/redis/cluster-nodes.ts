import type { Cluster, Command, Redis } from 'ioredis'
import type { CircuitBreakers } from './health/circuit-breakers.ts'
import { withDeadline } from './health/deadline.ts'
import { addressOf } from './health/server-info.ts'
import { ConnectionHealth } from './health/connection-health.ts'
import { probeScripts } from './health/script-probe.ts'

/**
 * Health of the nodes that one Cluster client is connected to. Commands for the slots of a failed node fail at once; other slots are not affected.
 *
 * A failover or a moved slot is known after the next refresh of the slot map; until then commands follow the old node's redirections (MOVED, ASK).
 */
export class ClusterNodes {
  readonly #cluster: Cluster
  readonly #breakers: CircuitBreakers
  readonly #deadlineMs: number
  readonly #health = new Map<string, ConnectionHealth>()
  /** for slots without a master */
  readonly #unassignedSlot: ConnectionHealth
  #nextNode = 0

  constructor (cluster: Cluster, breakers: CircuitBreakers, deadlineMs: number) {
    this.#cluster = cluster
    this.#breakers = breakers
    this.#deadlineMs = deadlineMs
    this.#unassignedSlot = new ConnectionHealth(breakers.of(''), () => undefined, deadlineMs)
    cluster.on('+node', (node: Redis) => this.#onNodeAdded(node))
    cluster.on('refresh', () => this.#onRefresh())
  }

  /** Whether no node has an overdue reply. */
  get areHealthy (): boolean {
    for (const health of this.#health.values()) if (health.isUnresponsive) return false
    return true
  }

  /** The health of the node that a command is sent to: the master of its slot, or any available master for a command without keys. */
  healthOf (command: Command): ConnectionHealth {
    const slot = command.getSlot() as number | null
    if (slot === null) return this.#anyNode()
    const address = this.#cluster.slots[slot]?.[0]
    return address === undefined ? this.#unassignedSlot : this.#healthFor(address)
  }

  /** Refreshes the slot map, and reconnects nodes with an overdue reply. */
  check (): void {
    this.#cluster.refreshSlotsCache()
    // ioredis removes a disconnected node; the next refresh of the slot map connects it again.
    for (const health of this.#health.values()) if (health.isOverdue) this.#reopen(health)
  }

  /** Checks whether the nodes with an open circuit breaker serve their slots again. Never rejects. */
  async probe (): Promise<boolean> {
    this.#cluster.refreshSlotsCache()
    const dead = [...this.#health.values()].filter(({ breaker }) => breaker.isOpen)
    const results = await Promise.all(dead.map((health) => this.#probeNode(health)))
    return results.every(Boolean)
  }

  async #probeNode (health: ConnectionHealth): Promise<boolean> {
    const node = health.client
    if (node === undefined) return false
    const isHealthy = await withDeadline(Promise.all([node.cluster('INFO'), probeScripts(node)]), this.#deadlineMs).then(([info]) => String(info).includes('cluster_state:ok'), () => {
      health.timedOut()
      return false
    })
    if (isHealthy) health.breaker.succeeded()
    return isHealthy
  }

  #onNodeAdded (node: Redis): void {
    const health = this.#healthFor(addressOf(node))
    health.markHealthy()
    node.on('connect', () => health.connected())
    node.on('ready', () => health.markHealthy())
    node.on('close', () => {
      health.ended()
      // Another node may own its slots by now, and only a refresh of the slot map connects it again.
      if (this.#cluster.status === 'ready') this.#cluster.refreshSlotsCache()
    })
  }

  #onRefresh (): void {
    const addresses = new Set(this.#cluster.nodes('master').map(addressOf))
    for (const address of this.#health.keys()) if (!addresses.has(address)) this.#health.delete(address)
    this.#breakers.keep(addresses)
  }

  /** Distributes commands without keys round-robin. */
  #anyNode (): ConnectionHealth {
    const health = this.#cluster.nodes('master').map((node) => this.#healthFor(addressOf(node)))
    const available = health.filter(({ breaker }) => !breaker.isOpen)
    const from = available.length > 0 ? available : health
    return from[this.#nextNode++ % from.length] ?? this.#unassignedSlot
  }

  #healthFor (address: string): ConnectionHealth {
    let health = this.#health.get(address)
    if (health === undefined) this.#health.set(address, health = new ConnectionHealth(this.#breakers.of(address), () => this.#cluster.nodes().find((node) => addressOf(node) === address), this.#deadlineMs))
    return health
  }

  #reopen (health: ConnectionHealth): void {
    health.ended()
    health.client?.disconnect()
  }
}
