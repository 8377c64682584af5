import type { Cluster, Redis } from 'ioredis'
import type { LaneSource } from './batch.ts'
import { Breaker } from './breaker.ts'
import type { Server } from './facts.ts'
import { deadlineMs } from './flight.ts'
import { crowdedBytes, Lane } from './lane.ts'

const idleMs = 30_000
const checkEveryMs = 1000

/** How many connections there may be, and how to open one. */
export interface LanesOptions {
  open: () => Redis | Cluster
  min: number
  max: number
  /** called at each connection, before it takes its first command */
  onReady: (server: Server) => void
  /** called when an outage begins (true) and when it has ended (false) */
  onOutage: (isOut: boolean) => void
}

/**
 * The connections that commands take. The first that is ready takes all until it is crowded, then the next, so that writes stay dense;
 * more are opened while all are crowded, idle ones are closed, dead ones replaced.
 */
export class Lanes implements LaneSource {
  readonly breaker: Breaker
  /** Since the start: connections that broke or were not made, and choices for which all of them were crowded and no more may be opened. */
  readonly counts = { lost: 0, exhausted: 0 }
  #options: LanesOptions
  #lanes: Lane[] = []
  #timer: NodeJS.Timeout
  #isProbing = false
  #isClosed = false

  constructor (options: LanesOptions) {
    this.#options = options
    this.breaker = new Breaker((isOpen) => {
      options.onOutage(isOpen)
      if (isOpen) this.#probe()
    })
    for (let count = 0; count < options.min; count++) this.#open()
    this.#timer = setInterval(() => this.#check(), checkEveryMs).unref()
  }

  get all (): readonly Lane[] {
    return this.#lanes
  }

  choose (): Lane | undefined {
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

  close (): void {
    this.#isClosed = true
    clearInterval(this.#timer)
    for (const lane of this.#lanes.splice(0)) lane.client.disconnect()
  }

  /** Ready ones; those that let an answer wait too long only when there is no other. */
  #ready (): Lane[] {
    const ready = this.#lanes.filter((lane) => lane.isReady)
    const trusted = ready.filter((lane) => !lane.isSuspect)
    return trusted.length > 0 ? trusted : ready
  }

  #open (): void {
    const lane = new Lane(this.#options.open(), (server) => {
      this.#options.onReady(server)
      // The first sign that an outage is over.
      if (this.breaker.isOpen) this.#probe()
    })
    lane.client.on('close', () => { if (this.#lanes.includes(lane)) this.counts.lost += 1 })
    this.#lanes.push(lane)
  }

  #grow (): void {
    const isOpening = this.#lanes.some((lane) => !lane.isReady)
    if (!isOpening && !this.#isClosed && this.#lanes.length < this.#options.max) this.#open()
  }

  #check (): void {
    if (this.breaker.isOpen) this.#probe()
    for (const lane of this.#lanes.filter((lane) => lane.client.status === 'end')) this.#drop(lane)
    const idle = this.#lanes.findLast((lane) => lane.inFlight === 0 && Date.now() - lane.usedAt > idleMs)
    if (idle !== undefined && this.#lanes.length > this.#options.min) this.#drop(idle)
    while (this.#lanes.length < this.#options.min) this.#open()
  }

  #drop (lane: Lane): void {
    this.#lanes = this.#lanes.filter((other) => other !== lane)
    lane.client.disconnect()
  }

  /** Asks whether Redis is back, on the connection that would be used next. */
  #probe (): void {
    const lane = this.#ready()[0]
    if (this.#isProbing || lane === undefined) return
    this.#isProbing = true
    const timer = setTimeout(() => { this.#isProbing = false }, deadlineMs)
    lane.client.ping().then(() => this.breaker.succeeded(), () => {}).finally(() => {
      clearTimeout(timer)
      this.#isProbing = false
    })
  }
}
