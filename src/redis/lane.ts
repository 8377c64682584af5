import { Cluster } from 'ioredis'
import type { Command, Redis } from 'ioredis'

/** More than this many commands without an answer, and the next connection is asked. */
const crowdedCommands = 512
/** More than this many bytes expected in answers, and the next connection is asked: a small answer shall not wait behind megabytes. */
export const crowdedBytes = 1_048_576

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

  constructor (client: Redis | Cluster) {
    this.client = client
  }

  get isReady (): boolean {
    return this.client.status === 'ready'
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
