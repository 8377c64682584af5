import { setTimeout as sleep } from 'node:timers/promises'
import { SessionCorruptError, SessionUnavailableError } from '../shared/errors.ts'
import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Batch, Priority } from '../redis/batch/batch.ts'
import type { ScriptArgs } from '../redis/batch/script-call.ts'
import { Script } from '../redis/batch/script.ts'
import type { NewSession } from './new-session.ts'
import { writeLabel } from './session-record.ts'
import { fieldsOf } from './session-token.ts'
import type { SessionRef, SessionToken } from './session-token.ts'

/** A loaded live session. */
export interface LoadedSession {
  readonly value: string
  /** time at which this load updated `seenAt`: milliseconds since 1970 by Redis's clock; undefined if it did not */
  readonly touchedAt: number | undefined
  /** it is stored under the token's previous ID */
  readonly isEarlier: boolean
}

/** An ended session and its remaining lifetime in ms. */
export interface EndedSession {
  readonly field: string
  readonly createdAt: number
  readonly leftMs: number
}

/** Selects the sessions of one subject to end. */
interface RevokeSelector {
  readonly which: 'these' | 'others'
  readonly names: readonly (string | number)[]
  readonly actor?: string
}

/** Outcome of a save: `gone` if the session has ended, `conflict` with the value that another request has saved. */
type Saved = { outcome: 'saved' | 'conflict', value: string } | { outcome: 'gone' }

/** A created session and the sessions ended by its creation. */
interface Created {
  readonly value: string
  readonly ended: readonly EndedSession[]
}

/** The stored value, which another request has saved since the session was read. */
export interface Newer { readonly newer: string }

/** A sign-in is copying the session's values to another session. */
type Moving = 'moving'

/** Maximum number of sessions of a user. */
const deviceLimit = 10
/**
 * Maximum random increment of a version. With fixed steps, saves after a restored snapshot could reach a version that a request has read before,
 * and that request's save would overwrite them. Doubles order the versions of 2^33 saves exactly.
 */
const maxVersionStep = 2 ** 20
/** How long a session is marked as moving: longer than the Redis timeout of the sign-in. If its process dies, the session is usable again afterwards. */
const moveLockMs = 2000
/** Interval of retries while a session is moving. */
const movingRetryMs = 25
/** Minimum interval between updates of `seenAt`. */
const touchMs = 60_000

type Reply = readonly (string | number)[]

const loadScript = new Script<LoadedSession | undefined>({
  url: new URL('./load.lua', import.meta.url),
  costMicroseconds: 5,
  read: (reply) => {
    if (reply === null || reply === false) return undefined
    if (reply === 'corrupt') throw new SessionCorruptError()
    const text = reply as string
    if (text[0] !== '+') return { value: text, touchedAt: undefined, isEarlier: false }
    return { value: text.slice(16), touchedAt: text[14] === '1' ? Number(text.slice(1, 14)) : undefined, isEarlier: text[15] === '1' }
  }
})

const saveScript = new Script<Saved | Moving>({
  url: new URL('./save.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => {
    const [outcome, value] = reply as Reply
    if (outcome === 'corrupt') throw new SessionCorruptError()
    if (outcome === 'moving') return outcome
    return outcome === 'gone' ? { outcome } : { outcome: outcome === 'saved' ? 'saved' : 'conflict', value: String(value) }
  }
})

const createScript = new Script<Created | Newer>({
  url: new URL('./create.lua', import.meta.url),
  costMicroseconds: 30,
  read: (reply) => {
    const [value, ...ended] = reply as Reply
    if (value === 'conflict') return { newer: String(ended[0]) }
    return { value: String(value), ended: readEnded(ended) }
  }
})

const rotateScript = new Script<{ value: string, nowMs: number } | Moving | undefined>({
  url: new URL('./rotate.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => {
    const [outcome, value, nowMs] = reply as Reply
    if (outcome === 'corrupt') throw new SessionCorruptError()
    if (outcome === 'moving') return outcome
    return outcome === 'gone' ? undefined : { value: String(value), nowMs: Number(nowMs) }
  }
})

const revokeScript = new Script<EndedSession[] | Newer | undefined>({
  url: new URL('./revoke.lua', import.meta.url),
  costMicroseconds: 20,
  read: (reply) => {
    if (!Array.isArray(reply)) return undefined
    return reply[0] === 'conflict' ? { newer: String(reply[1]) } : readEnded(reply as Reply)
  }
})

const markScript = new Script<'marked' | 'gone' | Newer>({
  url: new URL('./mark-moving.lua', import.meta.url),
  costMicroseconds: 20,
  read: (reply) => {
    const [outcome, value] = reply as Reply
    return outcome === 'conflict' ? { newer: String(value) } : outcome as 'marked' | 'gone'
  }
})

const listScript = new Script<string[]>({
  url: new URL('./list.lua', import.meta.url),
  costMicroseconds: 20,
  read: (reply) => reply as string[]
})

/**
 * Stores sessions in Redis: one hash per user, one field per device. Every method is one round trip.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE from each method; the operation may have been executed
 */
export class SessionStore {
  readonly #batch: Batch
  /** a new Map per tick: in V8, a cleared Map's old table and its contents stay reachable from the new one */
  #loading = new Map<SessionToken, PendingReply<LoadedSession | undefined>>()

  constructor (batch: Batch) {
    this.#batch = batch
  }

  /** Loads a live session. Loads of one token in one tick share a command; later loads must see later writes. Writes at most once a minute. */
  load (token: SessionToken): PendingReply<LoadedSession | undefined> {
    const shared = this.#loading.get(token)
    if (shared !== undefined) return shared
    // Cleared before the next socket is read, so that no session stays in memory until the next request.
    if (this.#loading.size === 0) setImmediate(() => { this.#loading = new Map() })
    const { keys, args } = loadArgsOf(token)
    const loading = this.#batch.enqueueScript(loadScript, keys, args)
    this.#loading.set(token, loading)
    return loading
  }

  /** Creates a session; `ended` are the sessions removed because of the device limit. */
  async create (token: SessionToken, newSession: Omit<NewSession, 'replacedVersion'>): Promise<Created> {
    return await this.replace(token, newSession) as Created
  }

  /** Creates a session that replaces another one; creates nothing if that was saved since it was read. */
  replace (token: SessionToken, { idleMs, absoluteMs, label, document, replaced = 0, replacedVersion = '' }: NewSession): Promise<Created | Newer> {
    return this.#batch.runScript(createScript, [token.key], [token.field, idleMs, absoluteMs, writeLabel(label), document, deviceLimit, replaced, touchMs, replacedVersion])
  }

  /** Replaces the document if the version is unchanged. Waits while the session is moving. */
  save (token: SessionToken, version: string, document: string): Promise<Saved> {
    return retryWhileMoving(() => this.#batch.runScript(saveScript, [token.key], [token.field, version, document, touchMs, 1 + Math.floor(Math.random() * maxVersionStep)]))
  }

  /** Moves a session to a new ID of the same subject; undefined if it has ended. Waits while the session is moving to another subject. */
  rotate (from: SessionToken, to: SessionToken): Promise<{ value: string, nowMs: number } | undefined> {
    return retryWhileMoving(() => this.#batch.runScript(rotateScript, [from.key], [from.field, to.field]))
  }

  /** Blocks saves and rotations of a session for 2 s, if the version is unchanged. */
  markMoving ({ key, createdAt }: SessionRef, version: string): Promise<'marked' | 'gone' | Newer> {
    return this.#batch.runScript(markScript, [key], [createdAt, version, moveLockMs])
  }

  /**
   * Ends sessions of one subject: `these`, or all `others`. Each is identified by its field or its creation time.
   *
   * @param actor field of the session that requests the revocation; if it has ended meanwhile, nothing is revoked
   * @returns the ended sessions; undefined if the actor's session has ended
   */
  async revoke (key: string, { which, names, actor = '' }: RevokeSelector, priority?: Priority): Promise<EndedSession[] | undefined> {
    return await this.#batch.runScript(revokeScript, [key], [which, actor, '', ...names], priority) as EndedSession[] | undefined
  }

  /** Ends a session if the version is unchanged. */
  async revokeVersion ({ key, createdAt }: SessionRef, version: string): Promise<EndedSession[] | Newer> {
    return await this.#batch.runScript(revokeScript, [key], ['these', '', version, createdAt]) as EndedSession[] | Newer
  }

  /** Returns the stored metadata of each live session of one subject, without documents. */
  list (key: string): Promise<string[]> {
    return this.#batch.runScript(listScript, [key], [])
  }
}

/** Keys and arguments of the script that loads a session: most clients send the same cookie, and so the same token, many times. */
function loadArgsOf (token: SessionToken): ScriptArgs {
  // A copy of a token, with another ID, has the arguments of the original.
  if (token.loadArgs?.token !== token) token.loadArgs = { token, keys: [token.key], args: [touchMs, ...fieldsOf(token)] }
  return token.loadArgs
}

/** @throws {SessionUnavailableError} PRISM_ERR_SESSION_UNAVAILABLE if sign-ins keep marking a session */
async function retryWhileMoving<Found> (operation: () => Promise<Found | Moving>): Promise<Found> {
  for (let waitedMs = 0; waitedMs <= 2 * moveLockMs; waitedMs += movingRetryMs) {
    const found = await operation()
    if (found !== 'moving') return found as Found
    await sleep(movingRetryMs)
  }
  throw new SessionUnavailableError('a sign-in is moving the session')
}

function readEnded (reply: Reply): EndedSession[] {
  return Array.from({ length: reply.length / 3 }, (_, index) => {
    const [field, createdAt, leftMs] = reply.slice(3 * index)
    return { field: String(field), createdAt: Number(createdAt), leftMs: Number(leftMs) }
  })
}
