import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { TooManyConnectionsError } from '../shared/errors.ts'
import { everySecond } from '../shared/every-second.ts'
import type { LiveConnection, Client } from './connection.ts'
import type { LivePolicy } from './options.ts'
import type { ConnectionStore } from './connection-store.ts'

/** Reads the devices on which a user is signed in, by their public IDs. */
type DevicesOf = (userId: string) => Promise<readonly { readonly id: string }[]>

/** Selects connections; an omitted member matches all. */
export interface ConnectionFilter {
  user?: string | undefined
  topic?: string | undefined
}

const writesPerBatch = 500
/** Pings of one turn of the event loop. */
const pingsPerTurn = 500
const drainStepMs = 50
/** How many times the even share of connections a step closes at most when earlier steps were late. */
const mostCatchUp = 1.4

/** The live connections of this process. */
export class Connections {
  /** true: no further connection is accepted */
  isDraining = false
  #store: ConnectionStore
  #devicesOf: DevicesOf
  #all = new Set<LiveConnection>()
  /** connections whose session to check and whose hash to renew within a second */
  #due = new Set<LiveConnection>()
  /** connections whose hash is not what Redis was last sent, or was not confirmed */
  #changed = new Set<LiveConnection>()
  #policy: Pick<LivePolicy, 'connectionsPerUser' | 'connectionsPerAddress'>
  #slots = new Map<string, number>()
  #stopTicks: () => void
  #isTicking = false
  /** before then no heartbeat is due, on the `performance.now()` clock */
  #heartbeatAt = 0
  /** when all connections are closed, on the `performance.now()` clock */
  #drainedAt = 0

  constructor (store: ConnectionStore, devicesOf: DevicesOf, policy: Pick<LivePolicy, 'connectionsPerUser' | 'connectionsPerAddress'>) {
    this.#policy = policy
    this.#store = store
    this.#devicesOf = devicesOf
    this.#stopTicks = everySecond(() => { this.#tick() })
  }

  get counts (): { websocket: number, stream: number } {
    const counts = { websocket: 0, stream: 0 }
    for (const { kind } of this.#all) counts[kind] += 1
    return counts
  }

  /**
   * Reserves a slot for a connection that is about to be opened.
   *
   * @returns releases the slot
   * @throws {TooManyConnectionsError} when the user or the address has its maximum number of connections
   */
  reserve ({ userId, address }: Client): () => void {
    const limits = [this.#policy.connectionsPerAddress, this.#policy.connectionsPerUser]
    ownersOf(userId, address).forEach((owner, index) => {
      const limit = limits[index] ?? 0
      if ((this.#slots.get(owner) ?? 0) >= limit) throw new TooManyConnectionsError(limit)
    })
    for (const owner of ownersOf(userId, address)) this.#slots.set(owner, (this.#slots.get(owner) ?? 0) + 1)
    let isHeld = true
    return () => {
      if (isHeld) for (const owner of ownersOf(userId, address)) this.#releaseSlot(owner)
      isHeld = false
    }
  }

  /** Adds an open connection. One whose request has waited in a hook while the others were closed is closed at once: the server waits for it. */
  add (connection: LiveConnection): void {
    this.#all.add(connection)
    this.#heartbeatAt = Math.min(this.#heartbeatAt, connection.heartbeatAt)
    this.changed(connection)
    if (this.isDraining) this.#closeAtDrain(connection)
  }

  /** The connection's topics have changed. */
  changed (connection: LiveConnection): void {
    if (!this.#all.has(connection)) return
    this.#changed.add(connection)
    this.#due.add(connection)
  }

  remove (connection: LiveConnection): void {
    this.#due.delete(connection)
    this.#changed.delete(connection)
    // During an outage the hash expires by itself.
    if (this.#all.delete(connection)) this.#store.remove(connection.id).catch(() => {})
  }

  matching ({ user, topic }: ConnectionFilter): LiveConnection[] {
    return [...this.#all].filter(({ client, topics }) => (user === undefined || client.userId === user) && (topic === undefined || topics.includes(topic)))
  }

  /** Closes a user's connections of certain devices. */
  closeForDevices (userId: string, devices: readonly string[]): void {
    for (const connection of this.matching({ user: userId })) {
      if (connection.client.device !== undefined && devices.includes(connection.client.device)) connection.close('signedOut')
    }
  }

  /** Checks every session within a second: revocations may have been missed. */
  recheckSessions (): void {
    for (const connection of this.#all) if (connection.client.userId !== undefined) this.#due.add(connection)
  }

  /** Accepts no further connections, and closes all, evenly distributed over a time. */
  async drain (ms: number): Promise<void> {
    this.isDraining = true
    this.#drainedAt = performance.now() + ms
    this.#stopTicks()
    const leaving = [...this.#all]
    const evenly = leaving.length / Math.ceil(ms / drainStepMs)
    while (leaving.length > 0) {
      // What is open at the shutdown's deadline is cut off: late steps are made up for, but not all at once.
      const stepsLeft = Math.max(1, (this.#drainedAt - performance.now()) / drainStepMs)
      for (const connection of leaving.splice(0, Math.ceil(Math.min(leaving.length / stepsLeft, mostCatchUp * evenly)))) this.#closeAtDrain(connection)
      await pause(drainStepMs)
    }
  }

  /** While Fastify closes it replies 503, after which an EventSource never connects again: it is told to wait until this process accepts no connections. */
  #closeAtDrain (connection: LiveConnection): void {
    connection.close('restart', Math.max(0, this.#drainedAt - performance.now()))
  }

  #releaseSlot (owner: string): void {
    const count = (this.#slots.get(owner) ?? 1) - 1
    if (count === 0) this.#slots.delete(owner)
    else this.#slots.set(owner, count)
  }

  async #tick (): Promise<void> {
    await this.#pingDue()
    if (this.#isTicking || this.#due.size === 0) return
    this.#isTicking = true
    const due = [...this.#due]
    this.#due.clear()
    await this.#endDeadSessions(due)
    await this.#write(due)
    this.#isTicking = false
  }

  async #pingDue (): Promise<void> {
    const now = performance.now()
    if (now < this.#heartbeatAt) return
    this.#heartbeatAt = Infinity
    let pings = 0
    for (const connection of this.#all) {
      if (connection.heartbeatAt <= now) {
        connection.heartbeat(now)
        this.#due.add(connection)
        if (++pings % pingsPerTurn === 0) await nextTurn()
      }
      this.#heartbeatAt = Math.min(this.#heartbeatAt, connection.heartbeatAt)
    }
  }

  /** Renews hashes, and writes those that have changed or do not exist. */
  async #write (due: readonly LiveConnection[]): Promise<void> {
    const missing = await this.#store.renew(due.filter((connection) => !connection.isClosed && !this.#changed.has(connection)))
    const unwritten = [...due.filter((connection) => this.#changed.has(connection)), ...missing].filter(({ isClosed }) => !isClosed)
    for (let start = 0; start < unwritten.length; start += writesPerBatch) {
      await Promise.all(unwritten.slice(start, start + writesPerBatch).map((connection) => this.#writeOne(connection)))
    }
  }

  async #writeOne (connection: LiveConnection): Promise<void> {
    this.#changed.delete(connection)
    try {
      await this.#store.write(connection)
    } catch {
      // The next heartbeat repeats it.
      if (!connection.isClosed) this.#changed.add(connection)
    }
  }

  /** A session may expire or be evicted without a revocation event. */
  async #endDeadSessions (due: readonly LiveConnection[]): Promise<void> {
    const byUser = Map.groupBy(due.filter(({ client }) => client.userId !== undefined), ({ client }) => client.userId ?? '')
    await Promise.all([...byUser].map(async ([userId, connections]) => {
      // During an outage connections stay open.
      const devices = await this.#devicesOf(userId).catch(() => undefined)
      if (devices === undefined) return
      const live = new Set(devices.map(({ id }) => id))
      for (const connection of connections) if (!live.has(connection.client.device ?? '')) connection.close('signedOut')
    }))
  }
}

/** The names under which a connection is counted: its address, then its user. */
function ownersOf (userId: string | undefined, address: string): string[] {
  return userId === undefined ? [`address ${address}`] : [`address ${address}`, `user ${userId}`]
}
