import { CircuitBreaker } from './circuit-breaker.ts'

/**
 * Who is not asked for now: the one server, or single nodes of a Cluster, by their addresses. They are common to all connections,
 * so that a node's death is learned once.
 */
export class CircuitBreakers {
  /** of the one server, and of there being a connection at all */
  readonly server: CircuitBreaker
  readonly #nodes = new Map<string, CircuitBreaker>()
  #onChange: (isOut: boolean) => void
  #isOut = false

  /** @param onChange called when the first opens (true), and when all are closed again (false) */
  constructor (onChange: (isOut: boolean) => void) {
    this.#onChange = onChange
    this.server = new CircuitBreaker(() => this.#changed())
  }

  /** Whether any part of Redis is not asked. */
  get isAnyOpen (): boolean {
    return this.server.isOpen || [...this.#nodes.values()].some((breaker) => breaker.isOpen)
  }

  /** That of one node of a Cluster. */
  of (address: string): CircuitBreaker {
    let breaker = this.#nodes.get(address)
    if (breaker === undefined) this.#nodes.set(address, breaker = new CircuitBreaker(() => this.#changed()))
    return breaker
  }

  /** Forgets nodes other than these: after a failover nobody asks the old one. */
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
