import { Redis } from 'ioredis'
import type { ChainableCommander, Cluster, Command } from 'ioredis'
import { RedisClosedError, RedisUnavailableError } from '../errors.ts'
import { Batch } from './batch.ts'
import { connector } from './connection.ts'
import type { Role } from './connection.ts'
import { deadlineMs } from './flight.ts'
import { Keys } from './keys.ts'
import { Lanes } from './lanes.ts'
import { Leases } from './lease.ts'
import type { Lease } from './lease.ts'
import { refuseUnshared } from './unshared.ts'
import type { RedisPolicy } from './policy.ts'
import type { Server } from './facts.ts'

/**
 * The connections of one process to Redis, shared by all: `batch` for what requests ask, any ioredis method for a route's own commands,
 * `lease()` for what needs a connection alone.
 *
 * Every command settles within 250 ms, whatever happens to Redis: with its reply, Redis's error, or a {@link RedisUnavailableError}.
 *
 * Events: `outage` (true when one begins, false when it has ended), `server` ({@link Server}, at the first connection and whenever its process changed,
 * synchronously before anything else is asked of it).
 */
export class Pool extends Redis {
  readonly batch: Batch
  readonly keyspace: Keys
  /** what the server says of itself; undefined until it was first reached */
  server: Server | undefined
  readonly #lanes: Lanes
  readonly #leases: Leases
  readonly #open: (role: Role) => Redis | Cluster
  #isClosed = false

  constructor (policy: RedisPolicy) {
    super({ lazyConnect: true })
    // A pool takes commands from the start; whether Redis answers is `state`. The class it extends would say 'wait'.
    Object.defineProperty(this, 'status', { get: () => this.#isClosed ? 'end' : 'ready', set: () => {} })
    this.#open = connector(policy.from, policy.connection)
    this.#lanes = new Lanes({
      open: () => this.#open('commands'),
      min: policy.min,
      max: policy.max,
      onReady: (server) => this.#reached(server),
      onOutage: (isOut) => this.emit('outage', isOut)
    })
    this.#leases = new Leases(this.#open, policy.max)
    this.batch = new Batch(this.#lanes)
    this.keyspace = new Keys(policy.prefix)
  }

  /** `ready`, or `degraded` while Redis cannot be asked. */
  get state (): 'ready' | 'degraded' {
    return !this.#lanes.breaker.isOpen && this.#lanes.all.some((lane) => lane.isReady) ? 'ready' : 'degraded'
  }

  /** Connections now, and commands without an answer on them. */
  get load (): { connections: number, inFlight: number } {
    return { connections: this.#lanes.all.length, inFlight: this.#lanes.all.reduce((sum, lane) => sum + lane.inFlight, 0) }
  }

  /** Since the start: connections `lost` (broken, or not made), and choices for which all were crowded (`exhausted`). */
  get losses (): { readonly lost: number, readonly exhausted: number } {
    return this.#lanes.counts
  }

  /** While it is open nothing is asked. */
  get isBroken (): boolean {
    return this.#lanes.breaker.isOpen
  }

  /**
   * Waits for the first connection, but not for ever: a service starts, degraded, when Redis is down.
   *
   * @returns whether Redis was reached in time
   */
  async start (withinMs = 1000): Promise<boolean> {
    if (this.server !== undefined) return true
    return await new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs, false)
      this.once('server', () => {
        clearTimeout(timer)
        resolve(true)
      })
    })
  }

  /** One connection alone, for WATCH, blocking commands, or changes of its state; give it back with `release()` or `await using`. */
  lease (options: { isBlocking?: boolean } = {}): Promise<Lease> {
    return this.#isClosed ? Promise.reject(new RedisClosedError()) : this.#leases.take(options.isBlocking ? 'blocking' : 'commands')
  }

  /** Opens a connection for Pub/Sub; who opens it closes it. */
  openSubscriber (): Redis | Cluster {
    return this.#open('subscriber')
  }

  /** Sends one command of the caller's own, on the connection that is dense but not crowded. */
  override sendCommand (command: Command): Promise<unknown> {
    const client = refuseUnshared(command) ? this.#choose() : undefined
    if (client === undefined) command.reject(new RedisUnavailableError('no connection'))
    else {
      command.setTimeout(deadlineMs)
      client.sendCommand(command)
    }
    return command.promise
  }

  override pipeline (commands?: unknown[][]): ChainableCommander {
    return this.#chooseOrThrow().pipeline(commands)
  }

  override multi (): never
  override multi (...options: never[]): ChainableCommander {
    return this.#chooseOrThrow().multi(...options)
  }

  /** Does nothing: the pool connects by itself. */
  override connect (): Promise<void> {
    return Promise.resolve()
  }

  override disconnect (): void {
    this.#isClosed = true
    this.#lanes.close()
    this.#leases.close()
  }

  /** Closes all connections. */
  override quit (): Promise<'OK'> {
    this.disconnect()
    return Promise.resolve('OK')
  }

  #choose (): Redis | Cluster | undefined {
    return this.#isClosed || this.#lanes.breaker.isOpen ? undefined : this.#lanes.choose()?.client
  }

  #chooseOrThrow (): Redis | Cluster {
    const client = this.#choose()
    if (client === undefined) throw new RedisUnavailableError('no connection')
    return client
  }

  #reached (server: Server): void {
    const isNew = this.server?.runId !== server.runId
    this.server = server
    if (isNew) this.emit('server', server)
  }
}
