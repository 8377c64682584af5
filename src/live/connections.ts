import { setTimeout as pause } from 'node:timers/promises'
import { TooManyConnectionsError } from '../shared/errors.ts'
import type { LiveConnection, Client } from './connection.ts'
import type { CloseReason } from './frame.ts'
import type { LivePolicy } from './options.ts'
import type { ConnectionStore } from './connection-store.ts'

/** Which devices a user is signed in on, told by their public names. */
export type DevicesOf = (userId: string) => Promise<readonly { readonly id: string }[]>

/** Which connections are meant; left out: all. */
export interface ConnectionFilter {
  user?: string | undefined
  topic?: string | undefined
}

const lookEveryMs = 1000
const writesPerBatch = 500
const drainStepMs = 50

/** The live connections of this process. */
export class Connections {
  /** True: nobody more is taken in. */
  isDraining = false
  #store: ConnectionStore
  #devicesOf: DevicesOf
  #all = new Set<LiveConnection>()
  /** new ones, and ones whose session is in doubt: looked after within a second */
  #due = new Set<LiveConnection>()
  #policy: Pick<LivePolicy, 'connectionsPerUser' | 'connectionsPerAddress'>
  #places = new Map<string, number>()
  #timer: NodeJS.Timeout
  #isLooking = false

  constructor (store: ConnectionStore, devicesOf: DevicesOf, policy: Pick<LivePolicy, 'connectionsPerUser' | 'connectionsPerAddress'>) {
    this.#policy = policy
    this.#store = store
    this.#devicesOf = devicesOf
    this.#timer = setInterval(() => { this.#look() }, lookEveryMs).unref()
  }

  get counts (): { websocket: number, stream: number } {
    const counts = { websocket: 0, stream: 0 }
    for (const { kind } of this.#all) counts[kind] += 1
    return counts
  }

  /**
   * Takes a place for a connection that is about to be opened.
   *
   * @returns gives it back
   * @throws {ConnectionsFullError} PRISM_ERR_TOO_MANY_CONNECTIONS
   */
  reserve ({ userId, address }: Client): () => void {
    const wanted: [place: string, most: number][] = [[`address ${address}`, this.#policy.connectionsPerAddress]]
    if (userId !== undefined) wanted.push([`user ${userId}`, this.#policy.connectionsPerUser])
    for (const [place, most] of wanted) if ((this.#places.get(place) ?? 0) >= most) throw new TooManyConnectionsError(most)
    for (const [place] of wanted) this.#places.set(place, (this.#places.get(place) ?? 0) + 1)
    return () => { for (const [place] of wanted.splice(0)) this.#leave(place) }
  }

  add (connection: LiveConnection): void {
    this.#all.add(connection)
    this.#due.add(connection)
  }

  /** What it follows has changed. */
  changed (connection: LiveConnection): void {
    if (this.#all.has(connection)) this.#due.add(connection)
  }

  remove (connection: LiveConnection): void {
    this.#due.delete(connection)
    // Where Redis is away its state ends by itself.
    if (this.#all.delete(connection)) this.#store.remove(connection.id).catch(() => {})
  }

  matching ({ user, topic }: ConnectionFilter): LiveConnection[] {
    return [...this.#all].filter(({ client, topics }) => (user === undefined || client.userId === user) && (topic === undefined || topics.includes(topic)))
  }

  /** Sends a user's connections away, those of certain devices. */
  closeForDevices (userId: string, devices: readonly string[]): void {
    for (const connection of this.matching({ user: userId })) {
      if (connection.client.device !== undefined && devices.includes(connection.client.device)) connection.close('signedOut')
    }
  }

  /** Revocations may have been missed: asks for every session, within a second. */
  recheckSessions (): void {
    for (const connection of this.#all) if (connection.client.userId !== undefined) this.#due.add(connection)
  }

  /** Sends all away, evenly over a time, and takes nobody in any more. */
  async drain (ms: number, reason: CloseReason = 'restart'): Promise<void> {
    this.isDraining = true
    clearInterval(this.#timer)
    const leaving = [...this.#all]
    const steps = Math.ceil(ms / drainStepMs)
    for (let step = 0; step < steps && leaving.length > 0; step++) {
      for (const connection of leaving.splice(0, Math.ceil(leaving.length / (steps - step)))) connection.close(reason)
      await pause(drainStepMs)
    }
  }

  #leave (place: string): void {
    const count = (this.#places.get(place) ?? 1) - 1
    if (count === 0) this.#places.delete(place)
    else this.#places.set(place, count)
  }

  async #look (): Promise<void> {
    const now = performance.now()
    for (const connection of this.#all) {
      if (connection.heartbeatAt > now) continue
      connection.heartbeat(now)
      this.#due.add(connection)
    }
    if (this.#isLooking) return
    this.#isLooking = true
    const due = [...this.#due]
    this.#due.clear()
    await this.#endDeadSessions(due)
    await this.#write(due)
    this.#isLooking = false
  }

  async #write (due: readonly LiveConnection[]): Promise<void> {
    const open = due.filter(({ isClosed }) => !isClosed)
    for (let start = 0; start < open.length; start += writesPerBatch) {
      // What Redis did not take is written with the next heartbeat.
      await Promise.allSettled(open.slice(start, start + writesPerBatch).map((connection) => this.#store.write(connection)))
    }
  }

  /** A session may end by time or eviction, which nobody announces. */
  async #endDeadSessions (due: readonly LiveConnection[]): Promise<void> {
    const byUser = Map.groupBy(due.filter(({ client }) => client.userId !== undefined), ({ client }) => client.userId ?? '')
    await Promise.all([...byUser].map(async ([userId, connections]) => {
      // Where Redis is away nobody is sent away.
      const devices = await this.#devicesOf(userId).catch(() => undefined)
      if (devices === undefined) return
      const live = new Set(devices.map(({ id }) => id))
      for (const connection of connections) if (!live.has(connection.client.device ?? '')) connection.close('signedOut')
    }))
  }
}
