import type { Batch } from '../../redis/batch/batch.ts'
import { TwoGenerationLru } from '../../shared/lru.ts'
import type { ServerInfo } from '../../redis/health/server-info.ts'
import type { Keys } from '../../redis/keys.ts'
import { Script } from '../../redis/batch/script.ts'
import { ClusterStore } from './cluster-store.ts'
import { headBytes, identityAt, identityOf } from './entry-codec.ts'
import { KnownEntries } from './known-entries.ts'
import type { Head } from './entry-codec.ts'
import { ServerEpoch } from '../invalidation/server-epoch.ts'
import type { Raise } from '../invalidation/server-epoch.ts'
import type { FillLock } from '../single-flight/fill-lock.ts'
import { Lookup } from '../lookup/lookup.ts'
import type { LookupHints, StoredMeta, VersionReader, Unpacked } from '../lookup/lookup.ts'
import { TagVersions } from '../invalidation/tag-versions.ts'
import type { MemoryGuard } from '../admission/memory-guard.ts'
import { SequenceAtRequest } from '../invalidation/sequence-at-request.ts'

export const raiseEpoch = new Script({ url: new URL('../invalidation/raise-epoch.lua', import.meta.url), costMicroseconds: 8, read: Number })
const readSequence = new Script({ url: new URL('./read-sequence.lua', import.meta.url), costMicroseconds: 8, read: Number })
const purge = new Script({ url: new URL('../invalidation/purge.lua', import.meta.url), costMicroseconds: 20, read: Number })
const remove = new Script({ url: new URL('../invalidation/remove-entry.lua', import.meta.url), costMicroseconds: 4, read: (reply) => reply === 1 })
const store = new Script({ url: new URL('./store.lua', import.meta.url), costMicroseconds: 30, read: (reply) => reply === 1 })

/** Metadata of a value, and a tag that only the store script compares. */
type FencedMeta = StoredMeta & { readonly fence?: string }

/** The cache in Redis: entries, tag versions, and the purge sequence that orders fills and purges. */
export class CacheStore {
  readonly keys: Keys
  /** large responses that this process has read */
  readonly knownEntries = new KnownEntries()
  /** Lifetime of tag versions and the purge sequence after the last purge or write. A lost key only causes misses. */
  readonly tagVersionTtlMs = 86_400_000
  /** bytes written since the start */
  storedBytes = 0
  readonly #batch: Batch
  readonly #reader: VersionReader
  readonly #cluster: ClusterStore
  readonly #server: () => ServerInfo | undefined
  readonly #memoryGuard: MemoryGuard | undefined
  readonly #epoch: ServerEpoch
  /** by tag, '' for the sequence: when this process extended the key's lifetime */
  readonly #extended = new TwoGenerationLru<string, { readonly at: number }>(1000)
  #sequenceAtRequest: SequenceAtRequest | undefined

  /**
   * @param server facts about the connected server; undefined before the first connection
   * @param memoryGuard limits memory use where Redis also holds sessions and rate limits
   */
  constructor (batch: Batch, keys: Keys, server: () => ServerInfo | undefined, memoryGuard?: MemoryGuard) {
    this.keys = keys
    this.#batch = batch
    this.#cluster = new ClusterStore(batch, keys)
    this.#server = server
    this.#memoryGuard = memoryGuard
    this.#epoch = new ServerEpoch({ batch, keys, runId: () => server()?.runId ?? '', raise: (key, how) => this.#raiseEpoch(key, how) })
    const tagVersions = new TagVersions(batch, keys)
    this.#reader = {
      read: (key) => batch.enqueueGet(key),
      readHead: (key) => batch.enqueueHead(key, headBytes),
      tick: () => batch.tick,
      tagVersion: (tag) => tagVersions.read(tag),
      epoch: () => this.#epoch.read(),
      epochOf: (read) => this.#epoch.epochOf(read),
      recordAccess: (name) => memoryGuard?.recordAccess(name)
    }
  }

  /** Call for each connected server, before the first operation. */
  reached (): void {
    this.#epoch.reached()
  }

  /** Redis is a Cluster: sequence, tag versions and entries are in different slots. */
  get isCluster (): boolean {
    return this.#server()?.isCluster === true
  }

  /** The highest purge sequence that this process knows. */
  get seenSequence (): number {
    return this.#epoch.seen
  }

  /** The batch's current tick. */
  get tick (): number {
    return this.#batch.tick
  }

  /** Reads the purge sequence as the first operation of the current batch, once a tick. */
  sequenceAtRequest (): SequenceAtRequest {
    if (this.#sequenceAtRequest?.tick !== this.#batch.tick) this.#sequenceAtRequest = new SequenceAtRequest(this.#batch.tick, this.#batch.enqueueGet(this.keys.cacheSequence()))
    return this.#sequenceAtRequest
  }

  /** Reads an entry and the versions of its tags in the current batch, one round trip. See {@link Lookup}. */
  look<Entry extends StoredMeta> (name: string, tags: readonly string[], unpack: (packed: Buffer) => Unpacked<Entry>, hints?: LookupHints<Entry>): Lookup<Entry> {
    return new Lookup(name, tags, this.#reader, unpack, hints)
  }

  /**
   * Reads the purge sequence. Call before the handler runs: every later purge has a higher sequence.
   *
   * @param tagsWithoutVersion tags whose version was missing: created now, so that a purge during the run is detected
   * @param minSequence highest tag version or epoch that the lookup read: a lower sequence was lost and is raised to it
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async sequenceForFill (tagsWithoutVersion: readonly string[], minSequence = 0): Promise<number> {
    await this.ready()
    const sequence = await this.#readSequence(tagsWithoutVersion, Math.max(this.#epoch.seen, Number.isFinite(minSequence) ? minSequence : 0))
    this.#epoch.notice(sequence)
    return sequence
  }

  /**
   * Raises the server epoch if a fill requires it. Otherwise no Redis operation.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async ready (): Promise<void> {
    if (!this.#epoch.isRaised) await this.#epoch.raise()
  }

  /** Whether a fill may start without {@link ready}. */
  get isReady (): boolean {
    return this.#epoch.isRaised
  }

  /** Records a sequence: an epoch raised later is higher. */
  notice (sequence: number): void {
    this.#epoch.notice(sequence)
  }

  /** The sequence of the last purge of each tag, hard or soft; `sequence` for a tag without a version. */
  async tagVersions (tags: readonly string[], sequence: number): Promise<number[]> {
    const reads = await Promise.all(tags.map((tag) => this.#reader.tagVersion(tag).settled()))
    return reads.map(({ version, soft }) => Math.max(version ?? sequence, soft))
  }

  /** Whether memory admission allows a value of this size. An admitted value is charged to this process's budget. */
  admits (name: string, bytes: number): boolean {
    return this.#memoryGuard?.admit(name, bytes) ?? true
  }

  async #readSequence (tagsWithoutVersion: readonly string[], minSequence: number): Promise<number> {
    const name = this.keys.cacheSequence()
    const read = tagsWithoutVersion.length === 0 ? await this.#batch.get(name) : null
    if (read !== null && Number(read.toString('latin1')) >= minSequence) return Number(read.toString('latin1'))
    if (!this.isCluster) return await this.#batch.runScript(readSequence, [name, ...tagsWithoutVersion.map((tag) => this.keys.cacheTag(tag))], [this.tagVersionTtlMs, minSequence])
    const sequence = await this.#batch.runScript(readSequence, [name], [this.tagVersionTtlMs, minSequence])
    await this.#cluster.createVersions(tagsWithoutVersion, sequence, this.tagVersionTtlMs)
    return sequence
  }

  /**
   * Stores an entry, unless one of its tags was purged during the fill. Sent with background priority in the next batch.
   *
   * @param meta `fence`: a tag that only the store script compares, not a lookup
   * @param lock the fill lock, which is released
   * @returns whether it was stored
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY
   */
  write (name: string, meta: FencedMeta, packed: Buffer | string, lifetimeMs: number, lock?: FillLock): Promise<boolean> {
    this.#epoch.notice(meta.sequence)
    this.#epoch.renew(this.tagVersionTtlMs)
    this.#memoryGuard?.storing()
    return this.#writeEntry(name, meta, packed, lifetimeMs, lock).then((isStored) => {
      if (isStored) this.#count(name, Buffer.byteLength(packed), lifetimeMs)
      return isStored
    })
  }

  #count (name: string, bytes: number, lifetimeMs: number): void {
    this.storedBytes += bytes
    this.#memoryGuard?.stored(name, bytes, lifetimeMs)
  }

  #writeEntry (name: string, { tags, sequence, fence }: FencedMeta, packed: Buffer | string, lifetimeMs: number, lock?: FillLock): Promise<boolean> {
    const lifetime = Math.max(1, Math.ceil(lifetimeMs))
    const versionTtlMs = Math.max(this.tagVersionTtlMs, 2 * lifetime)
    const keys = [name, this.keys.cacheLock(name)]
    const mustExtend = this.#mustExtend(tags, versionTtlMs)
    const args = [sequence, packed, lifetime, versionTtlMs, lock?.token ?? '', lock?.entryPrefix ?? '', this.keys.cacheFilled(), mustExtend ? 1 : 0]
    const compared = fence === undefined ? tags : [...tags, fence]
    if (this.isCluster) return this.#cluster.mayStore({ tags: compared, sequence }, versionTtlMs).then((mayStore) => mayStore && this.#batch.runScript(store, keys, args, 'background'))
    const stored = this.#batch.runScript(store, [...keys, this.keys.cacheSequence(), ...compared.map((tag) => this.keys.cacheTag(tag))], args, 'background')
    return mustExtend ? stored.then((isStored) => this.#noteExtended(tags, isStored)) : stored
  }

  /** Whether the write must extend sequence and tag versions: this process has not done so recently, or the entry outlives the default lifetime. */
  #mustExtend (tags: readonly string[], lifetimeMs: number): boolean {
    const now = performance.now()
    const isRecent = (key: string) => (this.#extended.get(key)?.at ?? -Infinity) > now - lifetimeMs / 24
    return lifetimeMs > this.tagVersionTtlMs || !isRecent('') || !tags.every(isRecent)
  }

  #noteExtended (tags: readonly string[], isStored: boolean): boolean {
    const at = performance.now()
    if (isStored) for (const key of ['', ...tags]) this.#extended.set(key, { at })
    return isStored
  }

  /**
   * Removes an entry, unless another one was stored under its key since it was read.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the outcome is unknown
   */
  async remove (name: string, entry: Pick<Head, 'bornAt' | 'sequence'>): Promise<boolean> {
    return await this.#batch.runScript(remove, [name], [identityAt.first, identityAt.last, identityOf(entry)])
  }

  /**
   * Removes an entry, unless another one was stored under its key since it was read.
   *
   * @param prefix the first 48 bytes that were read; empty if there was none
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the outcome is unknown
   */
  async removeUnchanged (name: string, prefix: Buffer): Promise<void> {
    if (prefix.length > 0) await this.#batch.runScript(remove, [name], [0, 47, prefix])
  }

  /**
   * Removes an entry for good: what is filled now was begun later. First the fence is purged, so that no older fill is stored after the entry is removed.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the outcome is unknown; it may be repeated
   */
  async delete (name: string, fence: string): Promise<void> {
    await this.purge([fence])
    await this.#batch.command('UNLINK', [name])
  }

  /** Stores a value without tags, such as a Vary record, and removes the keys that it replaces. */
  async storePointer (name: string, value: string, lifetimeMs: number, dropped: readonly string[]): Promise<void> {
    const set = this.#batch.command('SET', [name, value, 'PX', Math.max(1, Math.ceil(lifetimeMs))], 'background')
    this.#memoryGuard?.stored(name, value.length, lifetimeMs)
    await Promise.all([set, ...dropped.map((each) => this.#batch.command('UNLINK', [each], 'background'))])
  }

  /**
   * Invalidates all entries with one of these tags that were filled, or whose fill started, before the purge. A soft purge makes them stale.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the outcome is unknown; a purge may be repeated
   */
  async purge (tags: readonly string[], { isSoft = false } = {}): Promise<void> {
    const keys = [this.keys.cacheSequence(), ...tags.map((tag) => this.keys.cacheTag(tag))]
    const sequence = this.isCluster
      ? await this.#cluster.purge(tags, this.tagVersionTtlMs, { isSoft, seen: this.#epoch.seen })
      : await this.#batch.runScript(purge, keys, [this.tagVersionTtlMs, isSoft ? 1 : 0, this.#epoch.seen])
    this.#epoch.notice(sequence)
  }

  async #raiseEpoch (key: string, how: Raise): Promise<number> {
    if (this.isCluster) return await this.#cluster.raiseEpoch(key, this.tagVersionTtlMs, how)
    const minSequence = Number.isFinite(how.minSequence) ? how.minSequence : 1e300
    return await this.#batch.runScript(raiseEpoch, [this.keys.cacheSequence(), key], [this.tagVersionTtlMs, how.seen, minSequence])
  }
}
