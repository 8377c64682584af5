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

/** Sessions of a user that were ended before they expired. A rotation is not a revocation. */
export interface Revocation {
  readonly userId: string
  /** public device IDs */
  readonly devices: readonly string[]
}

/** Called for each revocation by this process, after Redis has confirmed it. An exception is logged and does not affect the request. */
type RevocationListener = (revocation: Revocation) => void

/** Manages the sessions of any user. */
export interface Sessions {
  /** Lists the devices of a user, most recently seen first. */
  devices (userId: string): Promise<Device[]>
  /** Ends all sessions of a user, for example after a password change. @returns the number of ended sessions */
  revokeAll (userId: string): Promise<number>
  /** keys evicted by the Redis server since the start of this process; each may have been a session */
  readonly evictedKeys: number
  readonly counts: SessionCounts
  /** Registers a listener for revocations by this process. @returns a function that removes it */
  onRevoked (listener: RevocationListener): () => void
}

/** Outcomes of session operations since the start; `revoke` counts sessions. */
interface SessionCounts {
  readonly load: { found: number, none: number, failed: number }
  readonly save: SaveQueue['counts']
  readonly begin: { done: number, failed: number }
  readonly rotate: { done: number, gone: number }
  readonly revoke: { done: number }
}

/** A session that was just created or rotated. */
export interface ActiveSession {
  readonly token: SessionToken
  readonly value: string
  readonly nowMs: number
}

/** The session operations and state that all requests of this process share. */
export class SessionManager implements Sessions {
  readonly policy: SessionPolicy
  readonly keys: Keys
  readonly saveQueue: SaveQueue
  readonly tombstones: Tombstones
  readonly counts: SessionCounts
  /** set if sessions are saved with replies */
  readonly replyMonitor: ReplyMonitor | undefined
  evictedKeys = 0
  readonly #store: SessionStore
  readonly #onListenerError: (error: unknown) => void
  readonly #listeners = new Set<RevocationListener>()

  /** @param onListenerError called with what a listener throws */
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
    return this.#recordRevoked({ key, userId }, await this.#store.revoke(key, { which: 'others', names: [] }))
  }

  onRevoked (listener: RevocationListener): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** Lists the devices in one hash, most recently seen first. */
  async devicesAt (key: string, current?: SessionRef): Promise<Device[]> {
    const devices = (await this.#store.list(key)).map((head) => readDevice(key, head, current))
    return devices.sort((one, other) => other.seenAt - one.seenAt)
  }

  /** Enqueues the load of a session; pass the outcome to {@link acceptLoad} or {@link countFailedLoad}. */
  load (token: SessionToken): PendingReply<LoadedSession | undefined> {
    return this.#store.load(token)
  }

  /** Returns a loaded session, or undefined if it does not exist or has a tombstone: a restored snapshot may contain ended sessions. */
  acceptLoad (token: SessionToken, loaded: LoadedSession | undefined): LoadedSession | undefined {
    const isLive = loaded !== undefined && (this.tombstones.isEmpty || !this.tombstones.has({ key: token.key, field: loaded.isEarlier ? token.previousId?.field ?? '' : token.field }))
    this.counts.load[isLive ? 'found' : 'none'] += 1
    return isLive ? loaded : undefined
  }

  /** Counts a failed load. */
  countFailedLoad (): void {
    this.counts.load.failed += 1
  }

  /** Creates a session with a new ID; optionally replaces one session of the same user. */
  async create (subject: Subject, newSession: Omit<NewSession, 'replacedVersion'>): Promise<ActiveSession> {
    return await this.replace(subject, newSession) as ActiveSession
  }

  /** Creates a session that replaces one of the same user, unless that was saved since it was read. */
  async replace (subject: Subject, newSession: NewSession): Promise<ActiveSession | Newer> {
    const token = newToken(this.keys, subject)
    try {
      const created = await this.#store.replace(token, newSession)
      if ('newer' in created) return created
      const { value, ended } = created
      const { createdAt, seenAt: nowMs } = readSessionRecord(value)
      this.#recordRevoked(token, ended)
      this.counts.begin.done += 1
      return { token: { ...token, createdAt }, value, nowMs }
    } catch (error) {
      this.counts.begin.failed += 1
      // It may have been created. No client receives its cookie, so it needs no tombstone: a flood of these would evict the tombstones that are needed.
      if (error instanceof RedisUnavailableError) this.tombstones.retryRevoke(token.key, token.field)
      throw error
    }
  }

  /** Replaces the document of a session that was just created. */
  async replaceDocument (active: ActiveSession, document: string): Promise<ActiveSession> {
    const saved = await this.#store.save(active.token, readSessionRecord(active.value).version, document)
    if (saved.outcome === 'saved') return { ...active, value: saved.value }
    throw new SessionEndedError()
  }

  /** Blocks saves of a session while a sign-in copies its values, unless it was saved since this version was read. */
  async markMoving (token: SessionToken, version: string): Promise<'marked' | 'gone' | Newer> {
    return await this.#store.markMoving(token, version)
  }

  /** Moves a session to a new ID; undefined if it has ended. */
  async rotate (from: SessionToken, to: SessionToken): Promise<ActiveSession | undefined> {
    const rotated = await this.#store.rotate(from, to)
    this.counts.rotate[rotated === undefined ? 'gone' : 'done'] += 1
    if (rotated === undefined) return undefined
    const { value, nowMs } = rotated
    this.tombstones.add(from.key, from.field, readSessionRecord(value).absoluteEndAt - nowMs)
    return { token: to, value, nowMs }
  }

  /** Ends the session of a request, even if it was rotated meanwhile. Adds tombstones in any case. */
  async end (token: SessionToken): Promise<void> {
    this.#recordEnd(token, await this.#store.revoke(token.key, { which: 'these', names: [token.createdAt] }))
  }

  #recordEnd (token: SessionToken, ended: readonly EndedSession[] | undefined): void {
    this.#recordRevoked(token, ended)
    for (const field of fieldsOf(token)) if (!this.tombstones.has({ key: token.key, field })) this.tombstones.add(token.key, field, this.policy.absoluteMs)
  }

  /**
   * Ends a replaced session, immediately or as soon as Redis is reachable.
   *
   * @param version set if a save since this version must prevent the end
   * @returns the value saved since; the session has then not ended
   */
  async endReplaced (token: SessionToken, version?: string): Promise<Newer | undefined> {
    try {
      const ended = version === undefined ? await this.#store.revoke(token.key, { which: 'these', names: [token.createdAt] }) : await this.#store.revokeVersion(token, version)
      if (ended !== undefined && 'newer' in ended) return ended
      this.#recordEnd(token, ended)
    } catch {
      for (const field of fieldsOf(token)) this.tombstones.add(token.key, field, this.policy.absoluteMs)
      this.tombstones.retryRevoke(token.key, String(token.createdAt))
    }
  }

  /** Ends the session of the token's user with this public device ID. @returns whether it was live */
  async endDevice (token: SessionToken, device: string): Promise<boolean> {
    const createdAt = createdAtOf(token.key, device)
    if (createdAt === undefined) return false
    return this.#recordRevoked(token, await this.#store.revoke(token.key, { which: 'these', names: [createdAt], actor: token.field })) > 0
  }

  /** Ends all other sessions of the token's user. @returns the number of ended sessions */
  async endOthers (token: SessionToken): Promise<number> {
    return this.#recordRevoked(token, await this.#store.revoke(token.key, { which: 'others', names: [token.createdAt], actor: token.field }))
  }

  /** Adds tombstones for ended sessions, counts them and calls the listeners. */
  #recordRevoked ({ key, userId }: Pick<SessionToken, 'key' | 'userId'>, ended: readonly EndedSession[] | undefined): number {
    if (ended === undefined) throw new SessionEndedError()
    this.counts.revoke.done += ended.length
    for (const { field, leftMs } of ended) this.tombstones.add(key, field, leftMs)
    if (userId === undefined || ended.length === 0) return ended.length
    const devices = ended.map(({ createdAt }) => deviceOf({ key, createdAt }))
    this.#notify({ userId, devices })
    return ended.length
  }

  #notify (revocation: Revocation): void {
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
