import { until } from '../until.ts'
import type { Heard } from './app.ts'
import type { Journey, Round } from './round-robin.ts'

const apps = 2

/** Both apps publish: what was confirmed is heard by both, once and in order, and no gap is told of where there is none. */
export class News implements Journey {
  readonly name = 'events'
  #n = 0
  readonly #confirmed = new Set<string>()

  async round (round: Round): Promise<void> {
    const n = ++this.#n
    const told = await Promise.all(Array.from({ length: apps }, (_, app) => this.#publish(round, app, n)))
    if (told.every(Boolean)) await until(async () => (await Promise.all([this.#hears(round, 0, n), this.#hears(round, 1, n)])).every(Boolean), { what: 'both hear both' })
  }

  async finish (round: Round): Promise<void> {
    await until(async () => this.#isLevel(await this.#lists(round)), { what: 'both have heard all that was confirmed, and the same' })
      .catch((error: Error) => round.must(false, error.message))
    const lists = await this.#lists(round)
    for (const { heard, resets } of lists) {
      round.must(resets.length === 0, `${resets.length} gaps were told of`)
      round.must(heard.every(({ n, by }, index) => heard.slice(index + 1).every((later) => later.by !== by || later.n > n)), `a publisher was heard twice, or out of order: ${heard.map(nameOf).join()}`)
    }
  }

  #isLevel (lists: readonly { heard: Heard[] }[]): boolean {
    const [one = [], other = []] = lists.map(({ heard }) => heard.map(nameOf))
    return [...this.#confirmed].every((name) => one.includes(name)) && one.join() === other.join()
  }

  async #publish (round: Round, app: number, n: number): Promise<boolean> {
    const { status } = await round.send(app, 'POST', `/news/app-${app}/${n}`)
    if (status === 200) this.#confirmed.add(nameOf({ by: `app-${app}`, n }))
    return status === 200
  }

  /** Whether an app has heard as far as this from the other one. */
  async #hears (round: Round, app: number, n: number): Promise<boolean> {
    return ((await round.send(app, 'GET', `/news/app-${1 - app}`)).body as { n: number }).n >= n
  }

  async #lists (round: Round): Promise<{ heard: Heard[], resets: string[] }[]> {
    return await Promise.all([0, 1].map(async (app) => (await round.send(app, 'GET', '/news')).body as { heard: Heard[], resets: string[] }))
  }
}

function nameOf ({ by, n }: Pick<Heard, 'by' | 'n'>): string {
  return `${by} ${n}`
}
