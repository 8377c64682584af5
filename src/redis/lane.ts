import { Cluster } from 'ioredis'
import type { Command, Redis } from 'ioredis'
import { deadlineMs } from './deadline.ts'
import { readServer } from './facts.ts'
import type { Server } from './facts.ts'
import { isDemotion } from './outage.ts'

/** More than this many commands without an answer, and the next connection is asked. */
const crowdedCommands = 512
/** More than this many bytes expected in answers, and the next connection is asked: a small answer shall not wait behind megabytes. */
export const crowdedBytes = 1_048_576

const greetAgainMs = 50
/** A connection that owes an answer for longer than this is opened anew, though something may trickle through it. */
const patienceMs = 1000

/** Who is told what becomes of a connection. */
export interface LaneOwner {
  /** at each connection, before it takes its first command: it may have reached another server than the last one */
  onReady: (server: Server) => void
  /** a connection was lost, or could not be made */
  onLost: () => void
  /** one server was expected, and a node of a Cluster is there: it takes no command */
  onClusterNode: () => void
}

/** One connection of the pool and what is in flight on it. With a Cluster, one client: a connection to each node. */
export class Lane {
  readonly client: Redis | Cluster
  /** commands without an answer */
  inFlight = 0
  /** bytes that the answers in flight are known to hold */
  expectedBytes = 0
  /** when it last had something in flight, milliseconds since 1970 */
  usedAt = Date.now()
  /** an answer did not come in time, and none in time came since */
  isSuspect = false
  #owner: LaneOwner
  #isGreeted = false
  #greeting: NodeJS.Timeout | undefined
  /** grows with each connection that ends */
  #ends = 0
  /** since when an answer is owed; undefined while all is well, or nothing was asked */
  #owedSince: number | undefined
  #demotedAt = -Infinity

  constructor (client: Redis | Cluster, owner: LaneOwner) {
    this.client = client
    this.#owner = owner
    client.on('connect', () => { this.#owedSince = performance.now() })
    client.on('ready', () => this.#greet())
    client.on('close', () => this.#lost())
    // Sentinels that are away end no connection, for there was none.
    client.on('error', () => { if (!this.#isGreeted) owner.onLost() })
    if (client instanceof Cluster) client.on('+node', () => { if (this.#isGreeted) this.#greetLater() })
  }

  get isReady (): boolean {
    return this.#isGreeted && this.client.status === 'ready'
  }

  get isCluster (): boolean {
    return this.client instanceof Cluster
  }

  get isCrowded (): boolean {
    return this.inFlight > crowdedCommands || this.expectedBytes > crowdedBytes
  }

  /** Sends commands as one write (with a Cluster, one a node). The commands' promises tell the rest. */
  write (commands: readonly Command[]): void {
    const streams = this.#streams()
    for (const stream of streams) stream.cork()
    try {
      for (const command of commands) this.#send(command)
    } finally {
      for (const stream of streams) stream.uncork()
    }
  }

  /** Notes that an answer did not come in time. */
  late (): void {
    this.isSuspect = true
    this.#owedSince ??= performance.now() - deadlineMs
  }

  /** Hears an error of the server: one that is no master any more is left for the one that its address, or a Sentinel, now names. */
  hear (error: Error): void {
    const now = performance.now()
    if (this.isCluster || !isDemotion(error) || now - this.#demotedAt < patienceMs) return
    this.#demotedAt = now
    // What is in flight may still be answered; nothing more is sent.
    this.#isGreeted = false
    const ends = this.#ends
    setTimeout(() => { if (this.#ends === ends) this.#reopen() }, deadlineMs).unref()
  }

  /** Opens the connection anew when it has owed an answer for too long; learns where a Cluster's slots are. */
  check (): void {
    if (this.client instanceof Cluster && this.isReady) this.client.refreshSlotsCache()
    if (this.#owedSince !== undefined && performance.now() - this.#owedSince > patienceMs) this.#reopen()
  }

  /** Asks whether the server answers, in time and well. Never rejects. */
  probe (): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const timer = setTimeout(() => {
      this.late()
      resolve(false)
    }, deadlineMs)
    const answered = (isWell: boolean) => {
      clearTimeout(timer)
      resolve(isWell)
    }
    this.client.ping().then(() => answered(true), (error: Error) => {
      this.hear(error)
      answered(false)
    })
    return promise
  }

  #reopen (): void {
    this.#isGreeted = false
    this.#owedSince = undefined
    if (this.client.status !== 'end') this.client.disconnect(true)
  }

  #lost (): void {
    this.#ends += 1
    this.#isGreeted = false
    this.#owedSince = undefined
    clearTimeout(this.#greeting)
    this.#owner.onLost()
  }

  /** A connection is ready when the server behind it has said who it is, and is not still loading. */
  #greet (): void {
    const ends = this.#ends
    const isOver = () => ends !== this.#ends
    readServer(this.client).then((server) => {
      if (isOver()) return
      this.#owedSince = undefined
      if (server.isLoading) return this.#greetLater()
      if (server.isCluster && !this.isCluster) return this.#owner.onClusterNode()
      this.#isGreeted = true
      this.isSuspect = false
      this.#owner.onReady(server)
    }, (error: Error) => {
      // Busy, or the like. Any other error is the connection's end, and the next one greets again.
      if (!isOver() && error.name === 'ReplyError') this.#greetLater()
    })
  }

  #greetLater (): void {
    this.#owedSince = undefined
    clearTimeout(this.#greeting)
    this.#greeting = setTimeout(() => this.#greet(), greetAgainMs).unref()
  }

  #send (command: Command): void {
    this.inFlight += 1
    const sentAt = this.usedAt = Date.now()
    const settled = () => {
      this.inFlight -= 1
      if (this.#owedSince !== undefined && Date.now() - sentAt < deadlineMs) this.#punctual()
    }
    command.promise.then(settled, (error: Error) => {
      if (error.name !== 'ReplyError') this.inFlight -= 1
      else {
        settled()
        this.hear(error)
      }
    })
    this.client.sendCommand(command)
  }

  #punctual (): void {
    this.isSuspect = false
    this.#owedSince = undefined
  }

  #streams (): Redis['stream'][] {
    const nodes = this.client instanceof Cluster ? this.client.nodes('all') : [this.client]
    return nodes.map((node) => node.stream).filter((stream) => stream != null)
  }
}
