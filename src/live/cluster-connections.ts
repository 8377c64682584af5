import { setTimeout as pause } from 'node:timers/promises'
import { randomUUID } from 'node:crypto'
import type { Bus } from '../events/bus.ts'
import type { CloudEvent } from '../events/event.ts'
import type { LiveConnection } from './connection.ts'
import type { ConnectionFilter, Connections } from './connections.ts'
import { ownTopics } from './options.ts'

/** A live connection, of whichever process. */
export interface ConnectionInfo {
  readonly id: string
  readonly kind: LiveConnection['kind']
  readonly user: string | null
  readonly topics: readonly string[]
  readonly instance: string
  /** when it was opened, milliseconds since 1970 */
  readonly since: number
}

/** The answers of all processes are waited for so long. */
const patienceMs = 200
/** One process tells of so many at most. */
const mostTold = 1000
/** An event has at most 16 KiB. */
const answerBytes = 12_000
const questions = `${ownTopics}live`

/** Asks all processes, over the bus, for their connections: nobody keeps a list of all, which could be wrong. */
export class ClusterConnections {
  readonly instance: string
  #bus: Bus
  #connections: Connections
  #open = new Map<string, ConnectionInfo[]>()

  constructor (bus: Bus, connections: Connections, instance: string) {
    this.instance = instance
    this.#bus = bus
    this.#connections = connections
    bus.subscribe(questions, (event) => this.#onQuery(event))
    bus.subscribe(`${questions}:${instance}`, (event) => this.#onReply(event))
  }

  /**
   * @returns the connections of all processes that answered in time, at most 1000 each
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async query (filter: ConnectionFilter): Promise<ConnectionInfo[]> {
    const question = randomUUID()
    const found: ConnectionInfo[] = []
    this.#open.set(question, found)
    try {
      await this.#bus.publish(questions, { type: 'live.asked', data: { question, filter, answerTo: this.instance } })
      await pause(patienceMs)
      return found
    } finally {
      this.#open.delete(question)
    }
  }

  #onQuery ({ data }: CloudEvent): void {
    const { question, filter, answerTo } = data as { question: string, filter: ConnectionFilter, answerTo: string }
    const found = this.#connections.matching(filter).slice(0, mostTold).map((connection) => describe(connection, this.instance))
    for (const connections of parted(found)) {
      // Who asked counts on nobody: what is not told is not in the answer.
      this.#bus.publish(`${questions}:${answerTo}`, { type: 'live.told', data: { question, connections } }).catch(() => {})
    }
  }

  #onReply ({ data }: CloudEvent): void {
    const { question, connections } = data as { question: string, connections: ConnectionInfo[] }
    this.#open.get(question)?.push(...connections)
  }
}

function describe ({ id, kind, client, topics, openedAt }: LiveConnection, instance: string): ConnectionInfo {
  return { id, kind, user: client.userId ?? null, topics, instance, since: openedAt }
}

/** Parts a list so that each part fits into an event. */
function parted (connections: readonly ConnectionInfo[]): ConnectionInfo[][] {
  const parts: ConnectionInfo[][] = []
  let bytes = Infinity
  for (const connection of connections) {
    const size = Buffer.byteLength(JSON.stringify(connection))
    if (bytes + size > answerBytes) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)?.push(connection)
    bytes += size
  }
  return parts
}
