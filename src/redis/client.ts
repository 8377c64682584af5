import { Cluster, Redis } from 'ioredis'
import type { ChainableCommander, Command, RedisOptions as ClientOptions } from 'ioredis'
import { RedisClosedError, RedisSharedError, RedisUnavailableError } from '../shared/errors.ts'
import { Batch } from './batch/batch.ts'
import { asCluster, connectionFactory } from './connect.ts'
import type { Role } from './connect.ts'
import { slownessOf } from './health/deadline.ts'
import type { ServerInfo } from './health/server-info.ts'
import { InFlightWrite } from './batch/in-flight-write.ts'
import { Keys } from './keys.ts'
import type { Connection } from './connection.ts'
import { ConnectionPool } from './connection-pool.ts'
import { Leases } from './dedicated-connection.ts'
import type { Lease } from './dedicated-connection.ts'
import { aclDenial } from './health/error-class.ts'
import { boundPipeline } from './pipeline.ts'
import type { RedisPolicy } from './options.ts'
import { whereabouts } from './health/protocol-probe.ts'
import { Reachability } from './health/reachability.ts'
import type { UnreachableReason } from './health/unreachable-reason.ts'
import { needsDedicatedConnection } from './shared-connection-rules.ts'
import { checkWrites } from './health/write-check.ts'

/**
 * The connections of one process to Redis, shared by all: `batch` for what requests ask, any ioredis method for a route's own commands,
 * `lease()` for what needs a connection alone.
 *
 * Every command settles within `redis.commandTimeout` (200 ms) and the time of a turn of the event loop, whatever happens to Redis: with its reply, Redis's error, or a {@link RedisUnavailableError}.
 *
 * Events: `outage` (true when one begins, false when it has ended), `server` ({@link ServerInfo}, at the first connection and whenever its process changed,
 * synchronously before anything else is asked of it), `denied` (what the server's ACL forbids, the first time of each),
 * `reason` (an {@link UnreachableReason} with the address, at each change of why Redis cannot be used; undefined when it can be used again).
 */
export class PooledRedis extends Redis {
  readonly batch: Batch
  readonly keyspace: Keys
  /** what the server says of itself; undefined until it was first reached */
  server: ServerInfo | undefined
  /** other pools of the same app, by what they hold: `sessions` */
  readonly others = new Map<string, PooledRedis>()
  readonly #reachability: Reachability
  readonly #connections: ConnectionPool
  readonly #leases: Leases
  #open: (role: Role, overrides?: ClientOptions) => Redis | Cluster
  readonly #denied = new Set<string>()
  #isClosed = false

  constructor (policy: RedisPolicy) {
    super({ lazyConnect: true })
    // A pool takes commands from the start; whether Redis answers is `state`. The class it extends would say 'wait'.
    Object.defineProperty(this, 'status', { get: () => this.#isClosed ? 'end' : 'ready', set: () => {} })
    this.#open = connectionFactory(policy.from, policy.connection, policy.deadlineMs)
    this.#connections = new ConnectionPool({
      open: () => this.#open('commands'),
      min: policy.min,
      max: policy.max,
      deadlineMs: policy.deadlineMs,
      onReady: (server) => this.#reached(server),
      onOutage: (isOut) => {
        this.emit('outage', isOut)
        this.#reachability.review()
      },
      onDenied: (what) => this.#wasDenied(what),
      onFailure: (error) => this.#reachability.failed(error),
      onError: (error) => this.#reachability.answered(error),
      onClusterNode: () => {
        this.#open = connectionFactory(asCluster(policy.from), policy.connection, policy.deadlineMs)
        this.#connections.renew()
      }
    })
    this.#reachability = new Reachability({
      isReady: () => this.state === 'ready',
      ...whereabouts(policy),
      check: () => this.#checkWrites(),
      changed: (reason) => this.emit('reason', reason)
    })
    this.#leases = new Leases((role) => this.#open(role), policy.max, policy.deadlineMs)
    this.batch = new Batch(this.#connections, policy.deadlineMs)
    this.keyspace = new Keys(policy.prefix)
  }

  /** `ready`, or `degraded` while Redis, or a node of the Cluster, cannot be asked. */
  get state (): 'ready' | 'degraded' {
    return !this.#connections.breakers.isAnyOpen && this.#connections.all.some((connection) => connection.isReady) ? 'ready' : 'degraded'
  }

  /** Why Redis cannot be used, without its address: it is not reached, or it answers and refuses what is asked of it. Undefined while it can be used. */
  get reason (): UnreachableReason | undefined {
    return this.#isClosed ? undefined : this.#reachability.reason
  }

  /** The same with the address, for the log. */
  get reasonWithAddress (): UnreachableReason | undefined {
    return this.#isClosed ? undefined : this.#reachability.reasonWithAddress
  }

  /** Connections now, how many of them take commands, and commands without an answer on them. */
  get load (): { connections: number, ready: number, inFlight: number } {
    return { connections: this.#connections.all.length, ready: this.#connections.all.filter((connection) => connection.isReady).length, inFlight: this.#connections.all.reduce((sum, connection) => sum + connection.inFlight, 0) }
  }

  /** Since the start: connections `lost` (broken, or not made), and choices for which all were crowded (`exhausted`). */
  get losses (): { readonly lost: number, readonly exhausted: number } {
    return this.#connections.counts
  }

  /** Whether Redis, or a node of the Cluster, is not asked now, because it has failed three times in a row. */
  get isBroken (): boolean {
    return this.#connections.breakers.isAnyOpen
  }

  /** Connections to each server that holds keys, for what a server says of itself alone: to a Cluster's masters, or to the one; none while there is no connection. */
  get masters (): readonly Redis[] {
    const client = this.#choose()?.client
    return client instanceof Cluster ? client.nodes('master') : client === undefined ? [] : [client]
  }

  /**
   * Waits for the first connection, but not for ever, and not at all where nobody answers: a service starts, degraded, when Redis is down.
   *
   * @returns whether Redis was reached in time
   */
  async start (withinMs = 1000 * slownessOf(this.batch.deadlineMs)): Promise<boolean> {
    if (this.server !== undefined) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const timer = setTimeout(resolve, withinMs, false)
    this.#connections.contact.then(resolve)
    return await promise.finally(() => clearTimeout(timer))
  }

  /** One connection alone, for WATCH, blocking commands, or changes of its state; give it back with `release()` or `await using`. */
  lease (options: { isBlocking?: boolean } = {}): Promise<Lease> {
    return this.#isClosed ? Promise.reject(new RedisClosedError()) : this.#leases.take(options.isBlocking ? 'blocking' : 'exclusive')
  }

  /** Opens a connection for Pub/Sub; who opens it closes it. */
  openSubscriber (): Redis | Cluster {
    return this.#open('subscriber')
  }

  /** Hears what the server said on a connection of {@link openSubscriber}. */
  hear (error: Error): void {
    this.#reachability.answered(error)
    const denied = aclDenial(error)
    if (denied !== undefined) this.#wasDenied(denied)
  }

  /**
   * Sends one command of the caller's own, on the connection that is dense but not crowded.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisSharedError} PRISM_ERR_REDIS_SHARED for what belongs on a connection alone;
   *   ioredis's ReplyError for what Redis says to it
   */
  override sendCommand (command: Command): Promise<unknown> {
    const reject = command.reject
    command.reject = (error) => reject(error.name === 'ReplyError' || 'statusCode' in error ? error : new RedisUnavailableError('the connection failed'))
    if (needsDedicatedConnection(command)) command.reject(new RedisSharedError(command.name.toUpperCase()))
    else this.#lend(command)
    return command.promise
  }

  /** Several commands as one write, on one connection. */
  override pipeline (commands?: unknown[][]): ChainableCommander {
    const connection = this.#chooseOrThrow()
    return addAll(boundPipeline(connection.client.pipeline(), connection), commands)
  }

  /** A transaction as one write, on one connection; for WATCH, and for commands that leave one by one, take a lease. */
  override multi (commands?: unknown[][] | { pipeline: true }): ChainableCommander
  override multi (options: { pipeline: false }): never
  override multi (given: unknown[][] | { pipeline: boolean } = []): ChainableCommander {
    if (!Array.isArray(given) && !given.pipeline) throw new RedisSharedError('MULTI')
    const connection = this.#chooseOrThrow()
    return addAll(boundPipeline(connection.client.multi(), connection), Array.isArray(given) ? given : [])
  }

  /** A connection beside the pool, for libraries that ask for one of their own; who opens it closes it. */
  override duplicate (overrides: ClientOptions = {}): Redis {
    const client = this.#open('own', overrides)
    if (client instanceof Redis) return client
    client.disconnect()
    throw new RedisSharedError('duplicate() of a Cluster')
  }

  /** Does nothing: the pool connects by itself. */
  override connect (): Promise<void> {
    return Promise.resolve()
  }

  override disconnect (): void {
    this.#isClosed = true
    this.#reachability.close()
    this.#connections.close()
    this.#leases.close()
  }

  /** Closes all connections. */
  override quit (): Promise<'OK'> {
    this.disconnect()
    return Promise.resolve('OK')
  }

  #lend (command: Command): void {
    const connection = this.#choose()
    if (connection === undefined) {
      this.#connections.missed()
      return command.reject(new RedisUnavailableError('no connection'))
    }
    // eslint-disable-next-line no-new
    new InFlightWrite([{ command, answered: () => {}, failed: command.reject }], connection, { completed: () => {}, timedOut: () => this.batch.timedOut() })
  }

  #choose (): Connection | undefined {
    return this.#isClosed ? undefined : this.#connections.choose()
  }

  #chooseOrThrow (): Connection {
    const connection = this.#choose()
    if (connection === undefined) throw new RedisUnavailableError('no connection')
    return connection
  }

  #wasDenied (what: string): void {
    if (this.#denied.has(what)) return
    this.#denied.add(what)
    this.emit('denied', what)
  }

  #reached (server: ServerInfo): void {
    const isNew = this.server?.runId !== server.runId
    this.server = server
    if (isNew) this.emit('server', server)
    this.#reachability.reached(isNew)
  }

  /** What the first of the masters refuses that refuses anything. */
  async #checkWrites (): Promise<Error | undefined> {
    const { masters } = this
    if (masters.length === 0) throw new RedisUnavailableError('no connection')
    const found = await Promise.all(masters.map((client) => checkWrites(client, this.keyspace.prefix, this.batch.deadlineMs)))
    return found.find((error) => error !== undefined)
  }
}

function addAll (pipeline: ChainableCommander, commands: readonly unknown[][] = []): ChainableCommander {
  for (const [name, ...args] of commands) pipeline.call(String(name), ...args as string[])
  return pipeline
}
