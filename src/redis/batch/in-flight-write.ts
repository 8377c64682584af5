import { RedisUnavailableError } from '../../shared/errors.ts'
import { setTimeoutAfterIo } from '../health/deadline.ts'
import type { OutgoingCommand, Connection } from '../connection.ts'
import { toPublicError, isServerFailure } from '../health/error-class.ts'
import type { BatchedCommand } from './batched-command.ts'
import type { ConnectionHealth } from '../health/connection-health.ts'

/** Who is told how a flight went: how long its last answer took to come, or that some did not come in time. */
export interface WriteObserver {
  completed (ms: number): void
  timedOut (): void
}

/**
 * What left together on one connection. Every parcel settles exactly once: by its answer, by its error, or by the deadline;
 * what comes after the deadline is dropped. What is for a node that is not asked now fails at once, and does not leave.
 */
export class InFlightWrite {
  readonly #connection: Connection
  readonly #observer: WriteObserver
  readonly #commands: InFlightCommand[]
  readonly #leftAt = performance.now()
  readonly #timer: NodeJS.Timeout | undefined
  #failed: ConnectionHealth[] = []
  #open: number

  /** @param remainingMs until the deadline, for what has waited for room before */
  constructor (batchedCommands: readonly BatchedCommand[], connection: Connection, observer: WriteObserver, remainingMs = connection.deadlineMs) {
    this.#connection = connection
    this.#observer = observer
    this.#commands = this.#admit(batchedCommands)
    this.#open = this.#commands.length
    if (this.#open === 0) return
    this.#timer = setTimeoutAfterIo(remainingMs, () => this.#expire())
    connection.write(this.#commands)
  }

  /** How many commands have left. */
  get size (): number {
    return this.#commands.length
  }

  answered (inFlight: InFlightCommand, reply: unknown): void {
    inFlight.batched.landed?.()
    if (!this.#close(inFlight)) return
    inFlight.health.breaker.succeeded()
    try {
      inFlight.batched.answered(reply)
    } catch (error) {
      // Not the shape this command answers with: whatever speaks there, it is no Redis that we know.
      inFlight.batched.failed(error as Error)
    }
    if (inFlight.batched.serverError !== undefined) this.#connection.hear(inFlight.batched.serverError)
  }

  failed (inFlight: InFlightCommand, error: Error): void {
    const { batched, health } = inFlight
    if (batched.withScriptText !== undefined && inFlight.isOpen && error.message.startsWith('NOSCRIPT')) return this.#sendWhole(inFlight, batched.withScriptText())
    batched.landed?.()
    if (!this.#close(inFlight)) return
    if (isServerFailure(error)) this.#countFailure(health)
    else health.breaker.succeeded()
    batched.failed(toPublicError(error))
  }

  #admit (batchedCommands: readonly BatchedCommand[]): InFlightCommand[] {
    const commands: InFlightCommand[] = []
    for (const batched of batchedCommands) {
      const health = this.#connection.healthOf(batched.command)
      if (health.breaker.isOpen) batched.failed(new RedisUnavailableError('no connection'))
      else commands.push(new InFlightCommand(this, batched, health))
    }
    return commands
  }

  /** What left together for one server fails together, and is one failure. */
  #countFailure (health: ConnectionHealth): void {
    if (!this.#failed.includes(health)) health.breaker.failed()
    this.#failed.push(health)
  }

  /** The server has lost the script, so nothing ran: once more, with its text, under the same deadline. */
  #sendWhole (inFlight: InFlightCommand, command: BatchedCommand['command']): void {
    inFlight.batched.withScriptText = undefined
    inFlight.command = command
    this.#connection.write([inFlight])
  }

  #close (inFlight: InFlightCommand): boolean {
    if (!inFlight.isOpen) return false
    inFlight.isOpen = false
    this.#open -= 1
    if (this.#open > 0) return true
    clearTimeout(this.#timer)
    this.#observer.completed(performance.now() - this.#leftAt)
    return true
  }

  #expire (): void {
    const late = this.#commands.filter(({ isOpen }) => isOpen)
    if (late.length === 0) return
    this.#observer.timedOut()
    for (const { health } of late) {
      health.timedOut()
      this.#countFailure(health)
    }
    for (const inFlight of late) {
      this.#close(inFlight)
      inFlight.batched.failed(new RedisUnavailableError(`no answer within ${this.#connection.deadlineMs} ms`))
    }
  }
}

/** One parcel on its way. */
class InFlightCommand implements OutgoingCommand {
  readonly #write: InFlightWrite
  readonly batched: BatchedCommand
  readonly health: ConnectionHealth
  command: BatchedCommand['command']
  isOpen = true
  resends = 0

  constructor (write: InFlightWrite, batched: BatchedCommand, health: ConnectionHealth) {
    this.#write = write
    this.batched = batched
    this.health = health
    this.command = batched.command
  }

  answered (reply: unknown): void {
    this.#write.answered(this, reply)
  }

  failed (error: Error): void {
    this.#write.failed(this, error)
  }
}
