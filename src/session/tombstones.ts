import { LRUCache } from 'lru-cache'
import type { SessionToken } from './session-token.ts'

/** An ended session, identified by its hash field or its creation time. */
interface Tombstone {
  readonly key: string
  readonly field: string
}

const tombstoneLimit = 10_000
const chunkSize = 100
const retryMs = 1000

/**
 * Sessions that this process has ended. A Redis server restored from a snapshot, or a promoted replica after a failover, may still contain them: lookups reject
 * them, and the revocations are sent again. Revocations that failed during an outage are retried.
 */
export class Tombstones {
  /** Created with the first ended session: it allocates all of its entries at once. */
  #ended: LRUCache<string, Tombstone> | undefined
  readonly #pending = new Map<string, Tombstone>()
  readonly #revoke: (key: string, fields: string[]) => Promise<unknown>
  #timer: NodeJS.Timeout | undefined
  #isSending = false
  /** the server has changed since the sending began */
  #mustRepeat = false

  /** @param revoke deletes sessions in Redis */
  constructor (revoke: (key: string, fields: string[]) => Promise<unknown>) {
    this.#revoke = revoke
  }

  /** Adds an ended session, for its remaining lifetime in ms. */
  add (key: string, field: string, leftMs: number): void {
    this.#ended ??= new LRUCache({ max: tombstoneLimit })
    this.#ended.set(key + field, { key, field }, { ttl: Math.max(1, Math.ceil(leftMs)) })
  }

  /** Revokes a session as soon as Redis is reachable. Beyond 10,000 pending revocations, sessions end by their idle timeout instead. */
  retryRevoke (key: string, field: string): void {
    if (this.#pending.size < tombstoneLimit) this.#pending.set(key + field, { key, field })
    this.#retryLater()
  }

  get isEmpty (): boolean {
    return this.#ended === undefined || this.#ended.size === 0
  }

  has ({ key, field }: Pick<SessionToken, 'key' | 'field'>): boolean {
    return this.#ended?.has(key + field) === true
  }

  /** Sends all revocations again, to a server that may be a new one. What the server before confirms from now on is still pending. */
  async republish (): Promise<void> {
    for (const [name, tombstone] of this.#ended?.entries() ?? []) this.#pending.set(name, { ...tombstone })
    this.#mustRepeat = this.#isSending
    await this.#send()
  }

  close (): void {
    clearTimeout(this.#timer)
    this.#pending.clear()
  }

  /** Never rejects. */
  async #send (): Promise<void> {
    if (this.#isSending) return
    this.#isSending = true
    const pending = [...this.#pending]
    let isReachable = true
    for (let at = 0; isReachable && at < pending.length; at += chunkSize) isReachable = await this.#sendChunk(pending.slice(at, at + chunkSize))
    this.#isSending = false
    if (this.#mustRepeat) {
      this.#mustRepeat = false
      return await this.#send()
    }
    if (this.#pending.size > 0) this.#retryLater()
  }

  /** One failed revocation does not prevent the others. @returns whether any succeeded; if none did, Redis is unavailable and all stay pending */
  async #sendChunk (chunk: [string, Tombstone][]): Promise<boolean> {
    const results = await Promise.allSettled(chunk.map(async ([name, tombstone]) => {
      await this.#revoke(tombstone.key, [tombstone.field])
      if (this.#pending.get(name) === tombstone) this.#pending.delete(name)
    }))
    return results.some(({ status }) => status === 'fulfilled')
  }

  #retryLater (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#send()
    }, retryMs).unref()
  }
}
