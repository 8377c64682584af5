import type { Cluster, Redis } from 'ioredis'
import type { LaneSource } from './batch.ts'
import { Breakers } from './breakers.ts'
import { ClusterIdentity } from './facts.ts'
import { defaultDeadlineMs } from './deadline.ts'
import type { Server } from './facts.ts'
import { crowdedBytes, Lane } from './lane.ts'

const defaultIdleMs = 30_000
const checkEveryMs = 1000
const probeEveryMs = 500

/** How many connections there may be, and how to open one. */
export interface LanesOptions {
  open: () => Redis | Cluster
  min: number
  max: number
  /** one beyond `min` that had nothing to do for so long is closed; half a minute */
  idleMs?: number
  /** how long an answer is waited for; 200 */
  deadlineMs?: number
  /** called at each connection, before it takes its first command */
  onReady: (server: Server) => void
  /** called when an outage begins, of one node of a Cluster too (true), and when all have ended (false) */
  onOutage: (isOut: boolean) => void
  /** called when one server was expected, and a node of a Cluster is there */
  onClusterNode: () => void
  /** called each time the server's ACL forbids something */
  onDenied: (what: string) => void
  /** called with why a connection was lost or not made */
  onFailure?: (error: Error) => void
  /** called with what the server answered in place of a reply */
  onError?: (error: Error) => void
}

/**
 * The connections that commands take. The first that is ready takes all until it is crowded, then the next, so that writes stay dense;
 * more are opened while all are crowded, idle ones are closed, dead ones replaced.
 */
export class Lanes implements LaneSource {
  readonly breakers: Breakers
  /** Since the start: connections that broke or were not made, and choices for which all of them were crowded and no more may be opened. */
  readonly counts = { lost: 0, exhausted: 0 }
  readonly #identity = new ClusterIdentity()
  #options: LanesOptions
  #lanes: Lane[] = []
  readonly #timer: NodeJS.Timeout
  #probing: NodeJS.Timeout | undefined
  #lost = new Set<Lane>()
  #contact = Promise.withResolvers<boolean>()
  #isClosed = false

  constructor (options: LanesOptions) {
    this.#options = options
    this.breakers = new Breakers((isOut) => this.#turn(isOut))
    for (let count = 0; count < options.min; count++) this.#open()
    this.#timer = setInterval(() => this.#check(), checkEveryMs).unref()
  }

  /** Settles once: true when a connection has become ready, false when every first attempt has failed. */
  get contact (): Promise<boolean> {
    return this.#contact.promise
  }

  get all (): readonly Lane[] {
    return this.#lanes
  }

  choose (): Lane | undefined {
    if (this.breakers.server.isOpen) return undefined
    const ready = this.#ready()
    const free = ready.find((lane) => !lane.isCrowded)
    if (free !== undefined) return free
    if (this.#lanes.length >= this.#options.max) this.counts.exhausted += 1
    this.#grow()
    return ready.reduce<Lane | undefined>((best, lane) => best === undefined || lane.inFlight < best.inFlight ? lane : best, undefined)
  }

  chooseFor (bytes: number): Lane | undefined {
    const ready = this.#ready()
    const hasRoom = (lane: Lane) => lane.expectedBytes === 0 || lane.expectedBytes + bytes <= crowdedBytes
    const lane = ready.slice(1).find(hasRoom) ?? (ready[0] !== undefined && hasRoom(ready[0]) ? ready[0] : undefined)
    if (lane === undefined) this.#grow()
    return lane
  }

  missed (): void {
    if (!this.#isClosed) this.breakers.server.missed()
  }

  close (): void {
    this.#isClosed = true
    clearInterval(this.#timer)
    clearInterval(this.#probing)
    this.#contact.resolve(false)
    for (const lane of this.#lanes.splice(0)) lane.client.disconnect()
  }

  /** Opens all of them anew. */
  renew (): void {
    for (const lane of this.#lanes.splice(0)) lane.client.disconnect()
    this.#fill()
  }

  /** Ready ones; those that let an answer wait too long only when there is no other. */
  #ready (): Lane[] {
    const ready = this.#lanes.filter((lane) => lane.isReady)
    const trusted = ready.filter((lane) => !lane.isSuspect)
    return trusted.length > 0 ? trusted : ready
  }

  #open (): void {
    const lane: Lane = new Lane(this.#options.open(), {
      breakers: this.breakers,
      deadlineMs: this.#options.deadlineMs ?? defaultDeadlineMs,
      identity: this.#identity,
      onReady: (server) => this.#arrived(server),
      onLost: () => this.#missed(lane),
      onDenied: (what) => this.#options.onDenied(what),
      onFailure: (error) => { if (this.#lanes.includes(lane)) this.#options.onFailure?.(error) },
      onError: (error) => this.#options.onError?.(error),
      onClusterNode: () => { if (this.#lanes.includes(lane)) this.#options.onClusterNode() }
    })
    this.#lanes.push(lane)
  }

  #fill (): void {
    while (!this.#isClosed && this.#lanes.length < this.#options.min) this.#open()
  }

  #arrived (server: Server): void {
    this.#options.onReady(server)
    this.#contact.resolve(true)
    // The first sign that an outage is over.
    if (this.breakers.isAnyOpen) this.#probe()
  }

  #missed (lane: Lane): void {
    if (!this.#lanes.includes(lane)) return
    this.counts.lost += 1
    this.#lost.add(lane)
    if (this.#lanes.every((each) => this.#lost.has(each))) this.#contact.resolve(false)
  }

  #grow (): void {
    const isOpening = this.#lanes.some((lane) => !lane.isReady)
    if (!isOpening && !this.#isClosed && this.#lanes.length < this.#options.max) this.#open()
  }

  #check (): void {
    const { min, idleMs = defaultIdleMs } = this.#options
    for (const lane of this.#lanes) lane.check()
    for (const lane of this.#lanes.filter((lane) => lane.client.status === 'end')) this.#drop(lane)
    const idle = this.#lanes.findLast((lane) => lane.inFlight === 0 && Date.now() - lane.usedAt > idleMs)
    if (idle !== undefined && this.#lanes.length > min) this.#drop(idle)
    this.#fill()
  }

  #drop (lane: Lane): void {
    this.#lanes = this.#lanes.filter((other) => other !== lane)
    this.#lost.delete(lane)
    lane.client.disconnect()
  }

  #turn (isOut: boolean): void {
    clearInterval(this.#probing)
    if (this.#isClosed) return
    if (isOut) {
      this.#probing = setInterval(() => this.#probe(), probeEveryMs).unref()
      this.#probe()
    }
    this.#options.onOutage(isOut)
  }

  /** Asks whether Redis is back, on every connection: one that is half open shall not stand for those that are well, and is found by this. */
  #probe (): void {
    for (const lane of this.#lanes) if (lane.isReady) lane.probe()
  }
}
