import { randomBytes } from 'node:crypto'
import type { Batch } from '../redis/batch.ts'
import { Script } from '../redis/script.ts'
import type { Term } from './quota.ts'

/** What a counter says after a request has been counted, or refused. */
export interface Standing {
  /** units left, never below 0 */
  readonly remaining: number
  /** milliseconds until more units come; 0 when nothing is used */
  readonly resetMs: number
  /** milliseconds until the same request fits; 0 when it fits now */
  readonly retryMs: number
}

/** The answer to one request: whether all of its counters had room, and what each says, in the order asked. */
export interface Taken {
  readonly isAllowed: boolean
  readonly standings: readonly Standing[]
}

/** What is asked of Redis for one request. */
export interface Claim {
  /** the same for requests that ask the same, and for no other */
  readonly name: string
  /** one for each term; in a Cluster all of one slot */
  readonly keys: readonly string[]
  readonly terms: readonly Term[]
  /** nothing is taken unless this session lives; in a Cluster it is in the keys' slot */
  readonly session?: { readonly key: string, readonly devices: readonly string[] }
  /** whether a term takes a place */
  readonly hasPlaces?: boolean
}

/** What Redis says to a row. */
export interface Grants {
  /** how many of it; -1 when Redis read the ask too late, -2 when the session is dead */
  readonly granted: number
  /** Redis's clock */
  readonly nowMs: number
  readonly standings: readonly Standing[]
}

/** Who is not read within this time has given up: what a hung Redis reads when it wakes is not counted. Longer than an ask may wait. */
const patienceMs = 300

const tooLate = -1
/** The session that a claim was made for has ended, or never was. */
export const noSession = -2

const take = new Script<Grants>({
  url: new URL('./take.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => {
    const numbers = (reply as string).split(' ').map(Number)
    const standings: Standing[] = []
    for (let at = 2; at < numbers.length; at += 3) standings.push({ remaining: numbers[at] ?? 0, resetMs: numbers[at + 1] ?? 0, retryMs: numbers[at + 2] ?? 0 })
    return { granted: numbers[0] ?? 0, nowMs: numbers[1] ?? 0, standings }
  }
})

/** All identical requests of a tick, which are one ask. */
export class Row {
  /** on the process's clock */
  readonly askedAt: number
  readonly grants: Promise<Grants>
  /** what the places are called that are granted; undefined where none is asked for */
  readonly lease: string | undefined
  #args: (string | number)[]

  constructor ({ keys, terms, session }: Claim, lease: string | undefined, askedAt: number, deadlineMs: number, ask: (keys: readonly string[], args: (string | number)[]) => Promise<Grants>) {
    this.askedAt = askedAt
    this.lease = lease
    const texts = terms.map(({ text }) => text)
    if (session !== undefined) texts.push(`l ${session.devices.join(' ')}`)
    if (lease !== undefined) texts.push(`i ${lease}`)
    const all = session === undefined ? keys : [...keys, session.key]
    this.#args = [0, deadlineMs, ...texts]
    // Too late though it was waited for: Redis's clock was set forward, or it is another Redis. Then without a deadline.
    this.grants = ask(all, this.#args).then((grants) => grants.granted === tooLate ? ask(all, [this.#args[0] ?? 1, 0, ...texts]) : grants)
    this.grants.catch(() => {}) // a request may end before it looks at its answer
  }

  /** The arguments leave at the end of the tick: until then one more may join. Returns its place, from 1. */
  join (): number {
    const place = Number(this.#args[0]) + 1
    this.#args[0] = place
    return place
  }
}

/**
 * Counts in Redis, for all processes together. Identical requests of one tick are one ask: a flood from one address costs Redis one call a tick.
 */
export class LimitStore {
  #batch: Batch
  #rows = new Map<string, Row>()
  #tick = -1
  /** from the process's clock to Redis's, at most a round trip too much; undefined before its first answer */
  #offsetMs: number | undefined
  #now: () => number
  readonly #process = randomBytes(6).toString('base64url')
  #leases = 0

  /** @param now the process's clock: milliseconds since whenever, never set back */
  constructor (batch: Batch, now = () => performance.now()) {
    this.#batch = batch
    this.#now = now
  }

  /**
   * States what a request takes; it leaves with the tick. All of its counters grant it, or none.
   *
   * @returns the row that the request stands in, and its place there; {@link takenOf} tells what came of it
   */
  take (claim: Claim): { row: Row, place: number } {
    if (this.#tick !== this.#batch.tick) {
      this.#tick = this.#batch.tick
      this.#rows.clear()
    }
    let row = this.#rows.get(claim.name)
    if (row === undefined) this.#rows.set(claim.name, row = this.#open(claim))
    return { row, place: row.join() }
  }

  /** Looks, without taking anything. */
  async peek ({ keys, terms }: Omit<Claim, 'name'>): Promise<Taken> {
    const { standings } = await this.#ask(keys, [0, 0, ...terms.map(({ text }) => text)])
    return { isAllowed: standings.every(({ retryMs }) => retryMs === 0), standings }
  }

  /** Forgets what was counted under keys of one partition. */
  async reset (keys: readonly string[]): Promise<void> {
    await this.#batch.command('unlink', [...keys])
  }

  /** When an ask made now is too old to be heeded, by Redis's clock; 0 before its clock is known. */
  deadlineMs (): number {
    return this.#offsetMs === undefined ? 0 : Math.ceil(this.#now() + this.#offsetMs + patienceMs)
  }

  #open (claim: Claim): Row {
    const lease = claim.hasPlaces === true ? `${this.#process}.${++this.#leases}` : undefined
    return new Row(claim, lease, this.#now(), this.deadlineMs(), (keys, args) => this.#ask(keys, args))
  }

  async #ask (keys: readonly string[], args: (string | number)[]): Promise<Grants> {
    const askedAt = this.#now()
    const grants = await this.#batch.ask(take, keys, args)
    this.#offsetMs = grants.nowMs - askedAt
    return grants
  }
}

/** What the place of the request is called that stands at a place of a row. */
export function leaseOf (lease: string, place: number): string {
  return `${lease}.${place}`
}

/** What a row's answer means for the request at a place: who stood before others has seen more units left than they. */
export function takenOf ({ granted, standings }: Grants, place: number, terms: readonly Term[]): Taken {
  const after = granted - place
  if (after <= 0) return { isAllowed: after === 0, standings }
  return { isAllowed: true, standings: standings.map((each, index) => ({ ...each, remaining: each.remaining + after * (terms[index]?.cost ?? 0), retryMs: 0 })) }
}
