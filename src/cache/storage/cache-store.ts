import type { Batch } from '../../redis/batch/batch.ts'
import { TwoGenerationLru } from '../../shared/lru.ts'
import type { ServerInfo } from '../../redis/health/server-info.ts'
import type { Keys } from '../../redis/keys.ts'
import { Script } from '../../redis/batch/script.ts'
import { ClusterStore } from './cluster-store.ts'
import { identityAt, identityOf } from './entry-codec.ts'
import type { Head } from './entry-codec.ts'
import { ServerEpoch } from '../invalidation/server-epoch.ts'
import type { Raise } from '../invalidation/server-epoch.ts'
import type { FillLock } from '../single-flight/fill-lock.ts'
import { Lookup } from '../lookup/lookup.ts'
import type { StoredMeta, VersionReader, Unpacked } from '../lookup/lookup.ts'
import { TagVersions } from '../invalidation/tag-versions.ts'
import type { MemoryGuard } from '../admission/memory-guard.ts'
import { SequenceAtRequest } from '../invalidation/sequence-at-request.ts'

const adopt = new Script({ url: new URL('../invalidation/raise-epoch.lua', import.meta.url), costMicroseconds: 8, read: Number })
const begin = new Script({ url: new URL('./read-sequence.lua', import.meta.url), costMicroseconds: 8, read: Number })
const purge = new Script({ url: new URL('../invalidation/purge.lua', import.meta.url), costMicroseconds: 20, read: Number })
const remove = new Script({ url: new URL('../invalidation/remove-entry.lua', import.meta.url), costMicroseconds: 4, read: (reply) => reply === 1 })
const store = new Script({ url: new URL('./store.lua', import.meta.url), costMicroseconds: 30, read: (reply) => reply === 1 })

/** How Redis keeps answers: entries, the markers of their tags, and the sequence that orders fills and purges. */
export class CacheStore {
  readonly keys: Keys
  /** Markers and sequence live this long beyond the last purge or store; one that is lost costs a miss, no more. */
  readonly tagVersionTtlMs = 86_400_000
  /** bytes that were kept since the start */
  keptBytes = 0
  readonly #batch: Batch
  readonly #reader: VersionReader
  readonly #cluster: ClusterStore
  readonly #server: () => ServerInfo | undefined
  readonly #memoryGuard: MemoryGuard | undefined
  readonly #epoch: ServerEpoch
  /** by tag, '' for the sequence: when this process made their keys live longer */
  readonly #lengthened = new TwoGenerationLru<string, { readonly at: number }>(1000)
  #sequenceAtRequest: SequenceAtRequest | undefined

  /**
   * @param server what is known of it, which may only be once Redis was reached
   * @param memoryGuard where memory is shared with what must not be evicted
   */
  constructor (batch: Batch, keys: Keys, server: () => ServerInfo | undefined, memoryGuard?: MemoryGuard) {
    this.keys = keys
    this.#batch = batch
    this.#cluster = new ClusterStore(batch, keys)
    this.#server = server
    this.#memoryGuard = memoryGuard
    this.#epoch = new ServerEpoch({ batch, keys, runId: () => server()?.runId ?? '', raise: (key, how) => this.#adopt(key, how) })
    const tagVersions = new TagVersions(batch, keys)
    this.#reader = {
      read: (key) => batch.enqueueGet(key),
      tick: () => batch.tick,
      tagVersion: (tag) => tagVersions.read(tag),
      epoch: () => this.#epoch.read(),
      sinceOf: (reading) => this.#epoch.epochOf(reading),
      asked: (name) => memoryGuard?.asked(name)
    }
  }

  /** To be told of each server that is reached, before anything is asked of it. */
  reached (): void {
    this.#epoch.reached()
  }

  /** Whether sequence, markers and entries lie in different slots. */
  get isCluster (): boolean {
    return this.#server()?.isCluster === true
  }

  /** The batch's, now: what was read before precedes what leaves with it. */
  get tick (): number {
    return this.#batch.tick
  }

  /** Reads where the purge sequence stands with what leaves in this tick, and before all else of that; once for all who ask. */
  sequenceAtRequest (): SequenceAtRequest {
    if (this.#sequenceAtRequest?.tick !== this.#batch.tick) this.#sequenceAtRequest = new SequenceAtRequest(this.#batch.tick, this.#batch.enqueueGet(this.keys.cacheSequence()))
    return this.#sequenceAtRequest
  }

  /** Looks for an answer and at the markers of its tags, in one round trip, which leaves with this tick; see {@link Lookup} for the rest. */
  look<Entry extends StoredMeta> (name: string, tags: readonly string[], unpack: (packed: Buffer) => Unpacked<Entry>, guess?: string): Lookup<Entry> {
    return new Lookup(name, tags, this.#reader, unpack, guess)
  }

  /**
   * Reads where the purge sequence stands. Whoever fills asks before the handler runs: a purge that comes later is younger.
   *
   * @param unmarked tags whose markers were missing: set now, they show a purge in the meantime
   * @param least what a look has seen of markers and epoch: a sequence below it was set back, and is raised
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async begin (unmarked: readonly string[], least = 0): Promise<number> {
    await this.ready()
    const sequence = await this.#begin(unmarked, Number.isFinite(least) ? least : 0)
    this.#epoch.notice(sequence)
    return sequence
  }

  /**
   * Raises the global marker where it must be before anything is filled; else it asks nothing.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async ready (): Promise<void> {
    if (!this.#epoch.isRaised) await this.#epoch.raise()
  }

  /** Whether {@link ready} has nothing to do. */
  get isReady (): boolean {
    return this.#epoch.isRaised
  }

  /** Notes a sequence that was read: no global marker that is raised later shall be lower. */
  notice (sequence: number): void {
    this.#epoch.notice(sequence)
  }

  /** What the markers of tags say now of purges, hard or soft; of one that is not there, that nobody knows of any since a sequence. */
  async tagVersions (tags: readonly string[], sequence: number): Promise<number[]> {
    const readings = await Promise.all(tags.map((tag) => this.#reader.tagVersion(tag).settled()))
    return readings.map(({ version, soft }) => Math.max(version ?? sequence, soft))
  }

  /** Whether something of so many bytes may be stored, as memory stands; if so, it counts as stored. */
  admits (name: string, bytes: number): boolean {
    return this.#memoryGuard?.admit(name, bytes) ?? true
  }

  async #begin (unmarked: readonly string[], least: number): Promise<number> {
    const name = this.keys.cacheSequence()
    const read = unmarked.length === 0 ? await this.#batch.get(name) : null
    if (read !== null && Number(read.toString('latin1')) >= least) return Number(read.toString('latin1'))
    if (!this.isCluster) return await this.#batch.runScript(begin, [name, ...unmarked.map((tag) => this.keys.cacheTag(tag))], [this.tagVersionTtlMs, least])
    const sequence = await this.#batch.runScript(begin, [name], [this.tagVersionTtlMs, least])
    await this.#cluster.mark(unmarked, sequence, this.tagVersionTtlMs)
    return sequence
  }

  /**
   * Keeps an answer under its key, unless one of its tags was purged while it was made. It leaves with the next tick, behind what requests ask.
   *
   * @param lock of the fill, which is given back
   * @returns whether it was kept
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY
   */
  write (name: string, kept: StoredMeta, packed: Buffer | string, lifetimeMs: number, lock?: FillLock): Promise<boolean> {
    this.#epoch.notice(kept.sequence)
    this.#epoch.renew(this.tagVersionTtlMs)
    this.#memoryGuard?.storing()
    return this.#writeEntry(name, kept, packed, lifetimeMs, lock).then((isKept) => {
      if (isKept) this.#count(name, Buffer.byteLength(packed), lifetimeMs)
      return isKept
    })
  }

  #count (name: string, bytes: number, lifetimeMs: number): void {
    this.keptBytes += bytes
    this.#memoryGuard?.kept(name, bytes, lifetimeMs)
  }

  #writeEntry (name: string, { tags, sequence }: StoredMeta, packed: Buffer | string, lifetimeMs: number, lock?: FillLock): Promise<boolean> {
    const lifetime = Math.max(1, Math.ceil(lifetimeMs))
    const longer = Math.max(this.tagVersionTtlMs, 2 * lifetime)
    const place = [name, this.keys.cacheLock(name)]
    const isDue = this.#isDue(tags, longer)
    const args = [sequence, packed, lifetime, longer, lock?.token ?? '', lock?.entryPrefix ?? '', this.keys.cacheFilled(), isDue ? 1 : 0]
    if (this.isCluster) return this.#cluster.mayKeep({ tags, sequence }, longer).then((mayKeep) => mayKeep && this.#batch.runScript(store, place, args, 'background'))
    const stored = this.#batch.runScript(store, [...place, this.keys.cacheSequence(), ...tags.map((tag) => this.keys.cacheTag(tag))], args, 'background')
    return isDue ? stored.then((isKept) => this.#noteLengthened(tags, isKept)) : stored
  }

  /** Whether sequence and markers must be made to live longer: this process has not done so lately, or what is kept outlives what a purge gives them. */
  #isDue (tags: readonly string[], lifetimeMs: number): boolean {
    const now = performance.now()
    const isFresh = (key: string) => (this.#lengthened.get(key)?.at ?? -Infinity) > now - lifetimeMs / 24
    return lifetimeMs > this.tagVersionTtlMs || !isFresh('') || !tags.every(isFresh)
  }

  #noteLengthened (tags: readonly string[], isKept: boolean): boolean {
    const at = performance.now()
    if (isKept) for (const key of ['', ...tags]) this.#lengthened.set(key, { at })
    return isKept
  }

  /**
   * Removes an answer, unless another one has been stored under its key since.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may or may not have been removed
   */
  async remove (name: string, entry: Pick<Head, 'bornAt' | 'sequence'>): Promise<boolean> {
    return await this.#batch.runScript(remove, [name], [identityAt.first, identityAt.last, identityOf(entry)])
  }

  /** Keeps something that is no answer and bears no tag, and drops what it stands in for. */
  async keepPointer (name: string, value: string, lifetimeMs: number, dropped: readonly string[]): Promise<void> {
    const set = this.#batch.command('SET', [name, value, 'PX', Math.max(1, Math.ceil(lifetimeMs))], 'background')
    this.#memoryGuard?.kept(name, value.length, lifetimeMs)
    await Promise.all([set, ...dropped.map((each) => this.#batch.command('UNLINK', [each], 'background'))])
  }

  /**
   * Drops whatever bears one of these tags, or makes it stale where that `isSoft`: filled, or being filled, before this was answered.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may or may not have happened, and may be tried again
   */
  async purge (tags: readonly string[], { isSoft = false } = {}): Promise<void> {
    const keys = [this.keys.cacheSequence(), ...tags.map((tag) => this.keys.cacheTag(tag))]
    const sequence = this.isCluster
      ? await this.#cluster.purge(tags, this.tagVersionTtlMs, { isSoft, seen: this.#epoch.seen })
      : await this.#batch.runScript(purge, keys, [this.tagVersionTtlMs, isSoft ? 1 : 0, this.#epoch.seen])
    this.#epoch.notice(sequence)
  }

  async #adopt (key: string, how: Raise): Promise<number> {
    if (this.isCluster) return await this.#cluster.adopt(key, this.tagVersionTtlMs, how)
    const least = Number.isFinite(how.least) ? how.least : 1e300
    return await this.#batch.runScript(adopt, [this.keys.cacheSequence(), key], [this.tagVersionTtlMs, how.seen, least])
  }
}
