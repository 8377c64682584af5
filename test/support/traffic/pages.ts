import { until } from '../until.ts'
import type { Scenario, Round } from './round-robin.ts'
import type { Source } from './source.ts'

const readersAtOnce = 3
const crowd = 12

async function valueOf (round: Round, app: number, id: string): Promise<number> {
  const { status, body } = await round.send(app, 'GET', `/pages/${id}`)
  round.must(status === 200, `a page received ${status}`)
  return (body as { value: number } | undefined)?.value ?? NaN
}

/** Both apps serve the page from the cache. */
async function stored (round: Round, id: string): Promise<void> {
  const isHit = async (app: number) => (await round.send(app, 'GET', `/pages/${id}`)).cache.includes('; hit')
  await until(async () => await isHit(0) && await isHit(1), { what: `page ${id} is stored` })
}

/** A page that a test can look for in Redis: of the first worker. */
export const regularPage = 'page-0'

/** The content of pages changes and is purged: after the acknowledgement no app serves older content. */
export class Purges implements Scenario {
  readonly name = 'purge'
  readonly workers = 2
  readonly #source: Source
  /** the value of each page's last acknowledged purge */
  readonly #purged = new Map<string, number>()
  #value = 0

  constructor (source: Source) {
    this.#source = source
  }

  async round (round: Round): Promise<void> {
    const id = `page-${round.worker}`
    const value = ++this.#value
    this.#source.values.set(id, value)
    const reading = this.#readAtOnce(round, id)
    await round.insist(round.turn, 'POST', `/purges/${id}`)
    this.#purged.set(id, value)
    await this.#readAtOnce(round, id)
    await reading
    await stored(round, id)
  }

  async #readAtOnce (round: Round, id: string): Promise<void> {
    const atLeast = this.#purged.get(id) ?? 0
    await Promise.all(Array.from({ length: readersAtOnce }, async (_, app) => {
      const value = await valueOf(round, app, id)
      round.must(value >= atLeast, `page ${id} showed ${value} after ${atLeast} was confirmed`)
    }))
  }
}

/** Many concurrent requests for a purged page at both apps: the handler runs once. */
export class Stampedes implements Scenario {
  readonly name = 'stampede'
  readonly isExact = true
  readonly #source: Source

  constructor (source: Source) {
    this.#source = source
  }

  async round (round: Round): Promise<void> {
    const id = `crowd-${round.turn}`
    this.#source.reads.delete(id)
    this.#source.values.set(id, round.turn)
    await round.insist(round.turn, 'POST', `/purges/${id}`)
    const values = await Promise.all(Array.from({ length: crowd }, (_, app) => valueOf(round, app, id)))
    round.must(values.every((value) => value === round.turn), `a crowd was shown ${values.join()} and not ${round.turn}`)
    const runs = this.#source.reads.get(id) ?? 0
    round.must(runs >= 1 && (runs === 1 || !round.isWell), `the handler ran ${runs} times for ${crowd} at once`)
    await stored(round, id)
  }
}
