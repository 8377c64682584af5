import { createHmac, hash, randomBytes } from 'node:crypto'
import type { Keys } from '../redis/keys.ts'

/** One secret id, and the name that Redis knows it by. */
export interface TokenId {
  /** 160 random bits, base64url: a string, for a slice of a buffer would hold the whole of it */
  readonly id: string
  /** the hash's field: nobody gets from it to the id */
  readonly field: string
}

/** What a cookie names: a device of a user, or an anonymous visitor. Who holds one may be them; Redis holds none. */
export interface SessionToken extends TokenId {
  /** the user; undefined for an anonymous visitor */
  readonly userId: string | undefined
  /** the user's id, or an anonymous visitor's random name */
  readonly subject: string
  /** the hash in Redis */
  readonly key: string
  /** when the session was created, by Redis's clock: no two of one bearer are the same, and a rotation changes nothing of it */
  readonly createdAt: number
  /** who it was before a rotation of which nobody knows whether it happened: one of both is alive */
  readonly previousId?: TokenId | undefined
}

/** Whom a ticket is for. */
export type Subject = Pick<SessionToken, 'userId' | 'subject'>

/** One session of a bearer, whatever its id is now. */
export type SessionRef = Pick<SessionToken, 'key' | 'createdAt'>

/** Bytes of a raw id. */
export const idBytes = 20
/** Keeps these names apart from any other use of an id. A secret here would have to outlive every rotation of secrets, and 160 random bits need none. */
const pepper = 'fastify-prism session device'

/** A user as the bearer of a ticket. */
export function userSubject (userId: string): Subject {
  return { userId, subject: userId }
}

/** A visitor without a name. */
export function anonymousSubject (): Subject {
  return { userId: undefined, subject: randomBytes(12).toString('base64url') }
}

/** A ticket with a new id: for a session that is not born yet, or for one that gets another. */
export function newToken (keys: Keys, subject: Subject, bornAt = 0): SessionToken {
  return makeToken(keys, subject, { bornAt, id: randomBytes(idBytes).toString('base64url') })
}

/** The ticket with this id; see {@link SessionToken}. */
export function makeToken (keys: Keys, { userId, subject }: Subject, { bornAt, id, earlier }: { bornAt: number, id: string, earlier?: string | undefined }): SessionToken {
  return {
    ...identify(id),
    userId,
    subject,
    createdAt: bornAt,
    key: userId === undefined ? keys.anonymousSession(subject) : keys.userSession(userId),
    previousId: earlier === undefined ? undefined : identify(earlier)
  }
}

/** All fields in which a ticket's session may stand. */
export function fieldsOf ({ field, previousId }: SessionToken): string[] {
  return previousId === undefined ? [field] : [field, previousId.field]
}

/** A session's public name: unique among all, the same after a rotation, and good for nothing but naming it. */
export function deviceOf ({ key, createdAt }: SessionRef): string {
  return `${createdAt.toString(36)}-${hash('sha256', key, 'base64url').slice(0, 14)}`
}

/** When the session with this public name was born; undefined when it is none of this bearer's. */
export function createdAtOf (key: string, device: string): number | undefined {
  const bornAt = Number.parseInt(device, 36)
  return deviceOf({ key, createdAt: bornAt }) === device ? bornAt : undefined
}

function identify (id: string): TokenId {
  return { id, field: createHmac('sha256', pepper).update(id, 'base64url').digest('base64url').slice(0, 22) }
}
