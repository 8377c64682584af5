import type { Cluster, Command, Redis } from 'ioredis'
import type { Breakers } from './breakers.ts'
import { within } from './deadline.ts'
import { addressOf } from './facts.ts'
import { Wire } from './wire.ts'

/**
 * The nodes that one Cluster client is connected to: one that is dead is not asked for its slots, and costs those of the others nothing.
 *
 * A failover, or a slot that has moved, is known with the next look at the slots; what is asked before follows the old node's word (MOVED, ASK).
 */
export class Nodes {
  readonly #cluster: Cluster
  readonly #breakers: Breakers
  readonly #deadlineMs: number
  readonly #wires = new Map<string, Wire>()
  /** a slot that nobody serves */
  readonly #nobody: Wire
  #turn = 0

  constructor (cluster: Cluster, breakers: Breakers, deadlineMs: number) {
    this.#cluster = cluster
    this.#breakers = breakers
    this.#deadlineMs = deadlineMs
    this.#nobody = new Wire(breakers.of(''), () => undefined, deadlineMs)
    cluster.on('+node', (node: Redis) => this.#arrived(node))
    cluster.on('refresh', () => this.#refreshed())
  }

  /** Every answer of these came in time, lately. */
  get areTrusted (): boolean {
    for (const wire of this.#wires.values()) if (wire.isSuspect) return false
    return true
  }

  /** The node that a command goes to: its slot's, or any one that answers. */
  wireOf (command: Command): Wire {
    const slot = command.getSlot() as number | null
    if (slot === null) return this.#anyone()
    const address = this.#cluster.slots[slot]?.[0]
    return address === undefined ? this.#nobody : this.#wire(address)
  }

  /** Opens anew what owes an answer for too long, and looks where the slots are. */
  check (): void {
    this.#cluster.refreshSlotsCache()
    // A node that ends leaves the Cluster's client; the next look at the slots connects it again.
    for (const wire of this.#wires.values()) if (wire.isOverdue) this.#reopen(wire)
  }

  /** Asks the nodes that are not asked otherwise whether they serve their slots again. Never rejects. */
  async probe (): Promise<boolean> {
    this.#cluster.refreshSlotsCache()
    const dead = [...this.#wires.values()].filter(({ breaker }) => breaker.isOpen)
    const answers = await Promise.all(dead.map((wire) => this.#ask(wire)))
    return answers.every(Boolean)
  }

  async #ask (wire: Wire): Promise<boolean> {
    const node = wire.client
    if (node === undefined) return false
    const isWell = await within(node.cluster('INFO'), this.#deadlineMs).then((info) => String(info).includes('cluster_state:ok'), () => {
      wire.late()
      return false
    })
    if (isWell) wire.breaker.succeeded()
    return isWell
  }

  #arrived (node: Redis): void {
    const wire = this.#wire(addressOf(node))
    wire.settle()
    node.on('connect', () => wire.connected())
    node.on('ready', () => wire.settle())
    node.on('close', () => {
      wire.ended()
      // Its slots may be another's by now, and only a look at them connects it again.
      if (this.#cluster.status === 'ready') this.#cluster.refreshSlotsCache()
    })
  }

  #refreshed (): void {
    const addresses = new Set(this.#cluster.nodes('master').map(addressOf))
    for (const address of this.#wires.keys()) if (!addresses.has(address)) this.#wires.delete(address)
    this.#breakers.keep(addresses)
  }

  /** Commands without a key go round. */
  #anyone (): Wire {
    const wires = this.#cluster.nodes('master').map((node) => this.#wire(addressOf(node)))
    const well = wires.filter(({ breaker }) => !breaker.isOpen)
    const from = well.length > 0 ? well : wires
    return from[this.#turn++ % from.length] ?? this.#nobody
  }

  #wire (address: string): Wire {
    let wire = this.#wires.get(address)
    if (wire === undefined) this.#wires.set(address, wire = new Wire(this.#breakers.of(address), () => this.#cluster.nodes().find((node) => addressOf(node) === address), this.#deadlineMs))
    return wire
  }

  #reopen (wire: Wire): void {
    wire.ended()
    wire.client?.disconnect()
  }
}
