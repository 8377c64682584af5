import { CircuitBreaker } from './circuit-breaker.ts'

/**
 * The circuit breakers of the server, and of each node of a Cluster by address. All connections share them, so that a failed node is detected once.
 */
export class CircuitBreakers {
  /** of the single server; in a Cluster, whether there is any connection */
  readonly server: CircuitBreaker
  readonly #nodes = new Map<string, CircuitBreaker>()
  #onChange: (isOut: boolean) => void
  #isOut = false

  /** @param onChange called when the first opens (true), and when all are closed again (false) */
  constructor (onChange: (isOut: boolean) => void) {
    this.#onChange = onChange
    this.server = new CircuitBreaker(() => this.#changed())
  }

  /** Whether the breaker of the server or of a node is open. */
  get isAnyOpen (): boolean {
    return this.server.isOpen || [...this.#nodes.values()].some((breaker) => breaker.isOpen)
  }

  /** The breaker of one Cluster node. */
  of (address: string): CircuitBreaker {
    let breaker = this.#nodes.get(address)
    if (breaker === undefined) this.#nodes.set(address, breaker = new CircuitBreaker(() => this.#changed()))
    return breaker
  }

  /** Removes the breakers of all other nodes: after a failover the old master receives no commands. */
  keep (addresses: ReadonlySet<string>): void {
    for (const address of this.#nodes.keys()) if (!addresses.has(address)) this.#nodes.delete(address)
    this.#changed()
  }

  #changed (): void {
    const isOut = this.isAnyOpen
    if (isOut === this.#isOut) return
    this.#isOut = isOut
    this.#onChange(isOut)
  }
}
