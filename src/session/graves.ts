import { LRUCache } from 'lru-cache'
import type { Ticket } from './ticket.ts'

/** A session that has ended. */
interface Grave {
  readonly key: string
  readonly field: string
}

const graveLimit = 10_000
const asksPerTurn = 100
const retryMs = 1000

/**
 * What this process knows to have ended. A server that comes back from a snapshot, or a replica that became master, may not know it any more:
 * it is told again. And what should have ended while Redis was away ends when it is back.
 */
export class Graves {
  readonly #buried = new LRUCache<string, Grave>({ max: graveLimit })
  readonly #owed = new Map<string, Grave>()
  readonly #revoke: (key: string, fields: string[]) => Promise<unknown>
  #timer: NodeJS.Timeout | undefined
  #isTelling = false

  /** @param revoke ends sessions in Redis */
  constructor (revoke: (key: string, fields: string[]) => Promise<unknown>) {
    this.#revoke = revoke
  }

  /** Remembers that a session has ended, for as long as it could have lived. */
  bury (key: string, field: string, leftMs: number): void {
    this.#buried.set(key + field, { key, field }, { ttl: Math.max(1, Math.ceil(leftMs)) })
  }

  /** Ends a session when Redis can be asked: in this process it has ended already. */
  owe (key: string, field: string, leftMs: number): void {
    this.bury(key, field, leftMs)
    this.#owed.set(key + field, { key, field })
    this.#retryLater()
  }

  has ({ key, field }: Pick<Ticket, 'key' | 'field'>): boolean {
    return this.#buried.size > 0 && this.#buried.has(key + field)
  }

  /** Tells the server, which may be another one, of all that has ended. */
  async retell (): Promise<void> {
    for (const [name, grave] of this.#buried.entries()) this.#owed.set(name, grave)
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
    try {
      while (this.#owed.size > 0) await this.#tellSome([...this.#owed].slice(0, asksPerTurn))
    } catch { // Redis is away again: what is owed stays owed
      this.#retryLater()
    } finally {
      this.#isTelling = false
    }
  }

  async #tellSome (some: [string, Grave][]): Promise<void> {
    await Promise.all(some.map(async ([name, grave]) => {
      await this.#revoke(grave.key, [grave.field])
      this.#owed.delete(name)
    }))
  }

  #retryLater (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#tell()
    }, retryMs).unref()
  }
}
