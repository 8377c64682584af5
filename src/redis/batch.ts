import { LRUCache } from 'lru-cache'
import { RedisUnavailableError } from '../errors.ts'
import { Histogram } from '../histogram.ts'
import type { Breaker } from './breaker.ts'
import { deadlineMs } from './deadline.ts'
import { Flight } from './flight.ts'
import type { Lane } from './lane.ts'
import { packAsks, packCommand, packRead, packReads } from './parcel.ts'
import type { Ask, Parcel, Waiter } from './parcel.ts'
import type { Script } from './script.ts'

/** What a request waits for leaves before background work. */
export type Priority = 'request' | 'background'

/** How much one tick's batch carries; complete once it has left. */
export interface BatchSize { asks: number, commands: number }

/** Where a batch finds its connections. */
export interface LaneSource {
  readonly breaker: Breaker
  /** the connection that takes the next write; undefined when none is ready */
  choose (): Lane | undefined
  /** a connection with room for an answer of so many bytes, best not the one that small answers use; undefined when there is none now */
  chooseFor (bytes: number): Lane | undefined
}

/** What one tick has asked for so far. */
class Wants {
  readonly reads = new Map<string, Waiter<Buffer | null>[]>()
  readonly asks = new Map<Script<unknown>, Ask[]>()
  readonly commands: Parcel[] = []

  pack (isCluster: boolean, sizes: LRUCache<string, number>): Parcel[] {
    const parcels = [...packReads(this.reads, isCluster, sizes)]
    for (const [script, asks] of this.asks) parcels.push(...packAsks(script, asks, isCluster))
    return parcels.concat(this.commands)
  }

  reject (error: Error): void {
    for (const waiters of this.reads.values()) waiters.forEach((waiter) => waiter.reject(error))
    for (const asks of this.asks.values()) asks.forEach((ask) => ask.waiter.reject(error))
    for (const command of this.commands) command.failed(error)
  }
}

/**
 * Collects what all requests of one event-loop tick ask of Redis, and sends it as one write on one connection, in a handful of commands.
 *
 * Every ask settles exactly once within 250 ms: with its own answer, its own error ({@link RedisReplyError}), or a {@link RedisUnavailableError}.
 * A script that timed out may still have run: what it writes is idempotent or guarded by a version.
 */
export class Batch {
  /** Counts since the start: writes, commands in them, asks answered by them, writes whose answer did not come in time. */
  readonly counts = { writes: 0, commands: 0, asks: 0, timeouts: 0 }
  /** How long the last answer of each write took to come. */
  readonly roundTrips = new Histogram()
  /** Grows each time what was collected leaves: who changes an ask's arguments until then can tell. */
  tick = 0
  /** What this tick's batch carries so far; another object for each batch. */
  collecting: BatchSize = { asks: 0, commands: 0 }
  #lanes: LaneSource
  #wants: Record<Priority, Wants> = { request: new Wants(), background: new Wants() }
  #large: { key: string, waiters: Waiter<Buffer | null>[], bytes: number, timer: NodeJS.Timeout, deadlineAt: number }[] = []
  #largeByKey = new LRUCache<string, number>({ max: 10_000 })
  #isScheduled = false

  constructor (lanes: LaneSource) {
    this.#lanes = lanes
  }

  /**
   * Reads a string; the same key is asked once a tick, however many want it.
   *
   * @returns its bytes (shared by all who asked: do not write into them); null when there is none, or it is not a string
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  read (key: string, priority: Priority = 'request'): Promise<Buffer | null> {
    return new Promise((resolve, reject) => {
      const { reads } = this.#collect(priority)
      const waiters = reads.get(key)
      if (waiters) waiters.push({ resolve, reject })
      else reads.set(key, [{ resolve, reject }])
    })
  }

  /**
   * Asks a script; asks of one tick share a call. In a Cluster all keys of one ask must share a slot.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY when this ask failed
   */
  ask<Answer> (script: Script<Answer>, keys: Ask['keys'], args: Ask['args'], priority: Priority = 'request'): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      const { asks } = this.#collect(priority)
      const ask = { keys, args, waiter: { resolve, reject } as Waiter<never> }
      const others = asks.get(script)
      if (others) others.push(ask)
      else asks.set(script, [ask])
    })
  }

  /**
   * Sends a command of the caller's own along with the rest; its reply comes as text.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY
   */
  command (name: string, args: (string | number | Buffer)[], priority: Priority = 'request'): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#collect(priority).commands.push(packCommand(name, args, { resolve, reject }))
    })
  }

  #collect (priority: Priority): Wants {
    this.counts.asks += 1
    this.collecting.asks += 1
    if (!this.#isScheduled) {
      this.#isScheduled = true
      // After all sockets that became readable in this tick have been read: their requests leave together.
      setImmediate(() => this.#leave())
    }
    return this.#wants[priority]
  }

  #leave (): void {
    this.#isScheduled = false
    this.tick += 1
    const { request, background } = this.#wants
    this.#wants = { request: new Wants(), background: new Wants() }
    const size = this.collecting
    this.collecting = { asks: 0, commands: 0 }
    const lane = this.#lanes.breaker.isOpen ? undefined : this.#lanes.choose()
    if (lane === undefined) return this.#refuse([request, background])
    this.#setLargeAside(request)
    this.#setLargeAside(background)
    const parcels = [...request.pack(lane.isCluster, this.#largeByKey), ...background.pack(lane.isCluster, this.#largeByKey)]
    size.commands = parcels.length
    this.#send(lane, parcels)
    this.#sendLarge()
  }

  #refuse (wants: Wants[]): void {
    this.#lanes.breaker.missed()
    const error = new RedisUnavailableError('no connection')
    for (const each of wants) each.reject(error)
  }

  #send (lane: Lane, parcels: Parcel[], remainingMs = deadlineMs): void {
    if (parcels.length === 0) return
    this.counts.writes += 1
    this.counts.commands += parcels.length
    // eslint-disable-next-line no-new
    new Flight(parcels, lane, this.#lanes.breaker, () => { this.counts.timeouts += 1 }, remainingMs)
    const sentAt = performance.now()
    const landed = () => this.roundTrips.observe((performance.now() - sentAt) / 1000)
    parcels.at(-1)?.command.promise.then(landed, landed)
  }

  /** Takes keys that are known to hold much out of the common command. */
  #setLargeAside ({ reads }: Wants): void {
    if (this.#largeByKey.size === 0) return
    for (const [key, waiters] of reads) {
      const bytes = this.#largeByKey.get(key)
      if (bytes === undefined) continue
      reads.delete(key)
      this.#large.push({ key, waiters, bytes, timer: setTimeout(() => this.#expireLarge(waiters), deadlineMs), deadlineAt: performance.now() + deadlineMs })
    }
  }

  /** Sends large reads, in order, wherever there is room for their answers; the rest waits for room, or its deadline. */
  #sendLarge (): void {
    for (let next = this.#large[0]; next !== undefined; next = this.#large[0]) {
      const { key, waiters, bytes, timer, deadlineAt } = next
      const lane = this.#lanes.chooseFor(bytes)
      if (lane === undefined) return
      clearTimeout(timer)
      this.#large.shift()
      lane.expectedBytes += bytes
      const parcel = packRead(key, waiters, this.#largeByKey)
      const landed = () => {
        lane.expectedBytes -= bytes
        this.#sendLarge()
      }
      parcel.command.promise.then(landed, landed)
      this.#send(lane, [parcel], Math.max(1, deadlineAt - performance.now()))
    }
  }

  #expireLarge (waiters: Waiter<Buffer | null>[]): void {
    this.#large = this.#large.filter((large) => large.waiters !== waiters)
    for (const waiter of waiters) waiter.reject(new RedisUnavailableError(`no room within ${deadlineMs} ms`))
  }
}
