import { LRUCache } from 'lru-cache'
import type { SessionToken } from './session-token.ts'

/** A session that has ended, named by its field, or by when it was born. */
interface Tombstone {
  readonly key: string
  readonly field: string
}

const tombstoneLimit = 10_000
const asksPerTurn = 100
const retryMs = 1000

/**
 * What this process knows to have ended. A server that comes back from a snapshot, or a replica that became master, may not know it any more:
 * it is told again. And what should have ended while Redis was away ends when it is back.
 */
export class Tombstones {
  readonly #buried = new LRUCache<string, Tombstone>({ max: tombstoneLimit })
  readonly #owed = new Map<string, Tombstone>()
  readonly #revoke: (key: string, fields: string[]) => Promise<unknown>
  #timer: NodeJS.Timeout | undefined
  #isTelling = false

  /** @param revoke ends sessions in Redis */
  constructor (revoke: (key: string, fields: string[]) => Promise<unknown>) {
    this.#revoke = revoke
  }

  /** Remembers that a session has ended, for as long as it could have lived. */
  add (key: string, field: string, leftMs: number): void {
    this.#buried.set(key + field, { key, field }, { ttl: Math.max(1, Math.ceil(leftMs)) })
  }

  /** Ends a session when Redis can be asked. Where an outage leaves more to do than this can hold, idle time ends the rest. */
  retryRevoke (key: string, field: string): void {
    if (this.#owed.size < tombstoneLimit) this.#owed.set(key + field, { key, field })
    this.#retryLater()
  }

  has ({ key, field }: Pick<SessionToken, 'key' | 'field'>): boolean {
    return this.#buried.size > 0 && this.#buried.has(key + field)
  }

  /** Tells the server, which may be another one, of all that has ended. */
  async republish (): Promise<void> {
    for (const [name, tombstone] of this.#buried.entries()) this.#owed.set(name, tombstone)
    await this.#tell()
  }

  close (): void {
    clearTimeout(this.#timer)
    this.#owed.clear()
  }

  /** Never rejects. */
  async #tell (): Promise<void> {
    if (this.#isTelling) return
    this.#isTelling = true
    const owed = [...this.#owed]
    let isHeard = true
    for (let at = 0; isHeard && at < owed.length; at += asksPerTurn) isHeard = await this.#tellSome(owed.slice(at, at + asksPerTurn))
    this.#isTelling = false
    if (this.#owed.size > 0) this.#retryLater()
  }

  /** One that cannot be told keeps no other from it. @returns whether any was told; else Redis is away again, and what is owed stays owed */
  async #tellSome (some: [string, Tombstone][]): Promise<boolean> {
    const told = await Promise.allSettled(some.map(async ([name, tombstone]) => {
      await this.#revoke(tombstone.key, [tombstone.field])
      this.#owed.delete(name)
    }))
    return told.some(({ status }) => status === 'fulfilled')
  }

  #retryLater (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#tell()
    }, retryMs).unref()
  }
}
