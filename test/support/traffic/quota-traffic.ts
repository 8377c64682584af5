import { quota } from './app.ts'
import type { Scenario, Round } from './round-robin.ts'

const apps = 2

/** Clients exceed their quota at both apps: exactly the quota is allowed, and during an outage at most the local quota of each app. */
export class Quotas implements Scenario {
  readonly name = 'limit'
  readonly isExact = true

  async round (round: Round): Promise<void> {
    const before = round.recoveries
    const closed = await this.#passed(round, 'closed', 2 * quota + 2)
    const local = await this.#passed(round, 'local', 5 * quota)
    // Each app counts locally while Redis does not respond, and again from zero after its local counts were discarded.
    const alone = quota * (apps + round.recoveries - before)

    round.must(closed <= quota && (closed === quota || !round.isWell), `${closed} passed a quota of ${quota} that is closed without Redis`)
    round.must(local <= quota + alone && local >= quota && (local === quota || !round.isWell), `${local} passed a quota of ${quota}, and at most ${alone} without Redis`)
  }

  async #passed (round: Round, failure: 'closed' | 'local', count: number): Promise<number> {
    const client = `client-${round.turn}`
    const responses = await Promise.all(Array.from({ length: count }, (_, app) => round.send(app, 'GET', `/quotas/${failure}`, { client })))
    round.must(failure === 'closed' || responses.every(({ status }) => status !== 503), 'a request that is counted without Redis too was refused for want of it')
    return responses.filter(({ status }) => status === 200).length
  }
}
