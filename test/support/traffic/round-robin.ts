import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, Reply, Sent } from './client.ts'
import type { Traffic } from './traffic.ts'

const wellStatuses: readonly number[] = [200, 401, 429]
const insistMs = 15_000

/** A repeated scenario, which runs at any time and several times concurrently. */
export interface Scenario {
  readonly name: string
  /** number of concurrent runs; 1 */
  readonly workers?: number
  /** rounds without any trouble have stricter assertions */
  readonly isExact?: boolean
  round (round: Round): Promise<void>
  /** checks the invariants at the end */
  finish? (round: Round): Promise<void>
}

/** One round of a scenario: sends its requests, and records violations. */
export class Round {
  /** number of the round over all scenarios, for unique names */
  readonly turn: number
  /** number of its worker */
  readonly worker: number
  readonly #scenario: string
  readonly #traffic: Traffic
  readonly #client: Client
  readonly #calm: number | undefined
  readonly #noticed: number
  #isDegraded = false

  constructor (traffic: Traffic, { client, scenario, turn, worker }: { client: Client, scenario: string, turn: number, worker: number }) {
    this.turn = turn
    this.worker = worker
    this.#scenario = scenario
    this.#traffic = traffic
    this.#client = client
    this.#calm = traffic.calm
    this.#noticed = client.noticed
  }

  /** No fault has occurred since it began, and no response was degraded. */
  get isWhole (): boolean {
    return !this.#isDegraded && this.#calm !== undefined && this.#calm === this.#traffic.calm
  }

  /** Like `isWhole`; moreover both apps had every Redis reply in time, and neither saw another server, after which the cache is invalid. */
  get isWell (): boolean {
    return this.isWhole && this.#noticed === this.#client.noticed
  }

  /** How often the apps have discarded their local counts. */
  get recoveries (): number {
    return this.#client.recoveries
  }

  /** Sends one request, whose response may be 503. */
  async send (app: number, method: string, path: string, sent: Sent = {}): Promise<Reply> {
    const sentAt = performance.now()
    const reply = await this.#client.send(app % this.#client.apps, method, path, sent)
    const isDegraded = reply.status === 503 || reply.cache.includes('bypass')
    this.#isDegraded ||= isDegraded
    this.#traffic.note(performance.now() - sentAt, isDegraded)
    this.must(isDegraded || wellStatuses.includes(reply.status), `${method} ${path} received ${reply.status}: ${JSON.stringify(reply.body)}`)
    return reply
  }

  /** Repeats a request until its response is not 503. */
  async insist (app: number, method: string, path: string, sent: Sent = {}): Promise<Reply> {
    const giveUpAt = performance.now() + insistMs
    for (;;) {
      const reply = await this.send(app, method, path, sent)
      if (reply.status !== 503) return reply
      if (performance.now() > giveUpAt) throw new Error(`${method} ${path} was refused for ${insistMs} ms`)
      await sleep(20)
    }
  }

  /** Records a violation. */
  must (holds: boolean, what: string): void {
    if (!holds) this.#traffic.faults.push(`${this.#scenario}, ${this.#traffic.calm === undefined ? 'in the fault' : 'in the calm'}: ${what}`)
  }
}
