import { RedisUnavailableError } from '../errors.ts'
import type { Breaker } from './breaker.ts'
import { deadlineMs } from './deadline.ts'
import type { Lane } from './lane.ts'
import { failureOf, isOutage } from './outage.ts'
import type { Parcel } from './parcel.ts'

/**
 * What left together on one connection. Every parcel settles exactly once: by its answer, by its error, or by the deadline;
 * what comes after the deadline is dropped.
 */
export class Flight {
  #open: Set<Parcel>
  #lane: Lane
  #breaker: Breaker
  #timer: NodeJS.Timeout
  #hasFailed = false
  #onTimeout: () => void

  /** @param remainingMs until the deadline, for what has waited for room before */
  constructor (parcels: readonly Parcel[], lane: Lane, breaker: Breaker, onTimeout: () => void, remainingMs = deadlineMs) {
    this.#open = new Set(parcels)
    this.#lane = lane
    this.#breaker = breaker
    this.#onTimeout = onTimeout
    // A blocked event loop runs timers before it reads the socket: look at what has arrived before giving up.
    this.#timer = setTimeout(() => setImmediate(() => this.#expire()), remainingMs)
    for (const parcel of parcels) this.#follow(parcel, parcel.command.promise)
    lane.write(parcels.map((parcel) => parcel.command))
  }

  #follow (parcel: Parcel, answer: Promise<unknown>): void {
    answer.then((reply) => this.#answered(parcel, reply), (error: Error) => this.#failed(parcel, error))
  }

  #answered (parcel: Parcel, reply: unknown): void {
    if (!this.#close(parcel)) return
    this.#breaker.succeeded()
    try {
      parcel.answered(reply)
    } catch (error) {
      // Not the shape this command answers with: whatever speaks there, it is no Redis that we know.
      parcel.failed(error as Error)
    }
    if (parcel.complaint !== undefined) this.#lane.hear(parcel.complaint)
  }

  #failed (parcel: Parcel, error: Error): void {
    if (error.message.startsWith('NOSCRIPT') && parcel.whole) return this.#sendWhole(parcel, parcel.whole())
    if (!this.#close(parcel)) return
    if (isOutage(error)) this.#countFailure()
    else this.#breaker.succeeded()
    parcel.failed(failureOf(error))
  }

  /** What left together fails together, and is one failure. */
  #countFailure (): void {
    if (!this.#hasFailed) this.#breaker.failed()
    this.#hasFailed = true
  }

  /** The server has lost the script, so nothing ran: once more, with its text, under the same deadline. */
  #sendWhole (parcel: Parcel, command: Parcel['command']): void {
    if (!this.#open.has(parcel)) return
    parcel.whole = undefined
    this.#follow(parcel, command.promise)
    this.#lane.write([command])
  }

  #close (parcel: Parcel): boolean {
    const wasOpen = this.#open.delete(parcel)
    if (this.#open.size === 0) clearTimeout(this.#timer)
    return wasOpen
  }

  #expire (): void {
    if (this.#open.size === 0) return
    this.#lane.late()
    this.#countFailure()
    this.#onTimeout()
    const late = [...this.#open]
    this.#open.clear()
    for (const parcel of late) parcel.failed(new RedisUnavailableError(`no answer within ${deadlineMs} ms`))
  }
}
