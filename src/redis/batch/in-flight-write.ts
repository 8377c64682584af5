import { RedisUnavailableError } from '../../shared/errors.ts'
import { setTimeoutAfterIo } from '../health/deadline.ts'
import type { OutgoingCommand, Connection } from '../connection.ts'
import { toPublicError, isServerFailure } from '../health/error-class.ts'
import type { BatchedCommand } from './batched-command.ts'
import type { ConnectionHealth } from '../health/connection-health.ts'

/** Callbacks of a write: each of its commands, the time until its last reply, or that a reply was late. */
export interface WriteObserver {
  settled (name: string, ms: number, hasFailed: boolean): void
  completed (ms: number): void
  timedOut (): void
}

/**
 * The commands of one write on one connection. Each settles exactly once: with its reply, its error, or at the deadline; later replies are ignored.
 * Commands for a node whose circuit breaker is open fail at once and are not sent.
 */
export class InFlightWrite {
  readonly #connection: Connection
  readonly #observer: WriteObserver
  readonly #commands: InFlightCommand[]
  readonly #sentAt = performance.now()
  readonly #timer: NodeJS.Timeout | undefined
  #failed: ConnectionHealth[] = []
  #open: number

  /** @param remainingMs until the deadline; less than the default for a read that has waited for capacity */
  constructor (batchedCommands: readonly BatchedCommand[], connection: Connection, observer: WriteObserver, remainingMs = connection.deadlineMs) {
    this.#connection = connection
    this.#observer = observer
    this.#commands = this.#admit(batchedCommands)
    this.#open = this.#commands.length
    if (this.#open === 0) return
    this.#timer = setTimeoutAfterIo(remainingMs, () => this.#expire())
    connection.write(this.#commands)
  }

  /** Number of commands sent. */
  get size (): number {
    return this.#commands.length
  }

  answered (inFlight: InFlightCommand, reply: unknown): void {
    inFlight.batched.onSettled?.()
    if (!this.#close(inFlight)) return
    inFlight.health.breaker.succeeded()
    try {
      inFlight.batched.answered(reply)
    } catch (error) {
      // The reply does not have this command's shape: the server is not a Redis that this package supports.
      inFlight.batched.failed(error as Error)
    }
    this.#count(inFlight, inFlight.batched.serverError !== undefined)
    if (inFlight.batched.serverError !== undefined) this.#connection.hear(inFlight.batched.serverError)
  }

  failed (inFlight: InFlightCommand, error: Error): void {
    const { batched, health } = inFlight
    if (batched.withScriptText !== undefined && inFlight.isOpen && error.message.startsWith('NOSCRIPT')) return this.#sendWithText(inFlight, batched.withScriptText())
    batched.onSettled?.()
    if (!this.#close(inFlight)) return
    this.#count(inFlight, true)
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

  /** Commands of one write to one server fail together: the breaker counts one failure. */
  #countFailure (health: ConnectionHealth): void {
    if (!this.#failed.includes(health)) health.breaker.failed()
    this.#failed.push(health)
  }

  /** The server replied NOSCRIPT, so nothing was executed: send the script's text, under the same deadline. */
  #sendWithText (inFlight: InFlightCommand, command: BatchedCommand['command']): void {
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
    this.#observer.completed(performance.now() - this.#sentAt)
    return true
  }

  #count ({ batched, command }: InFlightCommand, hasFailed: boolean): void {
    this.#observer.settled(batched.name ?? command.name, performance.now() - this.#sentAt, hasFailed)
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
      this.#count(inFlight, true)
      inFlight.batched.failed(new RedisUnavailableError(`no reply within ${this.#connection.deadlineMs} ms`))
    }
  }
}

/** One command of the write. */
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
