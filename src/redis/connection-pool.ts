import type { Cluster, Redis } from 'ioredis'
import type { ConnectionPicker } from './batch/batch.ts'
import { everySecond } from '../shared/every-second.ts'
import { CircuitBreakers } from './health/circuit-breakers.ts'
import { ClusterIdentity } from './health/cluster-identity.ts'
import { defaultDeadlineMs } from './health/deadline.ts'
import type { ServerInfo } from './health/server-info.ts'
import { overloadedBytes, Connection } from './connection.ts'

const defaultIdleMs = 30_000
const probeEveryMs = 500

/** Size of a {@link ConnectionPool}, and its callbacks. */
export interface ConnectionPoolOptions {
  open: () => Redis | Cluster
  min: number
  max: number
  /** a connection beyond `min` is closed after this idle time; default 30,000 ms */
  idleMs?: number
  /** time limit for a reply; default 200 ms */
  deadlineMs?: number
  /** called when a connection is ready, before its first command */
  onReady: (server: ServerInfo) => void
  /** called with true when an outage begins (also of one node of a Cluster), with false when all have ended */
  onOutage: (isOut: boolean) => void
  /** called when the address of a single server leads to a node of a Cluster */
  onClusterNode: () => void
  /** called each time the server's ACL denies something */
  onDenied: (what: string) => void
  /** called with the error that broke a connection or prevented it */
  onFailure?: (error: Error) => void
  /** called with each error reply of the server */
  onError?: (error: Error) => void
}

/**
 * Connection pool for commands. The first ready connection takes all writes until it is overloaded, then the next one: few connections with large
 * batches cost less than many with small ones. The pool grows up to `max` while all are overloaded, closes idle connections and replaces broken ones.
 */
export class ConnectionPool implements ConnectionPicker {
  readonly breakers: CircuitBreakers
  /** Since process start: connections that broke or were not established, and writes for which all connections of a full pool were overloaded. */
  readonly counts = { lost: 0, exhausted: 0 }
  readonly #identity = new ClusterIdentity()
  #options: ConnectionPoolOptions
  #connections: Connection[] = []
  readonly #stopChecks: () => void
  #probing: NodeJS.Timeout | undefined
  #lost = new Set<Connection>()
  #firstConnection = Promise.withResolvers<boolean>()
  #isClosed = false

  constructor (options: ConnectionPoolOptions) {
    this.#options = options
    this.breakers = new CircuitBreakers((isOut) => this.#onBreakerChange(isOut))
    for (let count = 0; count < options.min; count++) this.#open()
    this.#stopChecks = everySecond(() => { this.#check() })
  }

  /** Resolves once: true when a connection is ready, false when every first attempt has failed. */
  get firstConnection (): Promise<boolean> {
    return this.#firstConnection.promise
  }

  get all (): readonly Connection[] {
    return this.#connections
  }

  choose (): Connection | undefined {
    if (this.breakers.server.isOpen) return undefined
    const ready = this.#ready()
    const free = ready.find((connection) => !connection.isOverloaded)
    if (free !== undefined) return free
    if (this.#connections.length >= this.#options.max) this.counts.exhausted += 1
    this.#grow()
    return ready.reduce<Connection | undefined>((best, connection) => best === undefined || connection.inFlight < best.inFlight ? connection : best, undefined)
  }

  chooseFor (bytes: number): Connection | undefined {
    const ready = this.#ready()
    const hasCapacity = (connection: Connection) => connection.expectedBytes === 0 || connection.expectedBytes + bytes <= overloadedBytes
    const connection = ready.slice(1).find(hasCapacity) ?? (ready[0] !== undefined && hasCapacity(ready[0]) ? ready[0] : undefined)
    if (connection === undefined) this.#grow()
    return connection
  }

  onNoConnection (): void {
    if (!this.#isClosed) this.breakers.server.noConnection()
  }

  close (): void {
    this.#isClosed = true
    this.#stopChecks()
    clearInterval(this.#probing)
    this.#firstConnection.resolve(false)
    for (const connection of this.#connections.splice(0)) connection.client.disconnect()
  }

  /** Replaces all connections. */
  replaceAll (): void {
    for (const connection of this.#connections.splice(0)) connection.client.disconnect()
    this.#fill()
  }

  /** Ready connections. Those with an overdue reply are used only when there is no other. */
  #ready (): Connection[] {
    const ready = this.#connections.filter((connection) => connection.isReady)
    const trusted = ready.filter((connection) => !connection.isUnresponsive)
    return trusted.length > 0 ? trusted : ready
  }

  #open (): void {
    const connection: Connection = new Connection(this.#options.open(), {
      breakers: this.breakers,
      deadlineMs: this.#options.deadlineMs ?? defaultDeadlineMs,
      identity: this.#identity,
      onReady: (server) => this.#onReady(server),
      onLost: () => this.#onLost(connection),
      onDenied: (what) => this.#options.onDenied(what),
      onFailure: (error) => { if (this.#connections.includes(connection)) this.#options.onFailure?.(error) },
      onError: (error) => this.#options.onError?.(error),
      onClusterNode: () => { if (this.#connections.includes(connection)) this.#options.onClusterNode() }
    })
    this.#connections.push(connection)
  }

  #fill (): void {
    while (!this.#isClosed && this.#connections.length < this.#options.min) this.#open()
  }

  #onReady (server: ServerInfo): void {
    this.#options.onReady(server)
    this.#firstConnection.resolve(true)
    // A new connection is the first sign that an outage is over.
    if (this.breakers.isAnyOpen) this.#probe()
  }

  #onLost (connection: Connection): void {
    if (!this.#connections.includes(connection)) return
    this.counts.lost += 1
    this.#lost.add(connection)
    if (this.#connections.every((each) => this.#lost.has(each))) this.#firstConnection.resolve(false)
  }

  #grow (): void {
    const isOpening = this.#connections.some((connection) => !connection.isReady)
    if (!isOpening && !this.#isClosed && this.#connections.length < this.#options.max) this.#open()
  }

  #check (): void {
    const { min, idleMs = defaultIdleMs } = this.#options
    for (const connection of this.#connections) connection.check()
    for (const connection of this.#connections.filter((connection) => connection.client.status === 'end')) this.#drop(connection)
    const idle = this.#connections.findLast((connection) => connection.inFlight === 0 && Date.now() - connection.usedAt > idleMs)
    if (idle !== undefined && this.#connections.length > min) this.#drop(idle)
    this.#fill()
  }

  #drop (connection: Connection): void {
    this.#connections = this.#connections.filter((other) => other !== connection)
    this.#lost.delete(connection)
    connection.client.disconnect()
  }

  #onBreakerChange (isOut: boolean): void {
    clearInterval(this.#probing)
    if (this.#isClosed) return
    if (isOut) {
      this.#probing = setInterval(() => this.#probe(), probeEveryMs).unref()
      this.#probe()
    }
    this.#options.onOutage(isOut)
  }

  /** Probes every ready connection: a half-open one must not hide a healthy one, and the probe detects it. */
  #probe (): void {
    for (const connection of this.#connections) if (connection.isReady) connection.probe()
  }
}
