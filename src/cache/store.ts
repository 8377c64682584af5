import type { Batch } from '../redis/batch.ts'
import { Recent } from '../recent.ts'
import type { Server } from '../redis/facts.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/script.ts'
import { Apart } from './apart.ts'
import { identityAt, identityOf } from './entry.ts'
import type { Head } from './entry.ts'
import { Epoch } from './epoch.ts'
import type { Raise } from './epoch.ts'
import type { Lock } from './fill/lock.ts'
import { Lookup } from './lookup.ts'
import type { Kept, Reader, Unpacked } from './lookup.ts'
import { Markers } from './markers.ts'
import type { Room } from './memory/room.ts'
import { Standing } from './standing.ts'

const adopt = new Script({ url: new URL('./adopt.lua', import.meta.url), costMicroseconds: 8, read: Number })
const begin = new Script({ url: new URL('./begin.lua', import.meta.url), costMicroseconds: 8, read: Number })
const purge = new Script({ url: new URL('./purge.lua', import.meta.url), costMicroseconds: 20, read: Number })
const remove = new Script({ url: new URL('./remove.lua', import.meta.url), costMicroseconds: 4, read: (reply) => reply === 1 })
const store = new Script({ url: new URL('./store.lua', import.meta.url), costMicroseconds: 30, read: (reply) => reply === 1 })

/** How Redis keeps answers: entries, the markers of their tags, and the sequence that orders fills and purges. */
export class CacheStore {
  readonly keys: Keys
  /** Markers and sequence live this long beyond the last purge or store; one that is lost costs a miss, no more. */
  readonly markerLifetimeMs = 86_400_000
  /** bytes that were kept since the start */
  keptBytes = 0
  readonly #batch: Batch
  readonly #reader: Reader
  readonly #apart: Apart
  readonly #server: () => Server | undefined
  readonly #room: Room | undefined
  readonly #epoch: Epoch
  /** by tag, '' for the sequence: when this process made their keys live longer */
  readonly #lengthened = new Recent<string, { readonly at: number }>(1000)
  #standing: Standing | undefined

  /**
   * @param server what is known of it, which may only be once Redis was reached
   * @param room where memory is shared with what must not be evicted
   */
  constructor (batch: Batch, keys: Keys, server: () => Server | undefined, room?: Room) {
    this.keys = keys
    this.#batch = batch
    this.#apart = new Apart(batch, keys)
    this.#server = server
    this.#room = room
    this.#epoch = new Epoch({ batch, keys, runId: () => server()?.runId ?? '', raise: (key, how) => this.#adopt(key, how) })
    const markers = new Markers(batch, keys)
    this.#reader = {
      read: (key) => batch.reading(key),
      tick: () => batch.tick,
      marker: (tag) => markers.read(tag),
      epoch: () => this.#epoch.read(),
      sinceOf: (reading) => this.#epoch.markerOf(reading),
      asked: (name) => room?.asked(name)
    }
  }

  /** To be told of each server that is reached, before anything is asked of it. */
  reached (): void {
    this.#epoch.reached()
  }

  /** Whether sequence, markers and entries lie in different slots. */
  get isApart (): boolean {
    return this.#server()?.isCluster === true
  }

  /** The batch's, now: what was read before precedes what leaves with it. */
  get tick (): number {
    return this.#batch.tick
  }

  /** Reads where the purge sequence stands with what leaves in this tick, and before all else of that; once for all who ask. */
  standing (): Standing {
    if (this.#standing?.tick !== this.#batch.tick) this.#standing = new Standing(this.#batch.tick, this.#batch.reading(this.keys.cacheSequence()))
    return this.#standing
  }

  /** Looks for an answer and at the markers of its tags, in one round trip, which leaves with this tick; see {@link Lookup} for the rest. */
  look<Entry extends Kept> (name: string, tags: readonly string[], unpack: (packed: Buffer) => Unpacked<Entry>, guess?: string): Lookup<Entry> {
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
  async markers (tags: readonly string[], sequence: number): Promise<number[]> {
    const readings = await Promise.all(tags.map((tag) => this.#reader.marker(tag).settled()))
    return readings.map(({ marker, soft }) => Math.max(marker ?? sequence, soft))
  }

  /** Whether something of so many bytes may be stored, as memory stands; if so, it counts as stored. */
  admits (name: string, bytes: number): boolean {
    return this.#room?.admits(name, bytes) ?? true
  }

  async #begin (unmarked: readonly string[], least: number): Promise<number> {
    const name = this.keys.cacheSequence()
    const read = unmarked.length === 0 ? await this.#batch.read(name) : null
    if (read !== null && Number(read.toString('latin1')) >= least) return Number(read.toString('latin1'))
    if (!this.isApart) return await this.#batch.ask(begin, [name, ...unmarked.map((tag) => this.keys.cacheTag(tag))], [this.markerLifetimeMs, least])
    const sequence = await this.#batch.ask(begin, [name], [this.markerLifetimeMs, least])
    await this.#apart.mark(unmarked, sequence, this.markerLifetimeMs)
    return sequence
  }

  /**
   * Keeps an answer under its key, unless one of its tags was purged while it was made. It leaves with the next tick, behind what requests ask.
   *
   * @param lock of the fill, which is given back
   * @returns whether it was kept
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY
   */
  keep (name: string, kept: Kept, packed: Buffer | string, lifetimeMs: number, lock?: Lock): Promise<boolean> {
    this.#epoch.notice(kept.sequence)
    this.#epoch.renew(this.markerLifetimeMs)
    this.#room?.storing()
    return this.#write(name, kept, packed, lifetimeMs, lock).then((isKept) => {
      if (isKept) this.#count(name, Buffer.byteLength(packed), lifetimeMs)
      return isKept
    })
  }

  #count (name: string, bytes: number, lifetimeMs: number): void {
    this.keptBytes += bytes
    this.#room?.kept(name, bytes, lifetimeMs)
  }

  #write (name: string, { tags, sequence }: Kept, packed: Buffer | string, lifetimeMs: number, lock?: Lock): Promise<boolean> {
    const lifetime = Math.max(1, Math.ceil(lifetimeMs))
    const longer = Math.max(this.markerLifetimeMs, 2 * lifetime)
    const place = [name, this.keys.cacheLock(name)]
    const isDue = this.#isDue(tags, longer)
    const args = [sequence, packed, lifetime, longer, lock?.holder ?? '', lock?.seen ?? '', this.keys.cacheFilled(), isDue ? 1 : 0]
    if (this.isApart) return this.#apart.mayKeep({ tags, sequence }, longer).then((mayKeep) => mayKeep && this.#batch.ask(store, place, args, 'background'))
    const stored = this.#batch.ask(store, [...place, this.keys.cacheSequence(), ...tags.map((tag) => this.keys.cacheTag(tag))], args, 'background')
    return isDue ? stored.then((isKept) => this.#noteLengthened(tags, isKept)) : stored
  }

  /** Whether sequence and markers must be made to live longer: this process has not done so lately, or what is kept outlives what a purge gives them. */
  #isDue (tags: readonly string[], lifetimeMs: number): boolean {
    const now = performance.now()
    const isFresh = (key: string) => (this.#lengthened.get(key)?.at ?? -Infinity) > now - lifetimeMs / 24
    return lifetimeMs > this.markerLifetimeMs || !isFresh('') || !tags.every(isFresh)
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
    return await this.#batch.ask(remove, [name], [identityAt.first, identityAt.last, identityOf(entry)])
  }

  /** Keeps something that is no answer and bears no tag, and drops what it stands in for. */
  async keepPointer (name: string, value: string, lifetimeMs: number, dropped: readonly string[]): Promise<void> {
    const set = this.#batch.command('SET', [name, value, 'PX', Math.max(1, Math.ceil(lifetimeMs))], 'background')
    this.#room?.kept(name, value.length, lifetimeMs)
    await Promise.all([set, ...dropped.map((each) => this.#batch.command('UNLINK', [each], 'background'))])
  }

  /**
   * Drops whatever bears one of these tags, or makes it stale where that `isSoft`: filled, or being filled, before this was answered.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may or may not have happened, and may be tried again
   */
  async purge (tags: readonly string[], { isSoft = false } = {}): Promise<void> {
    const keys = [this.keys.cacheSequence(), ...tags.map((tag) => this.keys.cacheTag(tag))]
    const sequence = this.isApart
      ? await this.#apart.purge(tags, this.markerLifetimeMs, { isSoft, seen: this.#epoch.seen })
      : await this.#batch.ask(purge, keys, [this.markerLifetimeMs, isSoft ? 1 : 0, this.#epoch.seen])
    this.#epoch.notice(sequence)
  }

  async #adopt (key: string, how: Raise): Promise<number> {
    if (this.isApart) return await this.#apart.adopt(key, this.markerLifetimeMs, how)
    const least = Number.isFinite(how.least) ? how.least : 1e300
    return await this.#batch.ask(adopt, [this.keys.cacheSequence(), key], [this.markerLifetimeMs, how.seen, least])
  }
}
