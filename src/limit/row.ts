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
  ask (keys: readonly string[], args: (string | number)[]): Promise<Grants>
  heard (grants: Grants, askedAt: number): void
}

/** All identical requests of a tick, which are one ask. */
export class Row {
  /** on the process's clock */
  readonly askedAt: number
  readonly grants: Promise<Grants>
  /** what the places are called that are granted; undefined where none is asked for */
  readonly lease: string | undefined
  #args: (string | number)[]

  constructor ({ keys, terms, session }: Claim, lease: string | undefined, { askedAt, deadlineMs }: Moment, wire: Wire) {
    this.askedAt = askedAt
    this.lease = lease
    const args: (string | number)[] = this.#args = [0, deadlineMs]
    for (const { text } of terms) args.push(text)
    if (session !== undefined) args.push(`l ${session.devices.join(' ')}`)
    if (lease !== undefined) args.push(`i ${lease}`)
    const all = session === undefined ? keys : [...keys, session.key]
    this.grants = wire.ask(all, args).then((grants) => {
      wire.heard(grants, askedAt)
      // Too late though it was waited for: Redis's clock was set forward, or it is another Redis. Then without a deadline.
      return grants.granted === tooLate ? wire.ask(all, [args[0] ?? 1, 0, ...args.slice(2)]) : grants
    })
  }

  /** The arguments leave at the end of the tick: until then one more may join. Returns its place, from 1. */
  join (): number {
    const place = Number(this.#args[0]) + 1
    this.#args[0] = place
    return place
  }
}

/** What the place of the request is called that stands at a place of a row. */
export function leaseOf (lease: string, place: number): string {
  return `${lease}.${place}`
}
