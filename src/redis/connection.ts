import { Cluster, Redis } from 'ioredis'
import type { Command } from 'ioredis'
import { isPlain, isWritable, writeDirectly } from './direct-write.ts'
import type { QueuedCommand } from './direct-write.ts'
import type { CircuitBreakers } from './health/circuit-breakers.ts'
import { RedisUnavailableError } from '../shared/errors.ts'
import { withDeadline } from './health/deadline.ts'
import { readServerInfo, serverFault } from './health/server-info.ts'
import type { ClusterIdentity } from './health/cluster-identity.ts'
import type { ServerInfo } from './health/server-info.ts'
import { ClusterNodes } from './cluster-nodes.ts'
import { aclDenial, isDeniedOptional, isNotMaster } from './health/error-class.ts'
import { closedByServer, noReply, setNode } from './health/unreachable-reason.ts'
import { Resender } from './batch/resend.ts'
import type { ResendableCommand } from './batch/resend.ts'
import { probeScripts } from './health/script-probe.ts'
import { ConnectionHealth } from './health/connection-health.ts'

/** A connection with more commands in flight than this is overloaded: the pool uses the next one. */
const overloadedCommands = 512
/** A connection that expects more reply bytes than this is overloaded: a small reply must not wait behind megabytes. */
export const overloadedBytes = 1_048_576

const handshakeRetryMs = 50
/** A Cluster master that is connected and did not reply receives another `INFO`: it may be another process. */
const lateMasterRetryMs = 500
const demotionMs = 1000

/** What a {@link Connection} shares with its pool, and its callbacks. */
interface ConnectionEvents {
  readonly breakers: CircuitBreakers
  /** time limit for a reply, milliseconds */
  readonly deadlineMs: number
  /** shared by all connections */
  readonly identity: ClusterIdentity
  /** called each time the connection is ready, before its first command: the server may be another one than before */
  onReady: (server: ServerInfo) => void
  /** called when the connection was lost or could not be established */
  onLost: () => void
  /** called when the address of a single server leads to a node of a Cluster: the connection accepts no commands */
  onClusterNode: () => void
  /** called when the server's ACL denies something: see {@link aclDenial} */
  onDenied: (what: string) => void
  /** called with the error that broke the connection or prevented it */
  onFailure: (error: Error) => void
  /** called with each error reply */
  onError: (error: Error) => void
}

/** A command to send and its callbacks. One of them is called once, synchronously when the reply is read, even after the deadline. */
export interface OutgoingCommand extends ResendableCommand, QueuedCommand {
  /** as returned by {@link Connection.healthOf} */
  readonly health: ConnectionHealth
  /** the reply has arrived, or will never arrive */
  isReplied: boolean
  /** when it was sent, on the `performance.now()` clock */
  sentAt: number
  replied (reply: unknown): void
  failed (error: Error): void
}

/** One connection of the pool and its commands in flight. For a Cluster, it is one Cluster client with a connection to each node. */
export class Connection {
  readonly client: Redis | Cluster
  /** commands that wait for a reply */
  inFlight = 0
  /** known size of the replies in flight, bytes */
  expectedBytes = 0
  /** when the last command was sent, milliseconds since 1970 */
  usedAt = Date.now()
  readonly #owner: ConnectionEvents
  readonly #health: ConnectionHealth
  readonly #nodes: ClusterNodes | undefined
  readonly #resender: Resender | undefined
  /** set if its commands can be written past `sendCommand` */
  readonly #plain: Redis | undefined
  #isHandshakeDone = false
  #handshaking: NodeJS.Timeout | undefined
  /** incremented when the connection ends: a callback compares it to detect that it belongs to an earlier one */
  #ends = 0
  #demotedAt = -Infinity
  /** an `error` event has already reported why this connection ends */
  #hasFailed = false

  constructor (client: Redis | Cluster, owner: ConnectionEvents) {
    this.client = client
    this.#owner = owner
    this.#nodes = client instanceof Cluster ? new ClusterNodes(client, owner.breakers, owner.deadlineMs) : undefined
    this.#resender = client instanceof Cluster ? new Resender(client.sendCommand.bind(client)) : undefined
    this.#plain = isPlain(client) ? client : undefined
    this.#health = new ConnectionHealth(owner.breakers.server, () => client instanceof Cluster ? undefined : client, owner.deadlineMs)
    client.on('connect', () => this.#health.connected())
    client.on('ready', () => this.#handshake())
    client.on('close', () => this.#onClose())
    // Unreachable Sentinels emit no `close`, because there was no connection.
    client.on('error', (error: Error) => {
      this.#hasFailed = true
      owner.onFailure(error)
      if (!this.#isHandshakeDone) owner.onLost()
    })
    if (client instanceof Cluster) client.on('+node', (node: Redis) => this.#onNodeAdded(node)).on('node error', (error: Error, node: string) => this.#onNodeError(error, node))
  }

  /** Time limit for a reply, milliseconds. */
  get deadlineMs (): number {
    return this.#owner.deadlineMs
  }

  get isReady (): boolean {
    return this.#isHandshakeDone && this.client.status === 'ready'
  }

  get isCluster (): boolean {
    return this.#nodes !== undefined
  }

  get isOverloaded (): boolean {
    return this.inFlight > overloadedCommands || this.expectedBytes > overloadedBytes
  }

  /** Whether a reply was late, and no reply has arrived in time since. */
  get isUnresponsive (): boolean {
    return this.#health.isUnresponsive || this.#nodes?.areHealthy === false
  }

  /** The health of the server connection that a command uses. */
  healthOf (outgoing: { readonly command: Command }): ConnectionHealth {
    return this.#nodes === undefined ? this.#health : this.#nodes.healthOf(outgoing.command)
  }

  /** Sends commands as one write (one per node in a Cluster). */
  write (outgoing: readonly OutgoingCommand[]): void {
    if (this.#plain !== undefined && isWritable(this.#plain) && outgoing.every(({ fill }) => fill !== undefined)) {
      this.usedAt = Date.now()
      this.inFlight += outgoing.length
      const sentAt = performance.now()
      for (const each of outgoing) each.sentAt = sentAt
      return writeDirectly(this.#plain, outgoing)
    }
    const streams = this.#streams()
    for (const stream of streams) stream.cork()
    try {
      for (const each of outgoing) this.#send(each)
    } finally {
      for (const stream of streams) stream.uncork()
    }
  }

  /** Handles an error reply. A server that is no longer the master is disconnected; the address or a Sentinel names the new one. */
  handleErrorReply (error: Error): void {
    if (isDeniedOptional(error)) return
    this.#owner.onError(error)
    const denied = aclDenial(error)
    if (denied !== undefined) return this.#owner.onDenied(denied)
    const now = performance.now()
    if (this.isCluster || !isNotMaster(error) || now - this.#demotedAt < demotionMs) return
    this.#demotedAt = now
    // Commands in flight may still receive replies; no more are sent.
    this.#isHandshakeDone = false
    const ends = this.#ends
    setTimeout(() => { if (this.#ends === ends) this.#reopen() }, this.deadlineMs).unref()
  }

  /** Reconnects when a reply is overdue; refreshes the slot map of a Cluster. */
  check (): void {
    if (this.isReady) this.#nodes?.check()
    if (this.#health.isOverdue) this.#reopen()
  }

  /** Checks that the server replies in time and without error; in a Cluster, the nodes with an open circuit breaker. Never rejects. */
  probe (): Promise<boolean> {
    return this.#nodes === undefined ? this.#probeServer() : this.#nodes.probe()
  }

  async #probeServer (): Promise<boolean> {
    try {
      await withDeadline(probeScripts(this.client), this.deadlineMs)
    } catch (error) {
      if (error instanceof RedisUnavailableError) this.#health.timedOut()
      else this.handleErrorReply(error as Error)
      return false
    }
    this.#health.breaker.succeeded()
    return true
  }

  #reopen (): void {
    this.#isHandshakeDone = false
    this.#health.ended()
    if (this.client.status !== 'end') this.client.disconnect(true)
  }

  #onClose (): void {
    // No error event says why: the server closed the connection, or it was destroyed because no reply came.
    if (!this.#hasFailed) this.#owner.onFailure(this.client instanceof Redis && this.client.stream?.readableEnded ? closedByServer : noReply)
    this.#hasFailed = false
    this.#ends += 1
    this.#isHandshakeDone = false
    this.#health.ended()
    clearTimeout(this.#handshaking)
    this.#owner.onLost()
  }

  #onNodeError (error: Error, node: string): void {
    setNode(error, node)
    this.#owner.onFailure(error)
  }

  /** A reconnected node may be another process: read its `INFO` at once. */
  #onNodeAdded (node: Redis): void {
    if (this.#isHandshakeDone) this.#retryHandshake()
    node.on('ready', () => { if (this.#isHandshakeDone && node.options.readOnly !== true) this.#retryHandshake(0) })
  }

  /** A connection is ready once the server's `INFO` is read and the server is not loading its data set. */
  #handshake (): void {
    const ends = this.#ends
    const isOver = () => ends !== this.#ends
    readServerInfo(this.client, this.#owner.identity, this.deadlineMs).then((server) => {
      if (isOver()) return
      const fault = serverFault(server)
      if (fault !== undefined) {
        this.#owner.onFailure(fault)
        return this.#retryHandshake()
      }
      this.#health.markHealthy()
      if (server.isCluster && !this.isCluster) return this.#owner.onClusterNode()
      this.#isHandshakeDone = true
      // In a Cluster this breaker says whether there is any connection; each node has its own breaker.
      if (this.isCluster) this.#health.breaker.succeeded()
      this.#owner.onReady(server)
      if (!server.isComplete) this.#handshakeIn(lateMasterRetryMs)
    }, (error: Error) => {
      this.#owner.onFailure(error)
      // The server is busy, or no node of the Cluster replies. Any other error ends the connection, and the next one repeats the handshake.
      if (!isOver() && (this.isCluster || error.name === 'ReplyError')) this.#retryHandshake()
    })
  }

  #retryHandshake (ms = handshakeRetryMs): void {
    this.#health.ended()
    this.#handshakeIn(ms)
  }

  #handshakeIn (ms: number): void {
    clearTimeout(this.#handshaking)
    this.#handshaking = setTimeout(() => this.#handshake(), ms).unref()
  }

  #send (outgoing: OutgoingCommand): void {
    this.inFlight += 1
    this.usedAt = Date.now()
    outgoing.sentAt = performance.now()
    this.#track(outgoing)
    if (this.#resender === undefined) this.client.sendCommand(outgoing.command)
    else if ((outgoing.command.getSlot() as number | null) === null && outgoing.health.client !== undefined) outgoing.health.client.sendCommand(outgoing.command)
    else this.#resender.send(outgoing.command)
  }

  /** Wraps the callbacks of an ioredis command instead of its promise: the reply is handled earlier, without the cost of another promise. */
  #track (outgoing: OutgoingCommand): void {
    const { command } = outgoing
    const { resolve, reject } = command
    const onReply = (reply: unknown) => { this.onReply(outgoing, reply, resolve) }
    const onError = (error: Error) => {
      this.onError(outgoing, error, (error) => {
        command.promise.catch(() => {}) // reported by `failed`
        reject(error)
      })
    }
    command.resolve = onReply
    command.reject = onError
  }

  /** A reply has arrived. @param first called before the command's own callback */
  onReply (outgoing: OutgoingCommand, reply: unknown, first?: (reply: unknown) => void): void {
    if (!this.#settle(outgoing)) return
    outgoing.health.replied(outgoing.sentAt)
    first?.(reply)
    outgoing.replied(reply)
  }

  /** An error reply has arrived, or the connection has ended. @param first called before the command's own callback */
  onError (outgoing: OutgoingCommand, error: Error, first?: (error: Error) => void): void {
    if (!outgoing.isReplied && this.#resender?.resend(outgoing, error) === true) return
    if (!this.#settle(outgoing)) return
    if (error.name === 'ReplyError') {
      outgoing.health.replied(outgoing.sentAt)
      this.handleErrorReply(error)
    }
    first?.(error)
    outgoing.failed(error)
  }

  #settle (outgoing: OutgoingCommand): boolean {
    if (outgoing.isReplied) return false
    outgoing.isReplied = true
    this.inFlight -= 1
    return true
  }

  #streams (): Redis['stream'][] {
    const nodes = this.client instanceof Cluster ? this.client.nodes('all') : [this.client]
    return nodes.map((node) => node.stream).filter((stream) => stream != null)
  }
}
