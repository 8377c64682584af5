import { SessionConflictError } from '../errors.ts'
import type { Beginning } from './beginning.ts'
import type { Document } from './document.ts'
import type { Held, House } from './house.ts'
import { readStored } from './stored.ts'
import type { Bearer, Ticket } from './ticket.ts'

/** A stored session that a sign-in takes the place of, as its request has left it. */
export interface Predecessor {
  readonly ticket: Ticket
  /** the stored value that the document was read from */
  readonly value: string
  readonly document: Document
}

type Lifetime = Omit<Beginning, 'document' | 'replaced' | 'replacedVersion'>

/** A sign-in that meets so many saves of other requests gives up. */
const triesLimit = 100

/**
 * Begins a session that carries values of the one before, and ends that one. Every save of another request that was confirmed before the end is
 * carried too: the end is refused when there was a save since the values were read, and then they are read again.
 *
 * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: no user is signed in
 */
export async function carryOver (house: House, from: Predecessor, bearer: Bearer, lifetime: Lifetime, names: readonly string[]): Promise<Held> {
  const carried = (value: string): Beginning => ({ ...lifetime, document: from.document.carry(names, readStored(value).document, house.policy.keys).toText() })
  return bearer.userId === from.ticket.userId ? await replace(house, from, bearer, carried) : await move(house, from, bearer, carried)
}

/** What the new session begins with where this is stored of the one before. */
type Carried = (value: string) => Beginning

/** Of one user: both sessions are in one slot, and one script replaces the one by the other. */
async function replace (house: House, { ticket, value }: Predecessor, bearer: Bearer, carried: Carried): Promise<Held> {
  for (let tries = 0; tries < triesLimit; tries++) {
    const begun = await house.replace(bearer, { ...carried(value), replaced: ticket.bornAt, replacedVersion: readStored(value).version })
    if (!('newer' in begun)) return begun
    value = begun.newer
  }
  throw new SessionConflictError('it')
}

/** Of different users, in different slots. While the one is marked, nothing is saved to it; should the mark lapse before it has ended, its version tells. */
async function move (house: House, { ticket, value }: Predecessor, bearer: Bearer, carried: Carried): Promise<Held> {
  let held: Held | undefined
  try {
    for (let tries = 0; tries < triesLimit; tries++) {
      const beginning = carried(value)
      const { version } = readStored(value)
      const marked = await house.mark(ticket, version)
      if (typeof marked === 'object') {
        value = marked.newer
        continue
      }
      held = held === undefined ? await house.begin(bearer, beginning) : await house.rewrite(held, beginning.document)
      const left = await house.leaveBehind(ticket, marked === 'gone' ? undefined : version)
      if (left === undefined) return held
      value = left.newer
    }
    throw new SessionConflictError('it')
  } catch (error) {
    // Its cookie is given to no client.
    if (held !== undefined) house.graves.owe(held.ticket.key, held.ticket.field)
    throw error
  }
}
