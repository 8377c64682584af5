import { setTimeout as sleep } from 'node:timers/promises'
import type { Server } from '../server.ts'
import type { ServerTotals } from '../servers/counting.ts'
import type { MeasuredRedis } from './redis-figures.ts'
import type { Contestant, Slot } from './slots.ts'
import type { SuspendedLoad } from './suspended-load.ts'

const settleMs = 5
const longestSettleMs = 5000

/** A server whose `wrk` is suspended outside its slots. */
export class HttpContestant implements Contestant {
  readonly name: string
  readonly server: Server
  readonly redis: MeasuredRedis | undefined
  readonly #load: SuspendedLoad
  #abandoned = 0

  constructor (server: Server, redis: MeasuredRedis | undefined, load: SuspendedLoad) {
    this.name = server.name
    this.server = server
    this.redis = redis
    this.#load = load
  }

  async runSlot (ms: number): Promise<Slot> {
    const before = await this.#totals()
    const redisBefore = this.redis?.cpuMicroseconds ?? 0
    const startedAt = performance.now()
    this.#load.resume()
    await sleep(ms)
    this.#load.suspend()
    const milliseconds = performance.now() - startedAt
    const after = await this.#totalsWhenIdle()
    return { operations: after.finished - before.finished, cpuMicroseconds: after.cpuMicroseconds - before.cpuMicroseconds, redisMicroseconds: (this.redis?.cpuMicroseconds ?? 0) - redisBefore, milliseconds }
  }

  /** Reads how many requests of an earlier, ended load never received a response. The load must be suspended. */
  async open (): Promise<void> {
    const { started, finished } = await this.#totals()
    this.#abandoned = started - finished
  }

  /** Sends requests until at least this many have a response: each line once, for what the first request of a user or URL costs. */
  async sendAtLeast (requests: number, onProgress: (completed: number) => void = () => {}): Promise<void> {
    const { finished } = await this.#totals()
    this.#load.resume()
    for (let completed = 0; completed < requests;) {
      await sleep(100)
      completed = (await this.#totals()).finished - finished
      onProgress(completed)
    }
    this.#load.suspend()
    await this.#totalsWhenIdle()
  }

  async #totals (): Promise<ServerTotals> {
    const heard = this.server.hear<ServerTotals>()
    this.server.tell('read')
    return await heard
  }

  /** The server has no request in flight, and has read none since the last look: some can be in its sockets. Replies to a suspended client complete; what its requests still write to Redis is part of their cost. */
  async #totalsWhenIdle (): Promise<ServerTotals> {
    const until = performance.now() + longestSettleMs
    for (let earlier = -1; ;) {
      await sleep(settleMs)
      const totals = await this.#totals()
      const inFlight = totals.started - totals.finished - this.#abandoned
      if (inFlight === 0 && totals.started === earlier) return totals
      if (performance.now() > until) throw new Error(`${this.name} has ${inFlight} requests without a response after ${longestSettleMs} ms`)
      earlier = totals.started
    }
  }
}
