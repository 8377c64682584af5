import { Cluster, Redis } from 'ioredis'
import type { ChainableCommander, Command, RedisOptions as ClientOptions } from 'ioredis'
import { RedisClosedError, RedisSharedError, RedisUnavailableError } from '../shared/errors.ts'
import { Batch } from './batch/batch.ts'
import { asCluster, connectionFactory } from './connect.ts'
import type { Role } from './connect.ts'
import { slownessOf } from './health/deadline.ts'
import { MemoryReader } from './health/memory-info.ts'
import { isTooOld } from './health/server-info.ts'
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
import type { AddressVariable, UnreachableReason } from './health/unreachable-reason.ts'
import { needsDedicatedConnection } from './shared-connection-rules.ts'
import { checkWrites } from './health/write-check.ts'

/**
 * The Redis client of one process: an ioredis `Redis` over a connection pool. `batch` carries the operations of requests, any ioredis method runs a
 * route's own command, and `lease()` opens a dedicated connection.
 *
 * Every command settles within `redis.commandTimeout` (default 200 ms) plus one turn of the event loop: with its reply, Redis's error, or a {@link RedisUnavailableError}.
 *
 * Events:
 * - `outage`: true when an outage begins, false when it ends
 * - `server` ({@link ServerInfo}): at the first connection and when the server process changes, synchronously before any command is sent to it
 * - `denied`: a command, key or channel that the server's ACL denies, once for each
 * - `reason` ({@link UnreachableReason} with the address): when the reason changes; undefined when Redis can be used again
 */
export class PooledRedis extends Redis {
  readonly batch: Batch
  readonly keyspace: Keys
  /** the server's memory, read for all parts of the stack */
  readonly memoryReader: MemoryReader
  /** from the server's `INFO`; undefined before the first connection */
  server: ServerInfo | undefined
  /** other pools of the same app, by the data that they store: `sessions` */
  readonly namedPools = new Map<string, PooledRedis>()
  readonly #reachability: Reachability
  readonly #connections: ConnectionPool
  readonly #leases: Leases
  #open: (role: Role, overrides?: ClientOptions) => Redis | Cluster
  readonly #denied = new Set<string>()
  #isClosed = false

  /** @param variable the environment variable that texts for operators name */
  constructor (policy: RedisPolicy, variable?: AddressVariable) {
    super({ lazyConnect: true })
    // The pool accepts commands from the start, so libraries must not see ioredis's 'wait'. `state` says whether Redis can be used.
    Object.defineProperty(this, 'status', { get: () => this.#isClosed ? 'end' : 'ready', set: () => {} })
    this.#open = connectionFactory(policy.from, policy.connection, policy.deadlineMs)
    this.#connections = new ConnectionPool({
      open: () => this.#open('commands'),
      min: policy.min,
      max: policy.max,
      deadlineMs: policy.deadlineMs,
      onReady: (server) => this.#onReady(server),
      onOutage: (isOut) => {
        this.emit('outage', isOut)
        this.#reachability.review()
      },
      onDenied: (what) => this.#onDenied(what),
      onFailure: (error) => this.#reachability.failed(error),
      onError: (error) => this.#reachability.errorReplied(error),
      onClusterNode: () => {
        this.#open = connectionFactory(asCluster(policy.from), policy.connection, policy.deadlineMs)
        this.#connections.replaceAll()
      }
    })
    this.#reachability = new Reachability({
      isReady: () => this.state === 'ready',
      ...whereabouts(policy),
      variable,
      check: () => this.#checkWrites(),
      changed: (reason) => this.emit('reason', reason)
    })
    this.#leases = new Leases((role) => this.#open(role), policy.max, policy.deadlineMs)
    this.batch = new Batch(this.#connections, policy.deadlineMs)
    this.keyspace = new Keys(policy.prefix)
    this.memoryReader = new MemoryReader((sections) => this.batch.command('INFO', [...sections], 'background'))
  }

  /** `ready`, or `degraded` while Redis, or a node of the Cluster, cannot be used. */
  get state (): 'ready' | 'degraded' {
    return !this.#connections.breakers.isAnyOpen && this.#connections.all.some((connection) => connection.isReady) ? 'ready' : 'degraded'
  }

  /** Why Redis cannot be used, without its address: it is not reachable, or it rejects commands. Undefined while it can be used. */
  get reason (): UnreachableReason | undefined {
    return this.#isClosed ? undefined : this.#reachability.reason
  }

  /** As {@link reason}, with the address, for the log. */
  get reasonWithAddress (): UnreachableReason | undefined {
    return this.#isClosed ? undefined : this.#reachability.reasonWithAddress
  }

  /** Current number of connections, of connections that accept commands, and of commands that wait for a reply. */
  get load (): { connections: number, ready: number, inFlight: number } {
    return { connections: this.#connections.all.length, ready: this.#connections.all.filter((connection) => connection.isReady).length, inFlight: this.#connections.all.reduce((sum, connection) => sum + connection.inFlight, 0) }
  }

  /** Since process start: connections `lost` (broken or not established), and writes for which all connections of a full pool were overloaded (`exhausted`). */
  get losses (): { readonly lost: number, readonly exhausted: number } {
    return this.#connections.counts
  }

  /** Whether a circuit breaker is open: of Redis, or of a node of the Cluster. */
  get isCircuitOpen (): boolean {
    return this.#connections.breakers.isAnyOpen
  }

  /** One connection to each server that owns keys (the masters of a Cluster, or the one server), for commands that describe one server, such as `INFO`. Empty while there is no connection. */
  get masters (): readonly Redis[] {
    const client = this.#choose()?.client
    return client instanceof Cluster ? client.nodes('master') : client === undefined ? [] : [client]
  }

  /**
   * Waits for the first connection, at most `withinMs` (default 1 s), and returns early when every first attempt has failed: the app starts in degraded
   * mode when Redis is down.
   *
   * @returns whether a connection was established in time
   */
  async start (withinMs = 1000 * slownessOf(this.batch.deadlineMs)): Promise<boolean> {
    if (this.server !== undefined) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const timer = setTimeout(resolve, withinMs, false)
    this.#connections.firstConnection.then(resolve)
    return await promise.finally(() => clearTimeout(timer))
  }

  /**
   * Opens a dedicated connection, for WATCH, blocking commands, or changes of its state. Close it with `release()` or `await using`.
   *
   * @throws {RedisClosedError} when the pool is closed; {RedisUnavailableError} when `redis.max` leases are taken, or the connection is not ready in time
   */
  lease (options: { isBlocking?: boolean } = {}): Promise<Lease> {
    return this.#isClosed ? Promise.reject(new RedisClosedError()) : this.#leases.take(options.isBlocking ? 'blocking' : 'exclusive')
  }

  /** Opens a connection for Pub/Sub. The caller closes it. */
  openSubscriber (): Redis | Cluster {
    return this.#open('subscriber')
  }

  /** Records an error that the server replied on a connection of {@link openSubscriber}. */
  handleErrorReply (error: Error): void {
    this.#reachability.errorReplied(error)
    const denied = aclDenial(error)
    if (denied !== undefined) this.#onDenied(denied)
  }

  /**
   * Sends one command on the first connection that is not overloaded.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisSharedError} PRISM_ERR_REDIS_SHARED for a command that needs a
   *   dedicated connection; ioredis's ReplyError for Redis's own error
   */
  override sendCommand (command: Command): Promise<unknown> {
    const reject = command.reject
    const fail = (error: Error) => reject(error.name === 'ReplyError' || 'statusCode' in error ? error : new RedisUnavailableError('the connection failed'))
    command.reject = fail
    if (needsDedicatedConnection(command)) command.reject(new RedisSharedError(command.name.toUpperCase()))
    else this.#sendOnPool(command)
    return command.promise
  }

  /** Sends several commands as one write, on one connection. */
  override pipeline (commands?: unknown[][]): ChainableCommander {
    const connection = this.#chooseOrThrow()
    return addAll(boundPipeline(connection.client.pipeline(), connection), commands)
  }

  /** Sends a transaction as one write, on one connection. Use a lease for WATCH, or to send its commands one by one. */
  override multi (commands?: unknown[][] | { pipeline: true }): ChainableCommander
  override multi (options: { pipeline: false }): never
  override multi (given: unknown[][] | { pipeline: boolean } = []): ChainableCommander {
    if (!Array.isArray(given) && !given.pipeline) throw new RedisSharedError('MULTI')
    const connection = this.#chooseOrThrow()
    return addAll(boundPipeline(connection.client.multi(), connection), Array.isArray(given) ? given : [])
  }

  /** Opens a connection outside the pool, for libraries that need their own. The caller closes it. */
  override duplicate (overrides: ClientOptions = {}): Redis {
    const client = this.#open('own', overrides)
    if (client instanceof Redis) return client
    client.disconnect()
    throw new RedisSharedError('duplicate() of a Cluster')
  }

  /** Does nothing: the pool connects in its constructor. */
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

  #sendOnPool (command: Command): void {
    const connection = this.#choose()
    if (connection === undefined) {
      this.#connections.onNoConnection()
      return command.reject(new RedisUnavailableError('no connection'))
    }
    // eslint-disable-next-line no-new
    new InFlightWrite([{ name: command.name, command, replied: () => {}, failed: command.reject }], connection, { settled: (name, ms, hasFailed) => this.batch.settled(name, ms, hasFailed), completed: () => {}, timedOut: () => this.batch.timedOut() })
  }

  #choose (): Connection | undefined {
    return this.#isClosed ? undefined : this.#connections.choose()
  }

  #chooseOrThrow (): Connection {
    const connection = this.#choose()
    if (connection === undefined) throw new RedisUnavailableError('no connection')
    return connection
  }

  #onDenied (what: string): void {
    if (this.#denied.has(what)) return
    this.#denied.add(what)
    this.emit('denied', what)
  }

  #onReady (server: ServerInfo): void {
    const isNew = this.server?.runId !== server.runId
    this.server = server
    if (isNew) this.emit('server', server)
    this.#reachability.reached(isNew)
  }

  /** The first error of a master that rejects writes, or that the server is too old for some of the commands. */
  async #checkWrites (): Promise<Error | undefined> {
    const { masters, server } = this
    if (server !== undefined && isTooOld(server.version)) return new Error(`VERSION_TOO_OLD ${server.version}`)
    if (masters.length === 0) throw new RedisUnavailableError('no connection')
    const found = await Promise.all(masters.map((client) => checkWrites(client, this.keyspace.prefix, this.batch.deadlineMs)))
    return found.find((error) => error !== undefined)
  }
}

function addAll (pipeline: ChainableCommander, commands: readonly unknown[][] = []): ChainableCommander {
  for (const [name, ...args] of commands) pipeline.call(String(name), ...args as string[])
  return pipeline
}
