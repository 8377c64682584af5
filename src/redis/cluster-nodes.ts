import type { Cluster, Command, Redis } from 'ioredis'
import type { CircuitBreakers } from './health/circuit-breakers.ts'
import { withDeadline } from './health/deadline.ts'
import { addressOf } from './health/server-info.ts'
import { ConnectionHealth } from './health/connection-health.ts'

/**
 * The nodes that one Cluster client is connected to: one that is dead is not asked for its slots, and costs those of the others nothing.
 *
 * A failover, or a slot that has moved, is known with the next look at the slots; what is asked before follows the old node's word (MOVED, ASK).
 */
export class ClusterNodes {
  readonly #cluster: Cluster
  readonly #breakers: CircuitBreakers
  readonly #deadlineMs: number
  readonly #health = new Map<string, ConnectionHealth>()
  /** a slot that nobody serves */
  readonly #unassignedSlot: ConnectionHealth
  #turn = 0

  constructor (cluster: Cluster, breakers: CircuitBreakers, deadlineMs: number) {
    this.#cluster = cluster
    this.#breakers = breakers
    this.#deadlineMs = deadlineMs
    this.#unassignedSlot = new ConnectionHealth(breakers.of(''), () => undefined, deadlineMs)
    cluster.on('+node', (node: Redis) => this.#arrived(node))
    cluster.on('refresh', () => this.#refreshed())
  }

  /** Every answer of these came in time, lately. */
  get areHealthy (): boolean {
    for (const health of this.#health.values()) if (health.isUnresponsive) return false
    return true
  }

  /** The node that a command goes to: its slot's, or any one that answers. */
  healthOf (command: Command): ConnectionHealth {
    const slot = command.getSlot() as number | null
    if (slot === null) return this.#anyNode()
    const address = this.#cluster.slots[slot]?.[0]
    return address === undefined ? this.#unassignedSlot : this.#healthFor(address)
  }

  /** Opens anew what owes an answer for too long, and looks where the slots are. */
  check (): void {
    this.#cluster.refreshSlotsCache()
    // A node that ends leaves the Cluster's client; the next look at the slots connects it again.
    for (const health of this.#health.values()) if (health.isOverdue) this.#reopen(health)
  }

  /** Asks the nodes that are not asked otherwise whether they serve their slots again. Never rejects. */
  async probe (): Promise<boolean> {
    this.#cluster.refreshSlotsCache()
    const dead = [...this.#health.values()].filter(({ breaker }) => breaker.isOpen)
    const answers = await Promise.all(dead.map((health) => this.#ask(health)))
    return answers.every(Boolean)
  }

  async #ask (health: ConnectionHealth): Promise<boolean> {
    const node = health.client
    if (node === undefined) return false
    const isWell = await withDeadline(node.cluster('INFO'), this.#deadlineMs).then((info) => String(info).includes('cluster_state:ok'), () => {
      health.timedOut()
      return false
    })
    if (isWell) health.breaker.succeeded()
    return isWell
  }

  #arrived (node: Redis): void {
    const health = this.#healthFor(addressOf(node))
    health.markHealthy()
    node.on('connect', () => health.connected())
    node.on('ready', () => health.markHealthy())
    node.on('close', () => {
      health.ended()
      // Its slots may be another's by now, and only a look at them connects it again.
      if (this.#cluster.status === 'ready') this.#cluster.refreshSlotsCache()
    })
  }

  #refreshed (): void {
    const addresses = new Set(this.#cluster.nodes('master').map(addressOf))
    for (const address of this.#health.keys()) if (!addresses.has(address)) this.#health.delete(address)
    this.#breakers.keep(addresses)
  }

  /** Commands without a key go round. */
  #anyNode (): ConnectionHealth {
    const health = this.#cluster.nodes('master').map((node) => this.#healthFor(addressOf(node)))
    const well = health.filter(({ breaker }) => !breaker.isOpen)
    const from = well.length > 0 ? well : health
    return from[this.#turn++ % from.length] ?? this.#unassignedSlot
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
