import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, Reply, Sent } from './client.ts'
import type { Traffic } from './traffic.ts'

const wellStatuses: readonly number[] = [200, 401, 429]
const insistMs = 15_000

/** What one journey does over and over: it may be under way at any time, several times at once. */
export interface Journey {
  readonly name: string
  /** so many of it at once; 1 */
  readonly lanes?: number
  /** more holds of a round that is well than of others */
  readonly isExact?: boolean
  round (round: Round): Promise<void>
  /** looks at what must hold once everything is over */
  finish? (round: Round): Promise<void>
}

/** One round of a journey: sends its requests, and notes what is not as it must be. */
export class Round {
  /** counts rounds of all journeys, so that names can be new */
  readonly turn: number
  /** which of its journey's lanes it goes on */
  readonly lane: number
  readonly #journey: string
  readonly #traffic: Traffic
  readonly #client: Client
  readonly #calm: number | undefined
  readonly #noticed: number
  #isDegraded = false

  constructor (traffic: Traffic, { client, journey, turn, lane }: { client: Client, journey: string, turn: number, lane: number }) {
    this.turn = turn
    this.lane = lane
    this.#journey = journey
    this.#traffic = traffic
    this.#client = client
    this.#calm = traffic.calm
    this.#noticed = client.noticed
  }

  /** No fault is or was under way since it began, and every answer was as good as it can be. */
  get isWhole (): boolean {
    return !this.#isDegraded && this.#calm !== undefined && this.#calm === this.#traffic.calm
  }

  /** It is whole, both apps had every answer of Redis in time, and neither came to know of another server, for then the cache forgets. */
  get isWell (): boolean {
    return this.isWhole && this.#noticed === this.#client.noticed
  }

  /** How often the apps have forgotten what they counted without Redis. */
  get recoveries (): number {
    return this.#client.recoveries
  }

  /** Sends one request, which may be answered with 503. */
  async send (app: number, method: string, path: string, sent: Sent = {}): Promise<Reply> {
    const sentAt = performance.now()
    const reply = await this.#client.send(app % this.#client.apps, method, path, sent)
    const isDegraded = reply.status === 503 || reply.cache.includes('bypass')
    this.#isDegraded ||= isDegraded
    this.#traffic.note(performance.now() - sentAt, isDegraded)
    this.must(isDegraded || wellStatuses.includes(reply.status), `${method} ${path} was answered with ${reply.status}: ${JSON.stringify(reply.body)}`)
    return reply
  }

  /** Sends it until it is answered with something else than 503. */
  async insist (app: number, method: string, path: string, sent: Sent = {}): Promise<Reply> {
    const giveUpAt = performance.now() + insistMs
    for (;;) {
      const reply = await this.send(app, method, path, sent)
      if (reply.status !== 503) return reply
      if (performance.now() > giveUpAt) throw new Error(`${method} ${path} was refused for ${insistMs} ms`)
      await sleep(20)
    }
  }

  /** Notes what does not hold. */
  must (holds: boolean, what: string): void {
    if (!holds) this.#traffic.faults.push(`${this.#journey}, ${this.#traffic.calm === undefined ? 'in the fault' : 'in the calm'}: ${what}`)
  }
}
