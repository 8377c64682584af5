import { Answer } from '../redis/answer.ts'
import type { Hearer } from '../redis/answer.ts'
import type { Argument } from '../redis/packet.ts'
import type { Ask } from '../redis/parcel.ts'
import { tooLate } from './grants.ts'
import type { Grants } from './grants.ts'
import type { Term } from './quota.ts'

/** What is asked of Redis for one request. */
export interface Claim {
  /** what the name is unique in; left out: in all that leave it out */
  readonly scope?: object
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

/** When a tick's asks were made: the first of them, for they leave together. */
export interface Moment {
  /** on the process's clock */
  readonly askedAt: number
  /** when they are too old to be heeded, by Redis's */
  readonly deadlineMs: number
}

/** The way to Redis, and who hears what came back. */
export interface Wire {
  ask (keys: readonly string[], args: readonly Argument[]): Ask<Grants>
  heard (grants: Grants, askedAt: number): void
}

/** All identical requests of a tick, which are one ask. */
export class Row extends Answer<Grants> implements Hearer<Grants> {
  /** what the places are called that are granted; undefined where none is asked for */
  readonly lease: string | undefined
  readonly #moment: Moment
  readonly #wire: Wire
  readonly #ask: Ask<Grants>
  #size = 0
  #isAskedAgain = false

  /** @param args how many ask, the deadline, the terms: those of one request, and perhaps of others that ask for themselves */
  constructor ({ keys, session }: Claim, args: readonly Argument[], lease: string | undefined, moment: Moment, wire: Wire) {
    super()
    this.lease = lease
    this.#moment = moment
    this.#wire = wire
    this.#ask = wire.ask(session === undefined ? keys : [...keys, session.key], args)
    this.#ask.hear(this)
  }

  /** On the process's clock. */
  get askedAt (): number {
    return this.#moment.askedAt
  }

  /** The arguments leave at the end of the tick: until then one more may join. Returns its place, from 1. */
  join (): number {
    this.#size += 1
    // Until then they may be those of other rows too.
    if (this.#size > 1) this.#ask.args = this.#ask.args.with(0, this.#size)
    return this.#size
  }

  answered (grants: Grants): void {
    if (!this.#isAskedAgain) this.#wire.heard(grants, this.askedAt)
    // Too late though it was waited for: Redis's clock was set forward, or it is another Redis. Then without a deadline.
    if (grants.granted !== tooLate || this.#isAskedAgain) return this.resolve(grants)
    this.#isAskedAgain = true
    const [asked = 1, , ...rest] = this.#ask.args
    this.#wire.ask(this.#ask.keys, [asked, 0, ...rest]).hear(this)
  }

  failed (error: Error): void {
    this.reject(error)
  }
}

/** What the place of the request is called that stands at a place of a row. */
export function leaseOf (lease: string, place: number): string {
  return `${lease}.${place}`
}
