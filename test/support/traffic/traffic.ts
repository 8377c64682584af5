import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../until.ts'
import { Client } from './client.ts'
import { Round } from './round-robin.ts'
import type { Journey } from './round-robin.ts'

const pauseMs = 5
const deadlineMs = 60_000

/** What was answered in one stretch of time. */
interface Stretch { answered: number, degraded: number, longestMs: number }

/** Journeys that go on and on, with a fault in the middle, and what they found. */
export class Traffic {
  /** what did not hold, in words; must stay empty */
  readonly faults: string[] = []
  readonly #client: Client
  readonly #journeys: readonly Journey[]
  readonly #wells = new Map<Journey, number>()
  readonly #stretches: Stretch[] = [{ answered: 0, degraded: 0, longestMs: 0 }]
  #isFault = false
  #isOver = false
  #turn = 0
  #going: Promise<void>[] = []

  /** @param urls of the apps */
  constructor (urls: readonly string[], journeys: readonly Journey[]) {
    this.#client = new Client(urls)
    this.#journeys = journeys
  }

  /** Which time without a fault it is; undefined while one is under way. */
  get calm (): number | undefined {
    return this.#isFault ? undefined : this.#stretches.length
  }

  /** Begins all journeys. */
  start (): void {
    this.#going = this.#journeys.flatMap((journey) => Array.from({ length: journey.lanes ?? 1 }, (_, lane) => this.#go(journey, lane)))
  }

  /** Waits until each journey has had so many rounds, from now on, that were whole, or well where that says more; or something was found. */
  async well (rounds: number): Promise<void> {
    this.#wells.clear()
    const isWell = (journey: Journey) => (this.#wells.get(journey) ?? 0) >= rounds
    const missing = () => this.#journeys.filter((journey) => !isWell(journey)).map(({ name }) => name).join()
    await until(() => this.faults.length > 0 || this.#journeys.every(isWell), { what: `all is well, for ${missing()} too`, deadlineMs })
  }

  /** Lets a fault happen under way. */
  async endure (fault: (traffic: Traffic) => Promise<void>): Promise<void> {
    this.#isFault = true
    this.#stretches.push({ answered: 0, degraded: 0, longestMs: 0 })
    await fault(this)
    this.#stretches.push({ answered: 0, degraded: 0, longestMs: 0 })
    this.#isFault = false
  }

  /** Waits until so many more requests were answered. */
  async answers (count: number): Promise<void> {
    const answered = () => this.#stretches.reduce((sum, each) => sum + each.answered, 0)
    const enough = answered() + count
    await until(() => answered() >= enough, { what: `${count} more answers`, deadlineMs })
  }

  /** Waits until an app notices something; call it before that can happen. */
  async noticed (): Promise<void> {
    const { noticed } = this.#client
    await until(() => this.#client.noticed > noticed, { what: 'the apps notice the fault' })
  }

  /** Ends all journeys, waits for every request, and lets each look at what must hold afterwards. */
  async stop (): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#going)
    for (const journey of this.#journeys) await this.#guarded(journey, 0, (round) => journey.finish?.(round))
  }

  /** Notes an answer. */
  note (ms: number, isDegraded: boolean): void {
    const stretch = this.#stretches.at(-1)
    if (stretch === undefined) return
    stretch.answered += 1
    if (isDegraded) stretch.degraded += 1
    stretch.longestMs = Math.max(stretch.longestMs, ms)
  }

  /** How many of how many answers were degraded, before the fault, in it, and after it, and the longest that a client waited. */
  get report (): string {
    return this.#stretches.map(({ answered, degraded, longestMs }) => `${degraded} of ${answered} degraded, longest ${Math.round(longestMs)} ms`).join('; ')
  }

  async #go (journey: Journey, lane: number): Promise<void> {
    while (!this.#isOver) {
      const round = await this.#guarded(journey, lane, (round) => journey.round(round))
      if (journey.isExact ? round.isWell : round.isWhole) this.#wells.set(journey, (this.#wells.get(journey) ?? 0) + 1)
      await sleep(pauseMs) // a load, not a wait: others need the processor too
    }
  }

  async #guarded (journey: Journey, lane: number, work: (round: Round) => Promise<void> | undefined): Promise<Round> {
    const round = new Round(this, { client: this.#client, journey: journey.name, turn: ++this.#turn, lane })
    await work(round)?.catch((error: unknown) => round.must(false, String(error)))
    return round
  }
}
