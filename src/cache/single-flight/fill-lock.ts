import { randomBytes } from 'node:crypto'
import type { Batch } from '../../redis/batch/batch.ts'
import type { PendingReply } from '../../redis/batch/pending-reply.ts'
import type { Keys } from '../../redis/keys.ts'
import { Script } from '../../redis/batch/script.ts'
import type { StoredMeta, Lookup } from '../lookup/lookup.ts'

/** The part of the cache store that locks use. An interface, because the store imports {@link FillLock}. */
interface LockStore {
  readonly tagVersionTtlMs: number
  readonly isCluster: boolean
  /** the highest purge sequence that this process knows */
  readonly seenSequence: number
  notice (sequence: number): void
  ready (): Promise<unknown>
  sequenceForFill (tagsWithoutVersion: readonly string[], minSequence: number | undefined): Promise<number>
  tagVersions (tags: readonly string[], sequence: number): Promise<readonly number[]>
}

/** A lock on one cache key, held across all processes. */
export interface FillLock {
  /** the cache key */
  readonly name: string
  /** value of the lock in Redis while this process holds it: the fill's sequence and a unique token */
  readonly token: string
  /** first 48 bytes of the stored value when the lock was acquired */
  readonly entryPrefix: Buffer
}

/** Input for acquiring a lock, from the preceding lookup. */
export interface AcquireRequest {
  /** a holder is waited for only if it started at this sequence or later, and not before the versions of `tagsWithoutVersion`; undefined: the current sequence */
  readonly minSequence: number | undefined
  /** first 48 bytes of the stored value at lookup */
  readonly entryPrefix: Buffer
  /** tags whose version was missing at lookup */
  readonly tagsWithoutVersion: readonly string[]
}

/**
 * Result of an acquire. `taken`: acquired; `held`: another fill holds the lock; `pass`: responses of this key are currently not shared, so run without a lock;
 * `failed`: the fill that was waited for has failed, and another process fills now: run without the lock; `changed`: the stored value has changed since
 * the lookup. `raisedFrom`: the previous sequence, if Redis had lost the current one and it was raised.
 */
export type AcquireStatus =
  | { readonly status: 'taken', readonly sequence: number, readonly lock: FillLock, readonly raisedFrom?: number | undefined }
  | { readonly status: 'held' | 'pass' | 'failed' | 'changed', readonly sequence: number, readonly remainingMs: number }

/** `free`: one waiting process runs the handler next; `failed`: each waiting process runs it at once; `pass`: the response is not shareable. */
export type ReleaseReason = 'free' | 'failed' | 'pass'

interface AcquireResult { status: AcquireStatus['status'], sequence: string, remainingMs: number, raisedFrom?: number | undefined }

const tryLockScript = new Script({ url: new URL('./try-lock.lua', import.meta.url), costMicroseconds: 8, read: (reply) => typeof reply === 'string' ? reply.split(' ') : null })
const acquireScript = new Script({ url: new URL('./acquire-lock.lua', import.meta.url), costMicroseconds: 10, read: readAcquireReply })
const extendScript = new Script({ url: new URL('./extend-lock.lua', import.meta.url), costMicroseconds: 4, read: (reply) => reply === 1 })
const releaseScript = new Script({ url: new URL('./release-lock.lua', import.meta.url), costMicroseconds: 8, read: (reply) => reply === 1 })

/** TTL of a lock for which no other process waits. A process that is suspended for longer loses it. */
const lifetimeMs = 1000
/** TTL of a lock for which another process waits: a killed process delays others at most this long. */
const waitedLifetimeMs = 350
const noValue = Buffer.alloc(0)
const renewEveryMs = 100
/** A lock is renewed at most this long; the handler is not interrupted. */
const maxRenewMs = 30_000
/** After a response that must not be shared, requests bypass the lock for this long. */
const passMs = 5000

/**
 * Redis locks for cache fills: one process at a time runs the handler for a key.
 *
 * Lock expiry: a lock that its process does not renew expires after 1 s, or 0.35 s once another process waits, so a killed process blocks no key. It is renewed
 * for 30 s at most: after that another process runs the handler as well.
 *
 * The locks only save work. Freshness after a purge does not depend on them: it is guaranteed by the purge sequence and the tag versions.
 */
export class FillLocks {
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #store: LockStore
  readonly #processId = randomBytes(9).toString('base64url')
  readonly #held = new Map<FillLock, number>()
  #tokenCount = 0
  #timer: NodeJS.Timeout | undefined

  constructor (batch: Batch, keys: Keys, store: LockStore) {
    this.#batch = batch
    this.#keys = keys
    this.#store = store
  }

  /**
   * Tries to acquire a key's lock. An acquired lock is renewed until `release` or `stopRenewing`.
   *
   * @param willWait if another process holds it, the caller waits to be told of its release
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the lock may have been acquired; it then expires
   */
  async acquire (name: string, request: AcquireRequest, willWait: boolean): Promise<AcquireStatus> {
    const token = this.#token()
    const { status, sequence, remainingMs, raisedFrom } = await this.#tryAcquire(name, request, token, willWait)
    this.#store.notice(Number(sequence))
    if (status !== 'taken') return { status, sequence: Number(sequence), remainingMs }
    const lock = { name, token: `${sequence} ${token}`, entryPrefix: request.entryPrefix }
    this.startRenewing(lock)
    return { status, sequence: Number(sequence), lock, raisedFrom }
  }

  /**
   * Acquires a key's lock in the same round trip as a lookup, if the key does not exist and is not locked. Call `startRenewing` once it is used.
   *
   * @param tags missing versions of these tags are set, so that a concurrent purge is detected
   * @returns undefined if the key exists, is locked, or the purge sequence is unknown. It fails with {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE:
   * the lock may have been acquired; it then expires
   */
  reserve (name: string, tags: readonly string[]): PendingReply<AcquireStatus | undefined> {
    const token = this.#token()
    const keys = [this.#keys.cacheLock(name), name, this.#keys.cacheSequence()]
    for (const tag of tags) keys.push(this.#keys.cacheTag(tag))
    const args = [token, lifetimeMs, this.#store.tagVersionTtlMs, this.#store.seenSequence]
    return this.#batch.enqueueScript(tryLockScript, keys, args).map((reply) => this.#readPrefetch(name, token, reply))
  }

  #readPrefetch (name: string, token: string, reply: string[] | null): AcquireStatus | undefined {
    if (reply === null) return undefined
    const [word, text] = reply
    const sequence = Number(text)
    this.#store.notice(sequence)
    if (word !== 'taken') return { status: 'pass', sequence, remainingMs: 0 }
    return { status: word, sequence, lock: { name, token: `${text} ${token}`, entryPrefix: noValue } }
  }

  /** Renews a lock periodically until `release` or `stopRenewing`. */
  startRenewing (lock: FillLock): void {
    this.#held.set(lock, performance.now())
    this.#timer ??= setInterval(() => this.#renew(), renewEveryMs).unref()
  }

  /** Releases a lock after a fill that stored nothing, and tells waiting processes why. After `pass`, requests for the key bypass the lock for 5 s. */
  release (lock: FillLock, why: ReleaseReason): void {
    this.stopRenewing(lock)
    const args = [lock.token, why === 'pass' ? passMs : 0, this.#keys.cacheFilled(), `${why} ${lock.name}`]
    // If this fails, the lock expires.
    this.#batch.runScript(releaseScript, [this.#keys.cacheLock(lock.name)], args).catch(() => {})
  }

  /** Stops renewing a lock: store.lua released it together with the write, or another process holds it. */
  stopRenewing (lock: FillLock): void {
    this.#held.delete(lock)
    if (this.#held.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  close (): void {
    clearInterval(this.#timer)
  }

  /** One round trip. In a Cluster, or if the sequence was lost, the sequence and tag versions are read first. */
  async #tryAcquire (name: string, { minSequence, entryPrefix, tagsWithoutVersion }: AcquireRequest, token: string, willWait: boolean): Promise<AcquireResult> {
    await this.#store.ready()
    const lockKeys = [this.#keys.cacheLock(name), name]
    const rest = [entryPrefix, this.#store.tagVersionTtlMs, willWait ? waitedLifetimeMs : '', this.#store.seenSequence]
    if (!this.#store.isCluster) {
      const keys = [...lockKeys, this.#keys.cacheSequence(), ...tagsWithoutVersion.map((tag) => this.#keys.cacheTag(tag))]
      const taken = await this.#batch.runScript(acquireScript, keys, [token, lifetimeMs, toArgument(minSequence), ...rest])
      if (taken !== null) return taken
    }
    const sequence = await this.#store.sequenceForFill(tagsWithoutVersion, minSequence)
    const versions = await this.#store.tagVersions(tagsWithoutVersion, sequence)
    const taken = await this.#batch.runScript(acquireScript, lockKeys, [token, lifetimeMs, toArgument(Math.max(minSequence ?? sequence, ...versions)), ...rest, sequence])
    return taken ?? { status: 'changed', sequence: String(sequence), remainingMs: 0 }
  }

  #token (): string {
    return `${this.#processId}.${(this.#tokenCount++).toString(36)}`
  }

  #renew (): void {
    for (const [lock, acquiredAt] of this.#held) {
      if (performance.now() - acquiredAt > maxRenewMs) this.stopRenewing(lock)
      else this.#renewOne(lock)
    }
  }

  #renewOne (lock: FillLock): void {
    const renewed = this.#batch.runScript(extendScript, [this.#keys.cacheLock(lock.name)], [lock.token, lifetimeMs, waitedLifetimeMs])
    // If a renewal fails, the next one may still arrive before the lock expires.
    renewed.then((isOurs) => { if (!isOurs) this.stopRenewing(lock) }, () => {})
  }
}

/** The acquire request that follows from a lookup. */
export function acquireRequestOf ({ minSequenceKnown, entryPrefix, tagsWithoutVersion }: Pick<Lookup<StoredMeta>, 'minSequenceKnown' | 'entryPrefix' | 'tagsWithoutVersion'>): AcquireRequest {
  return { minSequence: minSequenceKnown, entryPrefix, tagsWithoutVersion }
}

function toArgument (minSequence: number | undefined): string {
  return minSequence === undefined ? '' : Number.isFinite(minSequence) ? String(minSequence) : '1e300'
}

function readAcquireReply (reply: unknown): AcquireResult | null {
  if (!Array.isArray(reply)) return null
  const [word, sequence, remainingMs, before] = reply as [AcquireResult['status'], string, number | string, string?]
  return { status: word, sequence, remainingMs: Number(remainingMs), raisedFrom: before === undefined ? undefined : Number(before) }
}
