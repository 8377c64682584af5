import type { Command } from 'ioredis'
import { RedisUnavailableError } from '../../shared/errors.ts'
import { setTimeoutAfterIo } from '../health/deadline.ts'
import type { OutgoingCommand, Connection } from '../connection.ts'
import { toPublicError, isServerFailure } from '../health/error-class.ts'
import type { BatchedCommand } from './batched-command.ts'
import { EncodedCommand, encodeCommands } from './resp-encoder.ts'
import type { FillCommand } from './resp-encoder.ts'
import type { ConnectionHealth } from '../health/connection-health.ts'

/** Callbacks of a write: each of its commands, the time until its last reply, or that a reply was late. */
export interface WriteObserver {
  settled (name: string, ms: number, hasFailed: boolean): void
  completed (ms: number): void
  timedOut (): void
}

/** Options of an {@link InFlightWrite}. */
export interface WriteOptions {
  /** until the deadline, milliseconds; less than the default for a read that has waited for capacity */
  readonly remainingMs?: number
  /** how many of the first commands `replies` waits for */
  readonly awaited?: number
  /** resolved when these commands have settled */
  readonly replies?: { resolve (): void } | undefined
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
  #awaited: number
  #replies: WriteOptions['replies']

  constructor (batchedCommands: readonly BatchedCommand[], connection: Connection, observer: WriteObserver, { remainingMs = connection.deadlineMs, awaited = 0, replies }: WriteOptions = {}) {
    this.#connection = connection
    this.#observer = observer
    this.#replies = replies
    this.#awaited = awaited
    this.#commands = this.#admit(batchedCommands)
    this.#open = this.#commands.length
    if (this.#awaited === 0) this.#resolveReplies()
    if (this.#open === 0) return
    this.#timer = setTimeoutAfterIo(remainingMs, () => this.#expire())
    connection.write(this.#commands)
  }

  /** Number of commands sent. */
  get size (): number {
    return this.#commands.length
  }

  replied (inFlight: InFlightCommand, reply: unknown): void {
    inFlight.batched.onSettled?.()
    if (!this.#close(inFlight)) return
    inFlight.health.breaker.succeeded()
    try {
      inFlight.batched.replied(reply)
    } catch (error) {
      // The reply does not have this command's shape: the server is not a Redis that this package supports.
      inFlight.batched.failed(error as Error)
    }
    this.#count(inFlight, inFlight.batched.serverError !== undefined)
    if (inFlight.batched.serverError !== undefined) this.#connection.handleErrorReply(inFlight.batched.serverError)
  }

  failed (inFlight: InFlightCommand, error: Error): void {
    const { batched, health } = inFlight
    if (inFlight.isOpen && inFlight.useText(error)) return this.#connection.write([inFlight])
    batched.onSettled?.()
    if (!this.#close(inFlight)) return
    this.#count(inFlight, true)
    if (isServerFailure(error)) this.#countFailure(health)
    else health.breaker.succeeded()
    batched.failed(toPublicError(error))
  }

  #admit (batchedCommands: readonly BatchedCommand[]): InFlightCommand[] {
    const commands: InFlightCommand[] = []
    const awaited = this.#awaited
    for (const [index, batched] of batchedCommands.entries()) {
      const isAwaited = index < awaited
      const inFlight = new InFlightCommand(this, batched, this.#connection, isAwaited)
      if (!inFlight.health.breaker.isOpen) {
        commands.push(inFlight)
        continue
      }
      batched.failed(new RedisUnavailableError('no connection'))
      if (isAwaited) this.#awaited -= 1
    }
    return commands
  }

  /** Commands of one write to one server fail together: the breaker counts one failure. */
  #countFailure (health: ConnectionHealth): void {
    if (!this.#failed.includes(health)) health.breaker.failed()
    this.#failed.push(health)
  }

  #resolveReplies (): void {
    this.#replies?.resolve()
    this.#replies = undefined
  }

  #close (inFlight: InFlightCommand): boolean {
    if (!inFlight.isOpen) return false
    inFlight.isOpen = false
    if (inFlight.isAwaited && --this.#awaited === 0) this.#resolveReplies()
    this.#open -= 1
    if (this.#open > 0) return true
    clearTimeout(this.#timer)
    this.#observer.completed(performance.now() - this.#sentAt)
    return true
  }

  #count ({ batched: { label, name } }: InFlightCommand, hasFailed: boolean): void {
    this.#observer.settled(label ?? name, performance.now() - this.#sentAt, hasFailed)
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

/**
 * One command of the write. The connection puts it into ioredis's queue of commands that wait for a reply, in place of an ioredis command with its promise
 * and closures.
 */
class InFlightCommand implements OutgoingCommand {
  /** read by ioredis, as those of its own commands */
  readonly name: string
  readonly args: readonly never[] = none
  readonly batched: BatchedCommand
  readonly health: ConnectionHealth
  /** the operations of requests */
  readonly isAwaited: boolean
  isOpen = true
  isReplied = false
  resends = 0
  sentAt = 0
  fill: FillCommand | undefined
  readonly #write: InFlightWrite
  readonly #connection: Connection
  #command: Command | undefined

  constructor (write: InFlightWrite, batched: BatchedCommand, connection: Connection, isAwaited: boolean) {
    this.isAwaited = isAwaited
    this.#write = write
    this.#connection = connection
    this.name = batched.name
    this.batched = batched
    this.fill = batched.fill
    this.#command = batched.command
    this.health = connection.healthOf(this)
  }

  get command (): Command {
    return (this.#command ??= new EncodedCommand(this.name, this.batched.key ?? '', encodeCommands(this.fill === undefined ? [] : [this.fill])))
  }

  /** The server replied NOSCRIPT, so nothing was executed: the script's text is sent next, under the same deadline. */
  useText ({ message }: Error): boolean {
    const { fillWithText } = this.batched
    if (fillWithText === undefined || this.fill === fillWithText || !message.startsWith('NOSCRIPT')) return false
    this.fill = fillWithText
    this.#command = undefined
    this.isReplied = false
    return true
  }

  /** Called by ioredis with the reply. */
  resolve (reply: unknown): void {
    this.#connection.onReply(this, reply)
  }

  /** Called by ioredis with an error reply, or when the connection ends. */
  reject (error: Error): void {
    this.#connection.onError(this, error)
  }

  replied (reply: unknown): void {
    this.#write.replied(this, reply)
  }

  failed (error: Error): void {
    this.#write.failed(this, error)
  }
}

const none: readonly never[] = Object.freeze([])
