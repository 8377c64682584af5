import { RedisUnavailableError, SessionEndedError } from '../shared/errors.ts'
import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import type { NewSession } from './new-session.ts'
import { Tombstones } from './tombstones.ts'
import type { SessionPolicy } from './options.ts'
import type { ReplyMonitor } from './reply-monitor.ts'
import { SaveQueue } from './save-queue.ts'
import type { Device } from './session.ts'
import { SessionStore } from './session-store.ts'
import type { EndedSession, LoadedSession, Newer } from './session-store.ts'
import { readSessionRecord } from './session-record.ts'
import { createdAtOf, deviceOf, fieldsOf, newToken } from './session-token.ts'
import type { Subject, SessionRef, SessionToken } from './session-token.ts'

/** Sessions of a user that were ended before their time; a rotation is none. */
export interface Revocation {
  readonly userId: string
  /** public names of the devices */
  readonly devices: readonly string[]
}

/** Hears of each revocation that this process has made, after Redis confirmed it. What it throws is logged, and changes nothing for the visitor. */
export type RevocationListener = (revocation: Revocation) => void

/** Sessions of any user, not only the visitor's. */
export interface Sessions {
  /** Where a user is signed in, the last seen first. */
  devices (userId: string): Promise<Device[]>
  /** Signs a user out everywhere: after a new password, or for a stolen device. @returns how many devices */
  revokeAll (userId: string): Promise<number>
  /** keys that the server has evicted since this process began: each may have been a session */
  readonly evictedKeys: number
  readonly counts: SessionCounts
  /** Calls the listener for each revocation made by this process. @returns stops it */
  onRevoked (listener: RevocationListener): () => void
}

/** How often which operation on sessions came to which end, since the start; `revoke` counts devices. */
export interface SessionCounts {
  readonly load: { found: number, none: number, failed: number }
  readonly save: SaveQueue['counts']
  readonly begin: { done: number, failed: number }
  readonly rotate: { done: number, gone: number }
  readonly revoke: { done: number }
}

/** A session that has just begun, or has just moved. */
export interface ActiveSession {
  readonly token: SessionToken
  readonly value: string
  readonly nowMs: number
}

/** All sessions as this process knows them: what every visit shares. */
export class SessionManager implements Sessions {
  readonly policy: SessionPolicy
  readonly keys: Keys
  readonly saveQueue: SaveQueue
  readonly tombstones: Tombstones
  readonly counts: SessionCounts
  /** told of changes and cookies, where replies carry them */
  readonly replyMonitor: ReplyMonitor | undefined
  evictedKeys = 0
  readonly #store: SessionStore
  readonly #onListenerError: (error: unknown) => void
  readonly #listeners = new Set<RevocationListener>()

  /** @param onListenerError told what a listener threw */
  constructor (policy: SessionPolicy, batch: Batch, keys: Keys, onListenerError: (error: unknown) => void = () => {}, replyMonitor?: ReplyMonitor) {
    this.policy = policy
    this.replyMonitor = replyMonitor
    this.#onListenerError = onListenerError
    this.keys = keys
    this.#store = new SessionStore(batch)
    this.saveQueue = new SaveQueue(this.#store, policy.onConflict)
    this.counts = { load: { found: 0, none: 0, failed: 0 }, save: this.saveQueue.counts, begin: { done: 0, failed: 0 }, rotate: { done: 0, gone: 0 }, revoke: { done: 0 } }
    this.tombstones = new Tombstones((key, fields) => this.#store.revoke(key, { which: 'these', names: fields }, 'background'))
  }

  async devices (userId: string): Promise<Device[]> {
    return await this.devicesAt(this.keys.userSession(userId))
  }

  async revokeAll (userId: string): Promise<number> {
    const key = this.keys.userSession(userId)
    return this.#ended({ key, userId }, await this.#store.revoke(key, { which: 'others', names: [] }))
  }

  onRevoked (listener: RevocationListener): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** The devices in one hash, the last seen first. */
  async devicesAt (key: string, current?: SessionRef): Promise<Device[]> {
    const devices = (await this.#store.list(key)).map((head) => readDevice(key, head, current))
    return devices.sort((one, other) => other.seenAt - one.seenAt)
  }

  /** Asks for the session that a ticket names; what comes of it is for {@link acceptLoad} or {@link missed}. */
  load (token: SessionToken): PendingReply<LoadedSession | undefined> {
    return this.#store.load(token)
  }

  /** What a load has found, where that lives; undefined when it does not (any more). A snapshot may have brought it back. */
  acceptLoad (token: SessionToken, loaded: LoadedSession | undefined): LoadedSession | undefined {
    const isLive = loaded !== undefined && !this.tombstones.has({ key: token.key, field: loaded.isEarlier ? token.previousId?.field ?? '' : token.field })
    this.counts.load[isLive ? 'found' : 'none'] += 1
    return isLive ? loaded : undefined
  }

  /** Notes a load that nothing came of. */
  missed (): void {
    this.counts.load.failed += 1
  }

  /** Begins a session under a new id; of the same user's sessions it may take the place of one. */
  async begin (subject: Subject, newSession: Omit<NewSession, 'replacedVersion'>): Promise<ActiveSession> {
    return await this.replace(subject, newSession) as ActiveSession
  }

  /** Begins a session in the place of one of the same user's, unless that was saved since it was read. */
  async replace (subject: Subject, newSession: NewSession): Promise<ActiveSession | Newer> {
    const token = newToken(this.keys, subject)
    try {
      const created = await this.#store.replace(token, newSession)
      if ('newer' in created) return created
      const { value, ended } = created
      const { createdAt, seenAt: nowMs } = readSessionRecord(value)
      this.#ended(token, ended)
      this.counts.begin.done += 1
      return { token: { ...token, createdAt }, value, nowMs }
    } catch (error) {
      this.counts.begin.failed += 1
      // It may have begun all the same. Nobody will ever hold its cookie, so it needs no grave: a flood of these would push those out that do.
      if (error instanceof RedisUnavailableError) this.tombstones.retryRevoke(token.key, token.field)
      throw error
    }
  }

  /** Replaces the document of a session that has just begun. */
  async rewrite (held: ActiveSession, document: string): Promise<ActiveSession> {
    const saved = await this.#store.save(held.token, readSessionRecord(held.value).version, document)
    if (saved.outcome === 'saved') return { ...held, value: saved.value }
    throw new SessionEndedError()
  }

  /** Keeps saves from a session while a sign-in carries its values to another one, if it was not saved since this version was read. */
  async mark (token: SessionToken, version: string): Promise<'marked' | 'gone' | Newer> {
    return await this.#store.mark(token, version)
  }

  /** Moves a session to a new id; undefined when it has ended. */
  async rotate (from: SessionToken, to: SessionToken): Promise<ActiveSession | undefined> {
    const rotated = await this.#store.rotate(from, to)
    this.counts.rotate[rotated === undefined ? 'gone' : 'done'] += 1
    if (rotated === undefined) return undefined
    const { value, nowMs } = rotated
    this.tombstones.add(from.key, from.field, readSessionRecord(value).absoluteEndAt - nowMs)
    return { token: to, value, nowMs }
  }

  /** Ends a visitor's own session, also where it has been rotated meanwhile; afterwards it is dead here, whatever Redis held. */
  async end (token: SessionToken): Promise<void> {
    this.#left(token, await this.#store.revoke(token.key, { which: 'these', names: [token.createdAt] }))
  }

  #left (token: SessionToken, ended: readonly EndedSession[] | undefined): void {
    this.#ended(token, ended)
    for (const field of fieldsOf(token)) if (!this.tombstones.has({ key: token.key, field })) this.tombstones.add(token.key, field, this.policy.absoluteMs)
  }

  /**
   * Ends a session that another one has taken the place of: now, or as soon as Redis can be asked.
   *
   * @param version where a save since this version was read matters
   * @returns what was saved since; then it has not ended
   */
  async endReplaced (token: SessionToken, version?: string): Promise<Newer | undefined> {
    try {
      const left = version === undefined ? await this.#store.revoke(token.key, { which: 'these', names: [token.createdAt] }) : await this.#store.leave(token, version)
      if (left !== undefined && 'newer' in left) return left
      this.#left(token, left)
    } catch {
      for (const field of fieldsOf(token)) this.tombstones.add(token.key, field, this.policy.absoluteMs)
      this.tombstones.retryRevoke(token.key, String(token.createdAt))
    }
  }

  /** Ends the device of the ticket's user with this public name. @returns whether it was alive */
  async endDevice (token: SessionToken, device: string): Promise<boolean> {
    const bornAt = createdAtOf(token.key, device)
    if (bornAt === undefined) return false
    return this.#ended(token, await this.#store.revoke(token.key, { which: 'these', names: [bornAt], actor: token.field })) > 0
  }

  /** Ends all devices of the ticket's user but its own. @returns how many */
  async endOthers (token: SessionToken): Promise<number> {
    return this.#ended(token, await this.#store.revoke(token.key, { which: 'others', names: [token.createdAt], actor: token.field }))
  }

  /** Remembers who was ended, tells who listens, and counts them. */
  #ended ({ key, userId }: Pick<SessionToken, 'key' | 'userId'>, ended: readonly EndedSession[] | undefined): number {
    if (ended === undefined) throw new SessionEndedError()
    this.counts.revoke.done += ended.length
    for (const { field, leftMs } of ended) this.tombstones.add(key, field, leftMs)
    if (userId === undefined || ended.length === 0) return ended.length
    const devices = ended.map(({ createdAt }) => deviceOf({ key, createdAt }))
    this.#tell({ userId, devices })
    return ended.length
  }

  #tell (revocation: Revocation): void {
    for (const listener of this.#listeners) {
      try {
        listener(revocation)
      } catch (error) {
        this.#onListenerError(error)
      }
    }
  }
}

function readDevice (key: string, head: string, current: SessionRef | undefined): Device {
  const { label, createdAt, seenAt, idleEndAt } = readSessionRecord(head)
  return { id: deviceOf({ key, createdAt }), label, isCurrent: createdAt === current?.createdAt, createdAt, seenAt, endsAt: idleEndAt }
}
