import { setTimeout as pause } from 'node:timers/promises'
import { randomUUID } from 'node:crypto'
import type { Bus } from '../events/bus.ts'
import type { CloudEvent } from '../events/event.ts'
import type { LiveConnection } from './connection.ts'
import type { ConnectionFilter, Connections } from './connections.ts'
import { ownTopics } from './options.ts'

/** A live connection of any process. */
export interface ConnectionInfo {
  readonly id: string
  readonly kind: LiveConnection['kind']
  readonly user: string | null
  readonly topics: readonly string[]
  readonly instance: string
  /** when it was opened, milliseconds since 1970 */
  readonly since: number
}

/** How long replies of other processes are awaited. */
const replyWaitMs = 200
/** The maximum number of connections in one process's reply. */
const maxReported = 1000
/** Below the maximum event size of 16 KiB. */
const replyBytes = 12_000
const queryTopic = `${ownTopics}live`

/** Queries all processes for their connections over the event bus. There is no shared list, which could be outdated. */
export class ClusterConnections {
  readonly instance: string
  #bus: Bus
  #connections: Connections
  #pending = new Map<string, ConnectionInfo[]>()

  constructor (bus: Bus, connections: Connections, instance: string) {
    this.instance = instance
    this.#bus = bus
    this.#connections = connections
    bus.subscribe(queryTopic, (event) => this.#onQuery(event))
    bus.subscribe(`${queryTopic}:${instance}`, (event) => this.#onReply(event))
  }

  /**
   * @returns the connections of all processes that replied within 200 ms, at most 1000 each
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async query (filter: ConnectionFilter): Promise<ConnectionInfo[]> {
    const queryId = randomUUID()
    const found: ConnectionInfo[] = []
    this.#pending.set(queryId, found)
    try {
      await this.#bus.publish(queryTopic, { type: 'live.query', data: { queryId, filter, replyTo: this.instance } })
      await pause(replyWaitMs)
      return found
    } finally {
      this.#pending.delete(queryId)
    }
  }

  #onQuery ({ data }: CloudEvent): void {
    const { queryId, filter, replyTo } = data as { queryId: string, filter: ConnectionFilter, replyTo: string }
    const found = this.#connections.matching(filter).slice(0, maxReported).map((connection) => describe(connection, this.instance))
    for (const connections of chunked(found)) {
      // The query returns what arrives in time: a reply that is lost is missing there.
      this.#bus.publish(`${queryTopic}:${replyTo}`, { type: 'live.reply', data: { queryId, connections } }).catch(() => {})
    }
  }

  #onReply ({ data }: CloudEvent): void {
    const { queryId, connections } = data as { queryId: string, connections: ConnectionInfo[] }
    this.#pending.get(queryId)?.push(...connections)
  }
}

function describe ({ id, kind, client, topics, openedAt }: LiveConnection, instance: string): ConnectionInfo {
  return { id, kind, user: client.userId ?? null, topics, instance, since: openedAt }
}

/** Splits a list so that each part fits into one event. */
function chunked (connections: readonly ConnectionInfo[]): ConnectionInfo[][] {
  const parts: ConnectionInfo[][] = []
  let bytes = Infinity
  for (const connection of connections) {
    const size = Buffer.byteLength(JSON.stringify(connection))
    if (bytes + size > replyBytes) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)?.push(connection)
    bytes += size
  }
  return parts
}
