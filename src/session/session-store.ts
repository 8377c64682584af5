import { setTimeout as sleep } from 'node:timers/promises'
import { SessionCorruptError, SessionUnavailableError } from '../shared/errors.ts'
import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Batch, Priority } from '../redis/batch/batch.ts'
import { Script } from '../redis/batch/script.ts'
import type { NewSession } from './new-session.ts'
import { writeLabel } from './session-record.ts'
import { fieldsOf } from './session-token.ts'
import type { SessionRef, SessionToken } from './session-token.ts'

/** A live session as a load found it. */
export interface LoadedSession {
  readonly value: string
  /** when this load noted that the session was seen, by Redis's clock, milliseconds since 1970; undefined where it did not */
  readonly touchedAt: number | undefined
  /** it stands under the ticket's earlier id */
  readonly isEarlier: boolean
}

/** A session that was ended, and how long it could have lived. */
export interface EndedSession {
  readonly field: string
  readonly createdAt: number
  readonly leftMs: number
}

/** Which sessions of one bearer shall end. */
export interface RevokeSelector {
  readonly which: 'these' | 'others'
  readonly names: readonly (string | number)[]
  readonly actor?: string
}

/** What became of a save: `gone` when the session has ended, `conflict` with what another request saved. */
export type Saved = { outcome: 'saved' | 'conflict', value: string } | { outcome: 'gone' }

/** A session that has begun, and those that were ended with it. */
export interface Created {
  readonly value: string
  readonly ended: readonly EndedSession[]
}

/** What another request has saved since a session was read: the stored value. */
export interface Newer { readonly newer: string }

/** A sign-in carries the session's values to another one. */
type Moving = 'moving'

/** A user has at most so many devices. */
const deviceLimit = 10
/**
 * A version grows by a random step of at most this. After Redis has come back with an older snapshot, other saves would otherwise count up to
 * a version that a request has read before, and that request's save would replace theirs. Doubles order the versions of 2^33 saves.
 */
const longestStep = 2 ** 20
/** How long a session is marked as moving: longer than the sign-in that moves it waits for Redis. Where its process dies, the session goes on after that. */
const markMs = 2000
/** What meets a session that moves asks again after so long. */
const movingRetryMs = 25
/** A visit is noted at most so often. */
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
 * How Redis keeps sessions: a hash a user, a field a device. Every method is one round trip.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE from each of them; what was asked may have run all the same
 */
export class SessionStore {
  readonly #batch: Batch
  /** a Map a tick: one that is cleared leads from its old table to its new one, and in V8 what an old table held lives as long */
  #loading = new Map<SessionToken, PendingReply<LoadedSession | undefined>>()

  constructor (batch: Batch) {
    this.#batch = batch
  }

  /** Reads a live session; loads of one ticket in one tick are one: a later request must see what happened meanwhile. It writes at most once a minute. */
  load (token: SessionToken): PendingReply<LoadedSession | undefined> {
    const shared = this.#loading.get(token)
    if (shared !== undefined) return shared
    // Forgotten before the next socket is read: nobody's session stays in memory until somebody comes again.
    if (this.#loading.size === 0) setImmediate(() => { this.#loading = new Map() })
    const loading = this.#batch.enqueueScript(loadScript, [token.key], [touchMs, ...fieldsOf(token)])
    this.#loading.set(token, loading)
    return loading
  }

  /** Begins a session; `ended` are those that made room. */
  async create (token: SessionToken, newSession: Omit<NewSession, 'replacedVersion'>): Promise<Created> {
    return await this.replace(token, newSession) as Created
  }

  /** Begins a session in the place of another one, unless that was saved since it was read: then nothing has begun. */
  replace (token: SessionToken, { idleMs, absoluteMs, label, document, replaced = 0, replacedVersion = '' }: NewSession): Promise<Created | Newer> {
    return this.#batch.runScript(createScript, [token.key], [token.field, idleMs, absoluteMs, writeLabel(label), document, deviceLimit, replaced, touchMs, replacedVersion])
  }

  /** Replaces the document if it still has this version. A session that moves is waited for. */
  save (token: SessionToken, version: string, document: string): Promise<Saved> {
    return unlessMoving(() => this.#batch.runScript(saveScript, [token.key], [token.field, version, document, touchMs, 1 + Math.floor(Math.random() * longestStep)]))
  }

  /** Moves a session to a new id of the same subject; undefined when it has ended. A session that moves to another subject is waited for. */
  rotate (from: SessionToken, to: SessionToken): Promise<{ value: string, nowMs: number } | undefined> {
    return unlessMoving(() => this.#batch.runScript(rotateScript, [from.key], [from.field, to.field]))
  }

  /** Keeps saves and rotations from a session for a moment, if it still has this version. */
  mark ({ key, createdAt }: SessionRef, version: string): Promise<'marked' | 'gone' | Newer> {
    return this.#batch.runScript(markScript, [key], [createdAt, version, markMs])
  }

  /**
   * Ends sessions of one bearer: `these`, or all `others`, each named by its field, or by when it was born.
   *
   * @param actor the field of who does it, when somebody's session does: if that has been ended meanwhile, nothing is
   * @returns those that were ended; undefined when the actor's had been
   */
  async revoke (key: string, { which, names, actor = '' }: RevokeSelector, priority?: Priority): Promise<EndedSession[] | undefined> {
    return await this.#batch.runScript(revokeScript, [key], [which, actor, '', ...names], priority) as EndedSession[] | undefined
  }

  /** Ends a session if it still has this version. */
  async leave ({ key, createdAt }: SessionRef, version: string): Promise<EndedSession[] | Newer> {
    return await this.#batch.runScript(revokeScript, [key], ['these', '', version, createdAt]) as EndedSession[] | Newer
  }

  /** What stands before the document of each live session of one bearer. */
  list (key: string): Promise<string[]> {
    return this.#batch.runScript(listScript, [key], [])
  }
}

/** @throws {SessionUnavailableError} PRISM_ERR_SESSION_UNAVAILABLE where sign-ins mark a session again and again */
async function unlessMoving<Found> (ask: () => Promise<Found | Moving>): Promise<Found> {
  for (let waitedMs = 0; waitedMs <= 2 * markMs; waitedMs += movingRetryMs) {
    const found = await ask()
    if (found !== 'moving') return found as Found
    await sleep(movingRetryMs)
  }
  throw new SessionUnavailableError('a sign-in moves it')
}

function readEnded (reply: Reply): EndedSession[] {
  return Array.from({ length: reply.length / 3 }, (_, index) => {
    const [field, createdAt, leftMs] = reply.slice(3 * index)
    return { field: String(field), createdAt: Number(createdAt), leftMs: Number(leftMs) }
  })
}
