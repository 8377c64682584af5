import type { Jar } from './client.ts'
import type { Scenario, Round } from './round-robin.ts'

const writes = 3
const writersAtOnce = 4
const remembered = 20

/** The response of `GET /notes`. */
interface Notes { last: number, all: number[], basket?: number }

/** The user whose session a test can look for in Redis: of the first worker. */
export const regular = 'regular'

/** Clients sign in, write, read at the other app, rotate, and sign out: confirmed writes are visible, and ended sessions stay ended. */
export class Sessions implements Scenario {
  readonly name = 'session'
  readonly workers = 3
  #dead: Jar[] = []

  async round (round: Round): Promise<void> {
    const jar: Jar = new Map()
    await this.#signIn(round, jar)
    const last = await this.#write(round, jar)
    const all = await this.#writeAtOnce(round, jar)
    await this.#rotate(round, jar)
    const { body } = await round.insist(round.turn, 'GET', '/notes', { cookies: jar })
    const notes = body as Notes
    round.must(notes.last >= last && all.every((n) => notes.all.includes(n)), `after the rotation there is ${JSON.stringify(notes)}, and not all of ${last}, ${all.join()}`)
    const before: Jar = new Map(jar)
    await round.insist(round.turn + 1, 'DELETE', '/session', { cookies: jar })
    await this.#isOut(round, before)
  }

  async finish (round: Round): Promise<void> {
    for (const cookies of this.#dead) await this.#isOut(round, cookies)
  }

  /** The basket of the anonymous session is copied, and the device is listed. */
  async #signIn (round: Round, cookies: Jar): Promise<void> {
    await round.insist(round.turn + 1, 'PUT', `/basket/${round.turn}`, { cookies })
    const anonymous: Jar = new Map(cookies)
    await round.insist(round.turn, 'POST', `/session/${round.worker === 0 ? regular : `user-${round.turn}`}`, { cookies })
    const { basket } = await this.#read(round, round.turn + 1, cookies)
    // If the anonymous session cannot be read, the sign-in continues without it.
    round.must(basket === round.turn || !round.isWell, `basket ${round.turn} became ${basket}`)
    const { body } = await round.insist(round.turn, 'GET', '/devices', { cookies })
    round.must((body as { isCurrent: boolean }[]).filter(({ isCurrent }) => isCurrent).length === 1, `the devices are ${JSON.stringify(body)}`)
    await this.#isOut(round, anonymous)
  }

  /** One write after the other, each read at the other app. @returns the last confirmed one */
  async #write (round: Round, cookies: Jar): Promise<number> {
    let atLeast = 0
    for (let n = 1; n <= writes; n++) {
      const { status } = await round.send(round.turn + n, 'PUT', `/notes/${n}`, { cookies })
      const { last } = await this.#read(round, round.turn + n + 1, cookies)
      if (status === 200) atLeast = n
      round.must(atLeast <= last && last <= n, `write ${n} received ${status}, and then there was ${last} instead of ${atLeast}`)
      atLeast = last
    }
    return atLeast
  }

  /** Concurrent writes at both apps: none is lost, and none is applied twice. @returns the confirmed ones */
  async #writeAtOnce (round: Round, cookies: Jar): Promise<number[]> {
    const responses = await Promise.all(Array.from({ length: writersAtOnce }, (_, n) => round.send(n, 'POST', `/notes/${n}`, { cookies })))
    const { all } = await this.#read(round, round.turn, cookies)
    const confirmed = responses.flatMap(({ status }, n) => status === 200 ? n : [])
    round.must(confirmed.every((n) => all.includes(n)), `${confirmed.join()} were written at once, and then there was ${all.join()}`)
    round.must(new Set(all).size === all.length, `something was written twice: ${all.join()}`)
    return confirmed
  }

  async #rotate (round: Round, cookies: Jar): Promise<void> {
    const thief: Jar = new Map(cookies)
    const { status } = await round.insist(round.turn, 'POST', '/rotation', { cookies })
    round.must(status === 200, `a rotation received ${status}`)
    await this.#isOut(round, thief)
  }

  async #read (round: Round, app: number, cookies: Jar): Promise<Notes> {
    const { status, body } = await round.insist(app, 'GET', '/notes', { cookies })
    round.must(status === 200, `a signed-in user received ${status}`)
    return status === 200 ? body as Notes : { last: NaN, all: [] }
  }

  async #isOut (round: Round, cookies: Jar): Promise<void> {
    this.#dead = [...this.#dead, cookies].slice(-remembered)
    for (const app of [0, 1]) {
      const { status } = await round.insist(app, 'GET', '/notes', { cookies: new Map(cookies) })
      round.must(status === 401, `a signed-out user received ${status}`)
    }
  }
}
