import { randomBytes } from 'node:crypto'
import type { Batch } from '../../redis/batch/batch.ts'
import type { Keys } from '../../redis/keys.ts'
import { Script } from '../../redis/batch/script.ts'
import type { StoredMeta, Lookup } from '../lookup/lookup.ts'
import type { CacheStore } from '../storage/cache-store.ts'

/** The right to fill one key, among all processes. */
export interface FillLock {
  /** the key that is filled */
  readonly name: string
  /** what the lock holds in Redis while it is ours: the fill's sequence, and a token */
  readonly token: string
  /** the first bytes of what stood under the key when it was taken */
  readonly entryPrefix: Buffer
}

/** What somebody who wants to fill knows. */
export interface AcquireRequest {
  /** a fill under way must have begun at this sequence, at least, and at what `unmarked` say by then, to be waited for; undefined: at where it stands now */
  readonly minSequence: number | undefined
  /** the first bytes of what stood under the key when it was looked at */
  readonly entryPrefix: Buffer
  /** tags whose markers were missing */
  readonly tagsWithoutVersion: readonly string[]
}

/**
 * What became of a wish: the lock was `taken`; it is `held` by somebody; everybody shall `pass`, for answers to this are not shared;
 * or somebody has filled since, and what stands there has `changed`. `raisedFrom` is where a sequence stood that had been set back.
 */
export type AcquireStatus =
  | { readonly word: 'taken', readonly sequence: number, readonly lock: FillLock, readonly raisedFrom?: number | undefined }
  | { readonly word: 'held' | 'pass' | 'changed', readonly sequence: number, readonly leftMs: number }

interface AcquireResult { status: AcquireStatus['word'], sequence: string, leftMs: number, raisedFrom?: number | undefined }

const reserve = new Script({ url: new URL('./try-lock.lua', import.meta.url), costMicroseconds: 8, read: (reply) => typeof reply === 'string' ? reply.split(' ') : null })
const take = new Script({ url: new URL('./acquire-lock.lua', import.meta.url), costMicroseconds: 10, read: readAcquireReply })
const renew = new Script({ url: new URL('./extend-lock.lua', import.meta.url), costMicroseconds: 4, read: (reply) => reply === 1 })
const release = new Script({ url: new URL('./release-lock.lua', import.meta.url), costMicroseconds: 8, read: (reply) => reply === 1 })

/** Who is killed holds others up for so long, at most. */
const lifetimeMs = 1000
const nothingSeen = Buffer.alloc(0)
const renewEveryMs = 300
/** A run that takes longer is given up by the lock, not by the handler. */
const longestMs = 30_000
/** After an answer that may not be kept, nobody waits for the next one. */
const passMs = 5000

/**
 * The locks of fills: one process at a time runs the handler for a key.
 *
 * They save work, and nothing hangs on them: that no answer is older than a purge is held by sequence and markers alone.
 */
export class FillLocks {
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #store: CacheStore
  readonly #process = randomBytes(9).toString('base64url')
  readonly #held = new Map<FillLock, number>()
  #taken = 0
  #timer: NodeJS.Timeout | undefined

  constructor (batch: Batch, keys: Keys, store: CacheStore) {
    this.#batch = batch
    this.#keys = keys
    this.#store = store
  }

  /**
   * Takes a key's lock, if it may be had; it is renewed until it is given back or dropped.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may be taken all the same, and lapses by itself
   */
  async acquire (name: string, wish: AcquireRequest): Promise<AcquireStatus> {
    const token = this.#token()
    const { status, sequence, leftMs, raisedFrom } = await this.#ask(name, wish, token)
    this.#store.notice(Number(sequence))
    if (status !== 'taken') return { word: status, sequence: Number(sequence), leftMs }
    const lock = { name, token: `${sequence} ${token}`, entryPrefix: wish.entryPrefix }
    this.startRenewing(lock)
    return { word: status, sequence: Number(sequence), lock, raisedFrom }
  }

  /**
   * Takes a key's lock along with a look, where nothing stands under the key and nobody fills it. It is not renewed until somebody holds it.
   *
   * @param tags markers that are missing are set, so that a purge meanwhile is seen
   * @returns undefined when it is not to be had like this
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may be taken all the same, and lapses by itself
   */
  reserve (name: string, tags: readonly string[]): Promise<AcquireStatus | undefined> {
    const token = this.#token()
    const keys = [this.#keys.cacheLock(name), name, this.#keys.cacheSequence(), ...tags.map((tag) => this.#keys.cacheTag(tag))]
    return this.#batch.runScript(reserve, keys, [token, lifetimeMs, this.#store.tagVersionTtlMs]).then((said) => this.#reserved(name, token, said))
  }

  #reserved (name: string, token: string, said: string[] | null): AcquireStatus | undefined {
    if (said === null) return undefined
    const [word, text] = said
    const sequence = Number(text)
    this.#store.notice(sequence)
    if (word !== 'taken') return { word: 'pass', sequence, leftMs: 0 }
    return { word, sequence, lock: { name, token: `${text} ${token}`, entryPrefix: nothingSeen } }
  }

  /** Renews a lock from now on, until it is given back or dropped. */
  startRenewing (lock: FillLock): void {
    this.#held.set(lock, performance.now())
    this.#timer ??= setInterval(() => this.#renew(), renewEveryMs).unref()
  }

  /** Gives a lock back where nothing was kept; where `isShared` is false, others shall not wait for each other for a while. */
  release (lock: FillLock, { isShared }: { isShared: boolean }): void {
    this.stopRenewing(lock)
    const message = `${isShared ? 'free' : 'pass'} ${lock.name}`
    const args = [lock.token, isShared ? 0 : passMs, this.#keys.cacheFilled(), message]
    // Others wait for it. Where it fails, the lock lapses.
    this.#batch.runScript(release, [this.#keys.cacheLock(lock.name)], args).catch(() => {})
  }

  /** Renews a lock no more: it was given back by who stored the answer, or is somebody else's. */
  stopRenewing (lock: FillLock): void {
    this.#held.delete(lock)
    if (this.#held.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  close (): void {
    clearInterval(this.#timer)
  }

  /** One round trip; where keys lie in slots, or the sequence was lost, that is read first. */
  async #ask (name: string, { minSequence, entryPrefix, tagsWithoutVersion }: AcquireRequest, token: string): Promise<AcquireResult> {
    await this.#store.ready()
    const place = [this.#keys.cacheLock(name), name]
    const rest = [entryPrefix, this.#store.tagVersionTtlMs]
    if (!this.#store.isCluster) {
      const keys = [...place, this.#keys.cacheSequence(), ...tagsWithoutVersion.map((tag) => this.#keys.cacheTag(tag))]
      const taken = await this.#batch.runScript(take, keys, [token, lifetimeMs, textOf(minSequence), ...rest])
      if (taken !== null) return taken
    }
    const sequence = await this.#store.begin(tagsWithoutVersion, minSequence)
    const markers = await this.#store.tagVersions(tagsWithoutVersion, sequence)
    const taken = await this.#batch.runScript(take, place, [token, lifetimeMs, textOf(Math.max(minSequence ?? sequence, ...markers)), ...rest, sequence])
    return taken ?? { status: 'changed', sequence: String(sequence), leftMs: 0 }
  }

  #token (): string {
    return `${this.#process}.${(this.#taken++).toString(36)}`
  }

  #renew (): void {
    for (const [lock, takenAt] of this.#held) {
      if (performance.now() - takenAt > longestMs) this.stopRenewing(lock)
      else this.#renewOne(lock)
    }
  }

  #renewOne (lock: FillLock): void {
    const renewed = this.#batch.runScript(renew, [this.#keys.cacheLock(lock.name)], [lock.token, lifetimeMs])
    // What Redis did not hear, the next one may tell it in time.
    renewed.then((isOurs) => { if (!isOurs) this.stopRenewing(lock) }, () => {})
  }
}

/** What a look into the store tells of a wish to fill. */
export function acquireRequestOf ({ minSequenceKnown, entryPrefix, tagsWithoutVersion }: Pick<Lookup<StoredMeta>, 'minSequenceKnown' | 'entryPrefix' | 'tagsWithoutVersion'>): AcquireRequest {
  return { minSequence: minSequenceKnown, entryPrefix, tagsWithoutVersion }
}

function textOf (required: number | undefined): string {
  return required === undefined ? '' : Number.isFinite(required) ? String(required) : '1e300'
}

function readAcquireReply (reply: unknown): AcquireResult | null {
  if (!Array.isArray(reply)) return null
  const [word, sequence, leftMs, before] = reply as [AcquireResult['status'], string, number | string, string?]
  return { status: word, sequence, leftMs: Number(leftMs), raisedFrom: before === undefined ? undefined : Number(before) }
}
