import type { Cluster, Redis } from 'ioredis'
import type { ConnectionPicker } from './batch/batch.ts'
import { CircuitBreakers } from './health/circuit-breakers.ts'
import { ClusterIdentity } from './health/server-info.ts'
import { defaultDeadlineMs } from './health/deadline.ts'
import type { ServerInfo } from './health/server-info.ts'
import { overloadedBytes, Connection } from './connection.ts'

const defaultIdleMs = 30_000
const checkEveryMs = 1000
const probeEveryMs = 500

/** How many connections there may be, and how to open one. */
export interface ConnectionPoolOptions {
  open: () => Redis | Cluster
  min: number
  max: number
  /** one beyond `min` that had nothing to do for so long is closed; half a minute */
  idleMs?: number
  /** how long an answer is waited for; 200 */
  deadlineMs?: number
  /** called at each connection, before it takes its first command */
  onReady: (server: ServerInfo) => void
  /** called when an outage begins, of one node of a Cluster too (true), and when all have ended (false) */
  onOutage: (isOut: boolean) => void
  /** called when one server was expected, and a node of a Cluster is there */
  onClusterNode: () => void
  /** called each time the server's ACL forbids something */
  onDenied: (what: string) => void
  /** called with why a connection was lost or not made */
  onFailure?: (error: Error) => void
  /** called with what the server answered in place of a reply */
  onError?: (error: Error) => void
}

/**
 * The connections that commands take. The first that is ready takes all until it is crowded, then the next, so that writes stay dense;
 * more are opened while all are crowded, idle ones are closed, dead ones replaced.
 */
export class ConnectionPool implements ConnectionPicker {
  readonly breakers: CircuitBreakers
  /** Since the start: connections that broke or were not made, and choices for which all of them were crowded and no more may be opened. */
  readonly counts = { lost: 0, exhausted: 0 }
  readonly #identity = new ClusterIdentity()
  #options: ConnectionPoolOptions
  #connections: Connection[] = []
  readonly #timer: NodeJS.Timeout
  #probing: NodeJS.Timeout | undefined
  #lost = new Set<Connection>()
  #contact = Promise.withResolvers<boolean>()
  #isClosed = false

  constructor (options: ConnectionPoolOptions) {
    this.#options = options
    this.breakers = new CircuitBreakers((isOut) => this.#turn(isOut))
    for (let count = 0; count < options.min; count++) this.#open()
    this.#timer = setInterval(() => this.#check(), checkEveryMs).unref()
  }

  /** Settles once: true when a connection has become ready, false when every first attempt has failed. */
  get contact (): Promise<boolean> {
    return this.#contact.promise
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
    const hasRoom = (connection: Connection) => connection.expectedBytes === 0 || connection.expectedBytes + bytes <= overloadedBytes
    const connection = ready.slice(1).find(hasRoom) ?? (ready[0] !== undefined && hasRoom(ready[0]) ? ready[0] : undefined)
    if (connection === undefined) this.#grow()
    return connection
  }

  missed (): void {
    if (!this.#isClosed) this.breakers.server.noConnection()
  }

  close (): void {
    this.#isClosed = true
    clearInterval(this.#timer)
    clearInterval(this.#probing)
    this.#contact.resolve(false)
    for (const connection of this.#connections.splice(0)) connection.client.disconnect()
  }

  /** Opens all of them anew. */
  renew (): void {
    for (const connection of this.#connections.splice(0)) connection.client.disconnect()
    this.#fill()
  }

  /** Ready ones; those that let an answer wait too long only when there is no other. */
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
      onReady: (server) => this.#arrived(server),
      onLost: () => this.#missed(connection),
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

  #arrived (server: ServerInfo): void {
    this.#options.onReady(server)
    this.#contact.resolve(true)
    // The first sign that an outage is over.
    if (this.breakers.isAnyOpen) this.#probe()
  }

  #missed (connection: Connection): void {
    if (!this.#connections.includes(connection)) return
    this.counts.lost += 1
    this.#lost.add(connection)
    if (this.#connections.every((each) => this.#lost.has(each))) this.#contact.resolve(false)
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

  #turn (isOut: boolean): void {
    clearInterval(this.#probing)
    if (this.#isClosed) return
    if (isOut) {
      this.#probing = setInterval(() => this.#probe(), probeEveryMs).unref()
      this.#probe()
    }
    this.#options.onOutage(isOut)
  }

  /** Asks whether Redis is back, on every connection: one that is half open shall not stand for those that are well, and is found by this. */
  #probe (): void {
    for (const connection of this.#connections) if (connection.isReady) connection.probe()
  }
}
