import { Cluster, Redis } from 'ioredis'
import type { Command } from 'ioredis'
import type { CircuitBreakers } from './health/circuit-breakers.ts'
import { setTimeoutAfterIo } from './health/deadline.ts'
import { readServerInfo } from './health/server-info.ts'
import type { ClusterIdentity, ServerInfo } from './health/server-info.ts'
import { ClusterNodes } from './cluster-nodes.ts'
import { aclDenial, isNotMaster } from './health/error-class.ts'
import { closedByServer, noAnswer } from './health/unreachable-reason.ts'
import { Resender } from './batch/resend.ts'
import type { ResendableCommand } from './batch/resend.ts'
import { ConnectionHealth } from './health/connection-health.ts'

/** More than this many commands without an answer, and the next connection is asked. */
const overloadedCommands = 512
/** More than this many bytes expected in answers, and the next connection is asked: a small answer shall not wait behind megabytes. */
export const overloadedBytes = 1_048_576

const stillLoading = new Error('LOADING Redis is loading the dataset in memory')
const handshakeRetryMs = 50
const demotionMs = 1000

/** Who is told what becomes of a connection. */
export interface ConnectionEvents {
  readonly breakers: CircuitBreakers
  /** how long an answer is waited for */
  readonly deadlineMs: number
  /** of all connections together */
  readonly identity: ClusterIdentity
  /** at each connection, before it takes its first command: it may have reached another server than the last one */
  onReady: (server: ServerInfo) => void
  /** a connection was lost, or could not be made */
  onLost: () => void
  /** one server was expected, and a node of a Cluster is there: it takes no command */
  onClusterNode: () => void
  /** the server's ACL forbids something: see {@link aclDenial} */
  onDenied: (what: string) => void
  /** why a connection was lost or not made */
  onFailure: (error: Error) => void
  /** what the server answered in place of a reply */
  onError: (error: Error) => void
}

/** A command on its way, and who is told what came of it: once, in the moment when the answer is read, however late that is. */
export interface OutgoingCommand extends ResendableCommand {
  readonly command: Command
  /** as {@link Connection.healthOf} said */
  readonly health: ConnectionHealth
  answered (reply: unknown): void
  failed (error: Error): void
}

/** One connection of the pool and what is in flight on it. With a Cluster, one client: a connection to each node. */
export class Connection {
  readonly client: Redis | Cluster
  /** commands without an answer */
  inFlight = 0
  /** bytes that the answers in flight are known to hold */
  expectedBytes = 0
  /** when it last had something in flight, milliseconds since 1970 */
  usedAt = Date.now()
  readonly #owner: ConnectionEvents
  readonly #health: ConnectionHealth
  readonly #nodes: ClusterNodes | undefined
  readonly #resender: Resender | undefined
  #isHandshakeDone = false
  #handshaking: NodeJS.Timeout | undefined
  /** grows with each connection that ends */
  #ends = 0
  #demotedAt = -Infinity
  /** whether an error has said why this connection ends */
  #hasFailed = false

  constructor (client: Redis | Cluster, owner: ConnectionEvents) {
    this.client = client
    this.#owner = owner
    this.#nodes = client instanceof Cluster ? new ClusterNodes(client, owner.breakers, owner.deadlineMs) : undefined
    this.#resender = client instanceof Cluster ? new Resender(client.sendCommand.bind(client)) : undefined
    this.#health = new ConnectionHealth(owner.breakers.server, () => client instanceof Cluster ? undefined : client, owner.deadlineMs)
    client.on('connect', () => this.#health.connected())
    client.on('ready', () => this.#handshake())
    client.on('close', () => this.#lost())
    // Sentinels that are away end no connection, for there was none.
    client.on('error', (error: Error) => {
      this.#hasFailed = true
      owner.onFailure(error)
      if (!this.#isHandshakeDone) owner.onLost()
    })
    if (client instanceof Cluster) client.on('+node', (node: Redis) => this.#arrived(node)).on('node error', owner.onFailure)
  }

  /** How long an answer is waited for. */
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

  /** Whether an answer did not come in time, and none in time came since. */
  get isUnresponsive (): boolean {
    return this.#health.isUnresponsive || this.#nodes?.areHealthy === false
  }

  /** The connection that a command takes. */
  healthOf (command: Command): ConnectionHealth {
    return this.#nodes === undefined ? this.#health : this.#nodes.healthOf(command)
  }

  /** Sends commands as one write (with a Cluster, one a node). */
  write (outgoing: readonly OutgoingCommand[]): void {
    const streams = this.#streams()
    for (const stream of streams) stream.cork()
    try {
      for (const each of outgoing) this.#send(each)
    } finally {
      for (const stream of streams) stream.uncork()
    }
  }

  /** Hears an error of the server: one that is no master any more is left for the one that its address, or a Sentinel, now names. */
  hear (error: Error): void {
    this.#owner.onError(error)
    const denied = aclDenial(error)
    if (denied !== undefined) return this.#owner.onDenied(denied)
    const now = performance.now()
    if (this.isCluster || !isNotMaster(error) || now - this.#demotedAt < demotionMs) return
    this.#demotedAt = now
    // What is in flight may still be answered; nothing more is sent.
    this.#isHandshakeDone = false
    const ends = this.#ends
    setTimeout(() => { if (this.#ends === ends) this.#reopen() }, this.deadlineMs).unref()
  }

  /** Opens the connection anew when it has owed an answer for too long; learns where a Cluster's slots are. */
  check (): void {
    if (this.isReady) this.#nodes?.check()
    if (this.#health.isOverdue) this.#reopen()
  }

  /** Asks whether the server answers, in time and well; in a Cluster, those of its nodes that are not asked otherwise. Never rejects. */
  probe (): Promise<boolean> {
    return this.#nodes === undefined ? this.#ping() : this.#nodes.probe()
  }

  #ping (): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const timer = setTimeoutAfterIo(this.deadlineMs, () => answered(false, () => this.#health.timedOut()))
    let isOver = false
    const answered = (isWell: boolean, first: () => void) => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      first()
      resolve(isWell)
    }
    const isWell = () => answered(true, () => this.#health.breaker.succeeded())
    // Who is denied PING has an answer.
    this.client.ping().then(isWell, (error: Error) => aclDenial(error) === undefined ? answered(false, () => this.hear(error)) : isWell())
    return promise
  }

  #reopen (): void {
    this.#isHandshakeDone = false
    this.#health.ended()
    if (this.client.status !== 'end') this.client.disconnect(true)
  }

  #lost (): void {
    // No error says why: the server ended the connection, or it was given up because no answer came.
    if (!this.#hasFailed) this.#owner.onFailure(this.client instanceof Redis && this.client.stream?.readableEnded ? closedByServer : noAnswer)
    this.#hasFailed = false
    this.#ends += 1
    this.#isHandshakeDone = false
    this.#health.ended()
    clearTimeout(this.#handshaking)
    this.#owner.onLost()
  }

  /** A node that was connected again may be another process: it is asked at once. */
  #arrived (node: Redis): void {
    if (this.#isHandshakeDone) this.#retryHandshake()
    node.on('ready', () => { if (this.#isHandshakeDone && node.options.readOnly !== true) this.#retryHandshake(0) })
  }

  /** A connection is ready when the server behind it has said who it is, and is not still loading. */
  #handshake (): void {
    const ends = this.#ends
    const isOver = () => ends !== this.#ends
    readServerInfo(this.client, this.#owner.identity, this.deadlineMs).then((server) => {
      if (isOver()) return
      if (server.isLoading) {
        this.#owner.onFailure(stillLoading)
        return this.#retryHandshake()
      }
      this.#health.markHealthy()
      if (server.isCluster && !this.isCluster) return this.#owner.onClusterNode()
      this.#isHandshakeDone = true
      // In a Cluster it says whether there is a connection at all; each node has its own.
      if (this.isCluster) this.#health.breaker.succeeded()
      this.#owner.onReady(server)
    }, (error: Error) => {
      this.#owner.onFailure(error)
      // Busy, or the like; in a Cluster, no node that answers. Any other error is the connection's end, and the next one greets again.
      if (!isOver() && (this.isCluster || error.name === 'ReplyError')) this.#retryHandshake()
    })
  }

  #retryHandshake (ms = handshakeRetryMs): void {
    this.#health.ended()
    clearTimeout(this.#handshaking)
    this.#handshaking = setTimeout(() => this.#handshake(), ms).unref()
  }

  #send (outgoing: OutgoingCommand): void {
    this.inFlight += 1
    this.usedAt = Date.now()
    this.#follow(outgoing)
    if (this.#resender === undefined) this.client.sendCommand(outgoing.command)
    else if ((outgoing.command.getSlot() as number | null) === null && outgoing.health.client !== undefined) outgoing.health.client.sendCommand(outgoing.command)
    else this.#resender.send(outgoing.command)
  }

  /** Hears of the answer before the command's own promise does, and costs no other promise. */
  #follow (outgoing: OutgoingCommand): void {
    const { command, health } = outgoing
    const { resolve, reject } = command
    const sentAt = performance.now()
    let isOver = false
    const landed = () => {
      const isFirst = !isOver
      if (isFirst) this.inFlight -= 1
      isOver = true
      return isFirst
    }
    command.resolve = (reply) => {
      if (!landed()) return
      health.answered(sentAt)
      resolve(reply)
      outgoing.answered(reply)
    }
    command.reject = (error) => {
      if (!isOver && this.#resender?.resend(outgoing, error) === true) return
      if (!landed()) return
      if (error.name === 'ReplyError') {
        health.answered(sentAt)
        this.hear(error)
      }
      command.promise.catch(() => {}) // told below
      reject(error)
      outgoing.failed(error)
    }
  }

  #streams (): Redis['stream'][] {
    const nodes = this.client instanceof Cluster ? this.client.nodes('all') : [this.client]
    return nodes.map((node) => node.stream).filter((stream) => stream != null)
  }
}
