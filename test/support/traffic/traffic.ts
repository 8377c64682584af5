import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../until.ts'
import { Client } from './client.ts'
import { Round } from './round-robin.ts'
import type { Scenario } from './round-robin.ts'

const pauseMs = 5
const deadlineMs = 60_000

/** Responses of one period. */
interface Stretch { responses: number, degraded: number, longestMs: number }

/** Repeated scenarios with a fault in the middle, and their violations. */
export class Traffic {
  /** violations as texts; must stay empty */
  readonly faults: string[] = []
  readonly #client: Client
  readonly #scenarios: readonly Scenario[]
  readonly #wells = new Map<Scenario, number>()
  readonly #stretches: Stretch[] = [{ responses: 0, degraded: 0, longestMs: 0 }]
  #isFault = false
  #isOver = false
  #turn = 0
  #going: Promise<void>[] = []

  /** @param urls of the apps */
  constructor (urls: readonly string[], scenarios: readonly Scenario[]) {
    this.#client = new Client(urls)
    this.#scenarios = scenarios
  }

  /** Number of the period without a fault; undefined during a fault. */
  get calm (): number | undefined {
    return this.#isFault ? undefined : this.#stretches.length
  }

  /** Starts all scenarios. */
  start (): void {
    this.#going = this.#scenarios.flatMap((scenario) => Array.from({ length: scenario.workers ?? 1 }, (_, worker) => this.#go(scenario, worker)))
  }

  /**
   * Waits until each scenario has completed this many rounds without a fault, or a violation was found. If `isExact`, the rounds are without any trouble, or ten times as many:
   * a busy machine can have trouble all the time.
   */
  async well (rounds: number): Promise<void> {
    this.#wells.clear()
    const isWell = (scenario: Scenario) => (this.#wells.get(scenario) ?? 0) >= rounds
    const missing = () => this.#scenarios.filter((scenario) => !isWell(scenario)).map(({ name }) => name).join()
    await until(() => this.faults.length > 0 || this.#scenarios.every(isWell), { what: `rounds without a fault, for ${missing()} too`, deadlineMs })
  }

  /** Injects a fault during the traffic. */
  async endure (fault: (traffic: Traffic) => Promise<void>): Promise<void> {
    this.#isFault = true
    this.#stretches.push({ responses: 0, degraded: 0, longestMs: 0 })
    await fault(this)
    this.#stretches.push({ responses: 0, degraded: 0, longestMs: 0 })
    this.#isFault = false
  }

  /** Waits for this many more responses. */
  async responses (count: number): Promise<void> {
    const received = () => this.#stretches.reduce((sum, each) => sum + each.responses, 0)
    const enough = received() + count
    await until(() => received() >= enough, { what: `${count} more responses`, deadlineMs })
  }

  /** Waits until an app notices trouble; call it before that can happen. */
  async noticed (): Promise<void> {
    const { noticed } = this.#client
    await until(() => this.#client.noticed > noticed, { what: 'the apps notice the fault' })
  }

  /** Ends all scenarios, waits for every request, and checks the final invariants of each. */
  async stop (): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#going)
    for (const scenario of this.#scenarios) await this.#guarded(scenario, 0, (round) => scenario.finish?.(round))
  }

  /** Records a response. */
  note (ms: number, isDegraded: boolean): void {
    const stretch = this.#stretches.at(-1)
    if (stretch === undefined) return
    stretch.responses += 1
    if (isDegraded) stretch.degraded += 1
    stretch.longestMs = Math.max(stretch.longestMs, ms)
  }

  /** Degraded responses of all, before, during and after the fault, and the longest wait. */
  get report (): string {
    return this.#stretches.map(({ responses, degraded, longestMs }) => `${degraded} of ${responses} degraded, longest ${Math.round(longestMs)} ms`).join('; ')
  }

  async #go (scenario: Scenario, worker: number): Promise<void> {
    while (!this.#isOver) {
      const round = await this.#guarded(scenario, worker, (round) => scenario.round(round))
      const count = scenario.isExact && !round.isWell ? 0.1 : 1
      if (round.isWhole) this.#wells.set(scenario, (this.#wells.get(scenario) ?? 0) + count)
      await sleep(pauseMs) // a load, not a wait: other processes need CPU time too
    }
  }

  async #guarded (scenario: Scenario, worker: number, work: (round: Round) => Promise<void> | undefined): Promise<Round> {
    const round = new Round(this, { client: this.#client, scenario: scenario.name, turn: ++this.#turn, worker })
    await work(round)?.catch((error: unknown) => round.must(false, String(error)))
    return round
  }
}
