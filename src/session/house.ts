import type { Batch } from '../redis/batch.ts'
import type { Keys } from '../redis/keys.ts'
import type { SessionPolicy } from './policy.ts'
import { Saver } from './saver.ts'
import type { Device } from './session.ts'
import { SessionStore } from './store.ts'
import { readStored } from './stored.ts'
import type { Ticket } from './ticket.ts'

/** Sessions that somebody ended; a rotation is none. */
export interface Revocation {
  readonly userId: string
  /** public names of the devices */
  readonly devices: readonly string[]
}

/** Hears of every revocation that this process has made, after Redis confirmed it. */
export type RevocationListener = (revocation: Revocation) => void

/** Sessions of users other than the visitor. */
export interface Sessions {
  /** Where a user is signed in, the last seen first. */
  devices (userId: string): Promise<Device[]>
  /** Signs a user out everywhere: after a new password, or for a stolen device. @returns how many devices */
  revokeAll (userId: string): Promise<number>
  /** Calls the listener for each revocation made by this process; who listens must not throw. @returns stops it */
  onRevoked (listener: RevocationListener): () => void
}

/** All sessions as this process knows them: what every visit shares. */
export class House implements Sessions {
  readonly policy: SessionPolicy
  readonly keys: Keys
  readonly store: SessionStore
  readonly saver: Saver
  readonly #listeners = new Set<RevocationListener>()

  constructor (policy: SessionPolicy, batch: Batch, keys: Keys) {
    this.policy = policy
    this.keys = keys
    this.store = new SessionStore(batch)
    this.saver = new Saver(this.store, policy.keys)
  }

  async devices (userIdOrKey: string, current?: string): Promise<Device[]> {
    const key = current === undefined ? this.keys.userSession(userIdOrKey) : userIdOrKey
    const devices = (await this.store.list(key)).map(({ device, head }) => readDevice(device, head, current))
    return devices.sort((one, other) => other.seenAt - one.seenAt)
  }

  async revokeAll (userId: string): Promise<number> {
    const ended = await this.store.revoke(this.keys.userSession(userId), 'others', [])
    this.#tell(userId, ended)
    return ended.length
  }

  onRevoked (listener: RevocationListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends these devices of whoever the ticket is of. */
  async end (ticket: Ticket, devices: readonly string[]): Promise<string[]> {
    const ended = await this.store.revoke(ticket.key, 'these', devices)
    this.ended(ticket, ended)
    return ended
  }

  /** Ends all devices of the ticket's user but its own. */
  async endOthers (ticket: Ticket): Promise<string[]> {
    const ended = await this.store.revoke(ticket.key, 'others', [ticket.device])
    this.ended(ticket, ended)
    return ended
  }

  /** Tells who listens. */
  ended ({ userId }: Ticket, devices: readonly string[]): void {
    if (userId !== undefined) this.#tell(userId, devices)
  }

  #tell (userId: string, devices: readonly string[]): void {
    if (devices.length > 0) for (const listener of this.#listeners) listener({ userId, devices })
  }
}

function readDevice (id: string, head: string, current: string | undefined): Device {
  const { label, createdAt, seenAt, idleEndAt } = readStored(head)
  return { id, label, isCurrent: id === current, createdAt, seenAt, endsAt: idleEndAt }
}
