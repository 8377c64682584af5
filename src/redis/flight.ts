import { RedisUnavailableError } from '../errors.ts'
import { afterReading } from './deadline.ts'
import type { Cargo, Lane } from './lane.ts'
import { failureOf, isOutage } from './outage.ts'
import type { Parcel } from './parcel.ts'
import type { Wire } from './wire.ts'

/** Who is told how a flight went: how long its last answer took to come, or that some did not come in time. */
export interface Tower {
  landed (ms: number): void
  timedOut (): void
}

/**
 * What left together on one connection. Every parcel settles exactly once: by its answer, by its error, or by the deadline;
 * what comes after the deadline is dropped. What is for a node that is not asked now fails at once, and does not leave.
 */
export class Flight {
  readonly #lane: Lane
  readonly #tower: Tower
  readonly #legs: Leg[]
  readonly #leftAt = performance.now()
  readonly #timer: NodeJS.Timeout | undefined
  #failed: Wire[] = []
  #open: number

  /** @param remainingMs until the deadline, for what has waited for room before */
  constructor (parcels: readonly Parcel[], lane: Lane, tower: Tower, remainingMs = lane.deadlineMs) {
    this.#lane = lane
    this.#tower = tower
    this.#legs = this.#board(parcels)
    this.#open = this.#legs.length
    if (this.#open === 0) return
    this.#timer = afterReading(remainingMs, () => this.#expire())
    lane.write(this.#legs)
  }

  /** How many commands have left. */
  get size (): number {
    return this.#legs.length
  }

  answered (leg: Leg, reply: unknown): void {
    leg.parcel.landed?.()
    if (!this.#close(leg)) return
    leg.wire.breaker.succeeded()
    try {
      leg.parcel.answered(reply)
    } catch (error) {
      // Not the shape this command answers with: whatever speaks there, it is no Redis that we know.
      leg.parcel.failed(error as Error)
    }
    if (leg.parcel.complaint !== undefined) this.#lane.hear(leg.parcel.complaint)
  }

  failed (leg: Leg, error: Error): void {
    const { parcel, wire } = leg
    if (parcel.whole !== undefined && leg.isOpen && error.message.startsWith('NOSCRIPT')) return this.#sendWhole(leg, parcel.whole())
    parcel.landed?.()
    if (!this.#close(leg)) return
    if (isOutage(error)) this.#countFailure(wire)
    else wire.breaker.succeeded()
    parcel.failed(failureOf(error))
  }

  #board (parcels: readonly Parcel[]): Leg[] {
    const legs: Leg[] = []
    for (const parcel of parcels) {
      const wire = this.#lane.wireOf(parcel.command)
      if (wire.breaker.isOpen) parcel.failed(new RedisUnavailableError('no connection'))
      else legs.push(new Leg(this, parcel, wire))
    }
    return legs
  }

  /** What left together for one server fails together, and is one failure. */
  #countFailure (wire: Wire): void {
    if (!this.#failed.includes(wire)) wire.breaker.failed()
    this.#failed.push(wire)
  }

  /** The server has lost the script, so nothing ran: once more, with its text, under the same deadline. */
  #sendWhole (leg: Leg, command: Parcel['command']): void {
    leg.parcel.whole = undefined
    leg.command = command
    this.#lane.write([leg])
  }

  #close (leg: Leg): boolean {
    if (!leg.isOpen) return false
    leg.isOpen = false
    this.#open -= 1
    if (this.#open > 0) return true
    clearTimeout(this.#timer)
    this.#tower.landed(performance.now() - this.#leftAt)
    return true
  }

  #expire (): void {
    const late = this.#legs.filter(({ isOpen }) => isOpen)
    if (late.length === 0) return
    this.#tower.timedOut()
    for (const { wire } of late) {
      wire.late()
      this.#countFailure(wire)
    }
    for (const leg of late) {
      this.#close(leg)
      leg.parcel.failed(new RedisUnavailableError(`no answer within ${this.#lane.deadlineMs} ms`))
    }
  }
}

/** One parcel on its way. */
class Leg implements Cargo {
  readonly #flight: Flight
  readonly parcel: Parcel
  readonly wire: Wire
  command: Parcel['command']
  isOpen = true
  resends = 0

  constructor (flight: Flight, parcel: Parcel, wire: Wire) {
    this.#flight = flight
    this.parcel = parcel
    this.wire = wire
    this.command = parcel.command
  }

  answered (reply: unknown): void {
    this.#flight.answered(this, reply)
  }

  failed (error: Error): void {
    this.#flight.failed(this, error)
  }
}
