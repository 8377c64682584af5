/** How many failures in a row open the breaker. */
const failuresToOpen = 3

/**
 * Keeps an outage from costing one timeout a request: after three failures in a row everything fails at once, until a probe succeeds.
 *
 * It holds no timer: who owns it probes, and tells it `succeeded`.
 */
export class CircuitBreaker {
  #failuresInARow = 0
  #onChange: (isOpen: boolean) => void

  /** @param onChange called when it opens (true) and closes (false) */
  constructor (onChange: (isOpen: boolean) => void) {
    this.#onChange = onChange
  }

  get isOpen (): boolean {
    return this.#failuresInARow >= failuresToOpen
  }

  failed (): void {
    this.#failuresInARow += 1
    if (this.#failuresInARow === failuresToOpen) this.#onChange(true)
  }

  /** There was nobody to ask. While it is open that is no news. */
  noConnection (): void {
    if (!this.isOpen) this.failed()
  }

  succeeded (): void {
    const wasOpen = this.isOpen
    this.#failuresInARow = 0
    if (wasOpen) this.#onChange(false)
  }
}
