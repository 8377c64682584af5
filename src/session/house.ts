import { RedisUnavailableError, SessionGoneError } from '../errors.ts'
import type { Answer } from '../redis/answer.ts'
import type { Batch } from '../redis/batch.ts'
import type { Keys } from '../redis/keys.ts'
import type { Beginning } from './beginning.ts'
import { Graves } from './graves.ts'
import type { SessionPolicy } from './policy.ts'
import type { ReplyWatch } from './reply-watch.ts'
import { Saver } from './saver.ts'
import type { Device } from './session.ts'
import { SessionStore } from './store.ts'
import type { Ended, Loaded, Newer } from './store.ts'
import { readStored } from './stored.ts'
import { birthOf, deviceOf, fieldsOf, newTicket } from './ticket.ts'
import type { Bearer, Life, Ticket } from './ticket.ts'

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
  readonly save: Saver['counts']
  readonly begin: { done: number, failed: number }
  readonly rotate: { done: number, gone: number }
  readonly revoke: { done: number }
}

/** A session that has just begun, or has just moved. */
export interface Held {
  readonly ticket: Ticket
  readonly value: string
  readonly nowMs: number
}

/** All sessions as this process knows them: what every visit shares. */
export class House implements Sessions {
  readonly policy: SessionPolicy
  readonly keys: Keys
  readonly saver: Saver
  readonly graves: Graves
  readonly counts: SessionCounts
  /** told of changes and cookies, where replies carry them */
  readonly replies: ReplyWatch | undefined
  evictedKeys = 0
  readonly #store: SessionStore
  readonly #onListenerError: (error: unknown) => void
  readonly #listeners = new Set<RevocationListener>()

  /** @param onListenerError told what a listener threw */
  constructor (policy: SessionPolicy, batch: Batch, keys: Keys, onListenerError: (error: unknown) => void = () => {}, replies?: ReplyWatch) {
    this.policy = policy
    this.replies = replies
    this.#onListenerError = onListenerError
    this.keys = keys
    this.#store = new SessionStore(batch)
    this.saver = new Saver(this.#store, policy.keys)
    this.counts = { load: { found: 0, none: 0, failed: 0 }, save: this.saver.counts, begin: { done: 0, failed: 0 }, rotate: { done: 0, gone: 0 }, revoke: { done: 0 } }
    this.graves = new Graves((key, fields) => this.#store.revoke(key, { which: 'these', names: fields }, 'background'))
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
  async devicesAt (key: string, current?: Life): Promise<Device[]> {
    const devices = (await this.#store.list(key)).map((head) => readDevice(key, head, current))
    return devices.sort((one, other) => other.seenAt - one.seenAt)
  }

  /** Asks for the session that a ticket names; what comes of it is for {@link admit} or {@link missed}. */
  load (ticket: Ticket): Answer<Loaded | undefined> {
    return this.#store.load(ticket)
  }

  /** What a load has found, where that lives; undefined when it does not (any more). A snapshot may have brought it back. */
  admit (ticket: Ticket, loaded: Loaded | undefined): Loaded | undefined {
    const isLive = loaded !== undefined && !this.graves.has({ key: ticket.key, field: loaded.isEarlier ? ticket.earlier?.field ?? '' : ticket.field })
    this.counts.load[isLive ? 'found' : 'none'] += 1
    return isLive ? loaded : undefined
  }

  /** Notes a load that nothing came of. */
  missed (): void {
    this.counts.load.failed += 1
  }

  /** Begins a session under a new id; of the same user's sessions it may take the place of one. */
  async begin (bearer: Bearer, beginning: Omit<Beginning, 'replacedVersion'>): Promise<Held> {
    return await this.replace(bearer, beginning) as Held
  }

  /** Begins a session in the place of one of the same user's, unless that was saved since it was read. */
  async replace (bearer: Bearer, beginning: Beginning): Promise<Held | Newer> {
    const ticket = newTicket(this.keys, bearer)
    try {
      const created = await this.#store.replace(ticket, beginning)
      if ('newer' in created) return created
      const { value, ended } = created
      const { createdAt: bornAt, seenAt: nowMs } = readStored(value)
      this.#ended(ticket, ended)
      this.counts.begin.done += 1
      return { ticket: { ...ticket, bornAt }, value, nowMs }
    } catch (error) {
      this.counts.begin.failed += 1
      // It may have begun all the same. Nobody will ever hold its cookie, so it needs no grave: a flood of these would push those out that do.
      if (error instanceof RedisUnavailableError) this.graves.owe(ticket.key, ticket.field)
      throw error
    }
  }

  /** Replaces the document of a session that has just begun. */
  async rewrite (held: Held, document: string): Promise<Held> {
    const saved = await this.#store.save(held.ticket, readStored(held.value).version, document)
    if (saved.outcome === 'saved') return { ...held, value: saved.value }
    throw new SessionGoneError()
  }

  /** Keeps saves from a session while a sign-in carries its values to another one, if it was not saved since this version was read. */
  async mark (ticket: Ticket, version: string): Promise<'marked' | 'gone' | Newer> {
    return await this.#store.mark(ticket, version)
  }

  /** Moves a session to a new id; undefined when it has ended. */
  async rotate (from: Ticket, to: Ticket): Promise<Held | undefined> {
    const rotated = await this.#store.rotate(from, to)
    this.counts.rotate[rotated === undefined ? 'gone' : 'done'] += 1
    if (rotated === undefined) return undefined
    const { value, nowMs } = rotated
    this.graves.bury(from.key, from.field, readStored(value).absoluteEndAt - nowMs)
    return { ticket: to, value, nowMs }
  }

  /** Ends a visitor's own session, also where it has been rotated meanwhile; afterwards it is dead here, whatever Redis held. */
  async leave (ticket: Ticket): Promise<void> {
    this.#left(ticket, await this.#store.revoke(ticket.key, { which: 'these', names: [ticket.bornAt] }))
  }

  #left (ticket: Ticket, ended: readonly Ended[] | undefined): void {
    this.#ended(ticket, ended)
    for (const field of fieldsOf(ticket)) if (!this.graves.has({ key: ticket.key, field })) this.graves.bury(ticket.key, field, this.policy.absoluteMs)
  }

  /**
   * Ends a session that another one has taken the place of: now, or as soon as Redis can be asked.
   *
   * @param version where a save since this version was read matters
   * @returns what was saved since; then it has not ended
   */
  async leaveBehind (ticket: Ticket, version?: string): Promise<Newer | undefined> {
    try {
      const left = version === undefined ? await this.#store.revoke(ticket.key, { which: 'these', names: [ticket.bornAt] }) : await this.#store.leave(ticket, version)
      if (left !== undefined && 'newer' in left) return left
      this.#left(ticket, left)
    } catch {
      for (const field of fieldsOf(ticket)) this.graves.bury(ticket.key, field, this.policy.absoluteMs)
      this.graves.owe(ticket.key, String(ticket.bornAt))
    }
  }

  /** Ends the device of the ticket's user with this public name. @returns whether it was alive */
  async endDevice (ticket: Ticket, device: string): Promise<boolean> {
    const bornAt = birthOf(ticket.key, device)
    if (bornAt === undefined) return false
    return this.#ended(ticket, await this.#store.revoke(ticket.key, { which: 'these', names: [bornAt], actor: ticket.field })) > 0
  }

  /** Ends all devices of the ticket's user but its own. @returns how many */
  async endOthers (ticket: Ticket): Promise<number> {
    return this.#ended(ticket, await this.#store.revoke(ticket.key, { which: 'others', names: [ticket.bornAt], actor: ticket.field }))
  }

  /** Remembers who was ended, tells who listens, and counts them. */
  #ended ({ key, userId }: Pick<Ticket, 'key' | 'userId'>, ended: readonly Ended[] | undefined): number {
    if (ended === undefined) throw new SessionGoneError()
    this.counts.revoke.done += ended.length
    for (const { field, leftMs } of ended) this.graves.bury(key, field, leftMs)
    if (userId === undefined || ended.length === 0) return ended.length
    const devices = ended.map(({ bornAt }) => deviceOf({ key, bornAt }))
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

function readDevice (key: string, head: string, current: Life | undefined): Device {
  const { label, createdAt, seenAt, idleEndAt } = readStored(head)
  return { id: deviceOf({ key, bornAt: createdAt }), label, isCurrent: createdAt === current?.bornAt, createdAt, seenAt, endsAt: idleEndAt }
}
