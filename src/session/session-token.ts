import { createHmac, hash, randomBytes } from 'node:crypto'
import type { ScriptArgs } from '../redis/batch/script-call.ts'
import type { Keys } from '../redis/keys.ts'

/** A secret session ID and the hash field derived from it. */
interface TokenId {
  /** 160 random bits in base64url. A string, because a slice of a buffer retains the whole buffer */
  readonly id: string
  /** field of the Redis hash, an HMAC of the ID: the ID cannot be derived from it */
  readonly field: string
}

/** The bearer token in a session cookie, for one device of a user or for an anonymous client. Redis does not store it. */
export interface SessionToken extends TokenId {
  /** undefined for an anonymous session */
  readonly userId: string | undefined
  /** the user ID, or a random name for an anonymous session */
  readonly subject: string
  /** key of the Redis hash */
  readonly key: string
  /** time of creation by Redis's clock, in ms since 1970. Unique per subject, and unchanged by a rotation */
  readonly createdAt: number
  /** ID before a rotation whose outcome is unknown: the session exists under one of the two IDs */
  readonly previousId?: TokenId | undefined
  /** set by the session store for the token that it names */
  loadArgs?: ScriptArgs & { readonly token: SessionToken } | undefined
}

/** The user or the anonymous client that a token identifies. */
export type Subject = Pick<SessionToken, 'userId' | 'subject'>

/** Identifies a session independently of its current ID. */
export type SessionRef = Pick<SessionToken, 'key' | 'createdAt'>

/** Size of a raw ID in bytes. */
export const idBytes = 20
/** Domain separation for the HMAC. A constant is enough: the ID has 160 random bits, and a secret here would have to survive every rotation of secrets. */
const pepper = 'fastify-prism session device'

/** The subject of a signed-in user. */
export function userSubject (userId: string): Subject {
  return { userId, subject: userId }
}

/** A new anonymous subject with a random name. */
export function anonymousSubject (): Subject {
  return { userId: undefined, subject: randomBytes(12).toString('base64url') }
}

/** A token with a new random ID, for a new session or for a rotation. */
export function newToken (keys: Keys, subject: Subject, createdAt = 0): SessionToken {
  return makeToken(keys, subject, { createdAt, id: randomBytes(idBytes).toString('base64url') })
}

/** Builds a {@link SessionToken} from its parts. */
export function makeToken (keys: Keys, { userId, subject }: Subject, { createdAt, id, previousId }: { createdAt: number, id: string, previousId?: string | undefined }): SessionToken {
  return {
    ...identify(id),
    userId,
    subject,
    createdAt,
    key: userId === undefined ? keys.anonymousSession(subject) : keys.userSession(userId),
    previousId: previousId === undefined ? undefined : identify(previousId),
    loadArgs: undefined
  }
}

/** The hash fields under which the session of a token may be stored. */
export function fieldsOf ({ field, previousId }: SessionToken): string[] {
  return previousId === undefined ? [field] : [field, previousId.field]
}

/** Public ID of a session: globally unique, unchanged by a rotation, and not usable as a credential. */
export function deviceOf ({ key, createdAt }: SessionRef): string {
  return `${createdAt.toString(36)}-${hash('sha256', key, 'base64url').slice(0, 14)}`
}

/** Reads the creation time from a public device ID; undefined if the ID does not belong to this hash. */
export function createdAtOf (key: string, device: string): number | undefined {
  const createdAt = Number.parseInt(device, 36)
  return deviceOf({ key, createdAt }) === device ? createdAt : undefined
}

function identify (id: string): TokenId {
  return { id, field: createHmac('sha256', pepper).update(id, 'base64url').digest('base64url').slice(0, 22) }
}
