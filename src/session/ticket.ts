import { createHmac, randomBytes } from 'node:crypto'
import type { Keys } from '../redis/keys.ts'

/** One secret id, and the name that Redis and the user know it by. */
export interface Identity {
  /** 160 random bits */
  readonly id: Buffer
  /** the hash's field, and the device's public name: nobody gets from it to the id */
  readonly device: string
}

/** What a cookie names: a device of a user, or an anonymous visitor. Who holds one may be them; Redis holds none. */
export interface Ticket extends Identity {
  /** the user; undefined for an anonymous visitor */
  readonly userId: string | undefined
  /** the user's id, or an anonymous visitor's random name */
  readonly subject: string
  /** the hash in Redis */
  readonly key: string
  /** who it was before a rotation of which nobody knows whether it happened: one of both is alive */
  readonly earlier?: Identity | undefined
}

/** Whom a ticket is for. */
export type Bearer = Pick<Ticket, 'userId' | 'subject'>

/** Bytes of a raw id. */
export const idBytes = 20
/** Keeps these names apart from any other use of an id. A secret here would have to outlive every rotation of secrets, and 160 random bits need none. */
const pepper = 'fastify-prism session device'

/** A user as the bearer of a ticket. */
export function userBearer (userId: string): Bearer {
  return { userId, subject: userId }
}

/** A visitor without a name. */
export function anonymousBearer (): Bearer {
  return { userId: undefined, subject: randomBytes(12).toString('base64url') }
}

/** A ticket with a new id. */
export function newTicket (keys: Keys, bearer: Bearer): Ticket {
  return makeTicket(keys, bearer, randomBytes(idBytes))
}

/** The ticket with this id; see {@link Ticket}. */
export function makeTicket (keys: Keys, { userId, subject }: Bearer, id: Buffer, earlier?: Buffer): Ticket {
  return {
    ...identify(id),
    userId,
    subject,
    key: userId === undefined ? keys.anonymousSession(subject) : keys.userSession(userId),
    earlier: earlier && identify(earlier)
  }
}

/** All names under which a ticket's session may stand. */
export function devicesOf ({ device, earlier }: Ticket): string[] {
  return earlier === undefined ? [device] : [device, earlier.device]
}

function identify (id: Buffer): Identity {
  return { id, device: createHmac('sha256', pepper).update(id).digest('base64url').slice(0, 22) }
}
