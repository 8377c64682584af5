/** Consecutive failures that open the breaker. */
const failuresToOpen = 3

/**
 * Circuit breaker: after three consecutive failures, operations fail at once instead of waiting for a timeout each, until a probe succeeds.
 *
 * It has no timer: its owner sends the probes, and calls `succeeded`.
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

  /** Counts a missing connection as a failure, except while the breaker is open. */
  noConnection (): void {
    if (!this.isOpen) this.failed()
  }

  succeeded (): void {
    const wasOpen = this.isOpen
    this.#failuresInARow = 0
    if (wasOpen) this.#onChange(false)
  }
}
