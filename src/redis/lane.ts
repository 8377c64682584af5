import { Cluster } from 'ioredis'
import type { Command, Redis } from 'ioredis'
import { readServer } from './facts.ts'
import type { Server } from './facts.ts'

/** More than this many commands without an answer, and the next connection is asked. */
const crowdedCommands = 512
/** More than this many bytes expected in answers, and the next connection is asked: a small answer shall not wait behind megabytes. */
export const crowdedBytes = 1_048_576

const loadingCheckMs = 50

/** One connection of the pool and what is in flight on it. With a Cluster, one client: a connection to each node. */
export class Lane {
  readonly client: Redis | Cluster
  /** commands without an answer */
  inFlight = 0
  /** bytes that the answers in flight are known to hold */
  expectedBytes = 0
  /** when it last had something in flight, milliseconds since 1970 */
  usedAt = Date.now()
  /** an answer did not come in time, and none came since */
  isSuspect = false
  #isGreeted = false
  #onReady: (server: Server) => void

  /** @param onReady called at each connection, before it takes its first command: it may have reached another server than the last one */
  constructor (client: Redis | Cluster, onReady: (server: Server) => void) {
    this.client = client
    this.#onReady = onReady
    client.on('ready', () => this.#greet())
    client.on('close', () => { this.#isGreeted = false })
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
    for (const command of commands) this.#send(command)
    for (const stream of streams) stream.uncork()
  }

  /** A connection is ready when the server behind it has said who it is, and is not still loading. */
  #greet (): void {
    readServer(this.client).then((server) => {
      if (server.isLoading) return setTimeout(() => this.#greet(), loadingCheckMs)
      this.#isGreeted = true
      this.isSuspect = false
      this.#onReady(server)
    }, () => { /* The connection is gone; the next one greets again. */ })
  }

  #send (command: Command): void {
    this.inFlight += 1
    this.usedAt = Date.now()
    const answered = () => {
      this.inFlight -= 1
      this.isSuspect = false
    }
    // A failure reaches whoever holds the command; here it only frees the place.
    command.promise.then(answered, answered)
    this.client.sendCommand(command)
  }

  #streams (): Redis['stream'][] {
    const nodes = this.client instanceof Cluster ? this.client.nodes('all') : [this.client]
    return nodes.map((node) => node.stream).filter((stream) => stream != null)
  }
}
