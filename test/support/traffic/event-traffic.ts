import { until } from '../until.ts'
import type { Received } from './app.ts'
import type { Scenario, Round } from './round-robin.ts'

const apps = 2

/** Both apps publish: confirmed events are received by both, once and in order, without superfluous resets. */
export class News implements Scenario {
  readonly name = 'events'
  #n = 0
  readonly #confirmed = new Set<string>()

  async round (round: Round): Promise<void> {
    const n = ++this.#n
    const published = await Promise.all(Array.from({ length: apps }, (_, app) => this.#publish(round, app, n)))
    if (published.every(Boolean)) await until(async () => (await Promise.all([this.#hears(round, 0, n), this.#hears(round, 1, n)])).every(Boolean), { what: 'both received both events' })
  }

  async finish (round: Round): Promise<void> {
    await until(async () => this.#isLevel(await this.#lists(round)), { what: 'both have received all that was confirmed, and the same' })
      .catch((error: Error) => round.must(false, error.message))
    const lists = await this.#lists(round)
    for (const { received, resets } of lists) {
      round.must(resets.length === 0, `${resets.length} resets were received`)
      round.must(received.every(({ n, by }, index) => received.slice(index + 1).every((later) => later.by !== by || later.n > n)), `a publisher was received twice, or out of order: ${received.map(nameOf).join()}`)
    }
  }

  #isLevel (lists: readonly { received: Received[] }[]): boolean {
    const [one = [], other = []] = lists.map(({ received }) => received.map(nameOf))
    return [...this.#confirmed].every((name) => one.includes(name)) && one.join() === other.join()
  }

  async #publish (round: Round, app: number, n: number): Promise<boolean> {
    const { status } = await round.send(app, 'POST', `/news/app-${app}/${n}`)
    if (status === 200) this.#confirmed.add(nameOf({ by: `app-${app}`, n }))
    return status === 200
  }

  /** Whether an app has received the other's events up to this one. */
  async #hears (round: Round, app: number, n: number): Promise<boolean> {
    return ((await round.send(app, 'GET', `/news/app-${1 - app}`)).body as { n: number }).n >= n
  }

  async #lists (round: Round): Promise<{ received: Received[], resets: string[] }[]> {
    return await Promise.all([0, 1].map(async (app) => (await round.send(app, 'GET', '/news')).body as { received: Received[], resets: string[] }))
  }
}

function nameOf ({ by, n }: Pick<Received, 'by' | 'n'>): string {
  return `${by} ${n}`
}
