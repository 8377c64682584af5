import { createHmac, randomBytes } from 'node:crypto'
import type { Keys } from '../redis/keys.ts'

/** What a cookie names: a device of a user, or an anonymous visitor. Who holds one may be them; Redis holds none. */
export interface Ticket {
  /** 160 random bits */
  readonly id: Buffer
  /** the user; undefined for an anonymous visitor */
  readonly userId: string | undefined
  /** the user's id, or an anonymous visitor's random name */
  readonly subject: string
  /** the hash in Redis */
  readonly key: string
  /** the hash's field, and the device's public name: nobody gets from it to the id */
  readonly device: string
}

/** Bytes of a raw id. */
export const idBytes = 20
/** Separates these names from every other use of the same id. A secret here would die with the secrets' rotation, and protect 160 random bits no better. */
const pepper = 'fastify-prism session device'

/** A new ticket for a user. */
export function newUserTicket (keys: Keys, userId: string): Ticket {
  return makeTicket(keys, randomBytes(idBytes), userId, userId)
}

/** A new ticket for a visitor without a name; `like`: the same visitor's next. */
export function newAnonymousTicket (keys: Keys, like?: Ticket): Ticket {
  return makeTicket(keys, randomBytes(idBytes), undefined, like?.subject ?? randomBytes(12).toString('base64url'))
}

/** The ticket with this id; see {@link Ticket}. */
export function makeTicket (keys: Keys, id: Buffer, userId: string | undefined, subject: string): Ticket {
  return {
    id,
    userId,
    subject,
    key: userId === undefined ? keys.anonymousSession(subject) : keys.userSession(userId),
    device: createHmac('sha256', pepper).update(id).digest('base64url').slice(0, 22)
  }
}
