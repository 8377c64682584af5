import type { Batch } from '../../redis/batch/batch.ts'
import type { Keys } from '../../redis/keys.ts'
import { Script } from '../../redis/batch/script.ts'
import type { Raise } from '../invalidation/server-epoch.ts'
import type { StoredMeta } from '../lookup/lookup.ts'

const advance = new Script({ url: new URL('../invalidation/advance-sequence.lua', import.meta.url), costMicroseconds: 5, read: Number })
/** A marker holds one number or two. */
const raise = new Script({ url: new URL('../invalidation/raise-version.lua', import.meta.url), costMicroseconds: 5, read: (reply) => Math.max(...String(reply).split(' ').map(Number)) })

/**
 * The store's scripts, taken apart for a Cluster, where sequence, markers and entries lie in different slots.
 *
 * What one script does at once elsewhere is here a row of steps, each of which may happen twice, in an order that is safe wherever it is cut:
 * an entry is only ever served when its markers, read with it, are not younger than its fill.
 */
export class ClusterStore {
  readonly #batch: Batch
  readonly #keys: Keys

  constructor (batch: Batch, keys: Keys) {
    this.#batch = batch
    this.#keys = keys
  }

  /** Sets markers that are missing to the sequence that was read before: a purge since then has set them higher already, or will. */
  async mark (tags: readonly string[], sequence: number, lifetimeMs: number): Promise<void> {
    await Promise.all(tags.map((tag) => this.#batch.command('SET', [this.#keys.cacheTag(tag), sequence, 'PX', lifetimeMs, 'NX'])))
  }

  /** Looks at sequence and markers before a value is kept, and keeps them longer; see `store.lua`, which does the rest in the value's slot. */
  async mayKeep ({ tags, sequence }: StoredMeta, markerLifetimeMs: number): Promise<boolean> {
    const last = await this.#number(this.#keys.cacheSequence())
    const missing = await this.#missingMarkers(tags, sequence)
    if (missing === undefined) return false
    if (last === null || (missing.length > 0 && last > sequence)) {
      // A marker was lost, and with it perhaps a purge of this very tag. The next fill shall find one.
      if (last !== null) await this.mark(missing, last, markerLifetimeMs)
      return false
    }
    await this.mark(missing, sequence, markerLifetimeMs)
    const keys = [this.#keys.cacheSequence(), ...tags.map((tag) => this.#keys.cacheTag(tag))]
    await Promise.all(keys.map((key) => this.#batch.command('PEXPIRE', [key, markerLifetimeMs, 'GT'], 'background')))
    return true
  }

  /** Drops whatever bears one of these tags, or makes it stale: done when every marker has been raised. */
  async purge (tags: readonly string[], lifetimeMs: number, { isSoft, seen }: { isSoft: boolean, seen: number }): Promise<number> {
    const sequence = await this.#advance(lifetimeMs, seen)
    const markers = await Promise.all(tags.map((tag) => this.#batch.runScript(raise, [this.#keys.cacheTag(tag)], [sequence, lifetimeMs, isSoft ? 1 : 0])))
    // The sequence was set back: answers that were filled before it may be as young as the marker.
    const highest = Math.max(...markers)
    return highest > sequence ? await this.purge(tags, lifetimeMs, { isSoft, seen: highest }) : sequence
  }

  /** Raises the global marker; see `adopt.lua`. */
  async adopt (key: string, lifetimeMs: number, { seen, least }: Raise): Promise<number> {
    const marker = await this.#number(key)
    if (marker !== null && marker >= least) return marker
    const sequence = await this.#advance(lifetimeMs, seen)
    return await this.#batch.runScript(raise, [key], [sequence, lifetimeMs, 0])
  }

  async #advance (lifetimeMs: number, seen: number): Promise<number> {
    return await this.#batch.runScript(advance, [this.#keys.cacheSequence()], [lifetimeMs, seen])
  }

  /** @returns undefined when one of the tags was purged since */
  async #missingMarkers (tags: readonly string[], sequence: number): Promise<string[] | undefined> {
    const markers = await Promise.all(tags.map((tag) => this.#number(this.#keys.cacheTag(tag))))
    return markers.some((marker) => marker !== null && marker > sequence) ? undefined : tags.filter((_tag, index) => markers[index] === null)
  }

  async #number (key: string): Promise<number | null> {
    const text = await this.#batch.get(key, 'background')
    // Of a marker, what was purged for good.
    return text === null ? null : Number.parseInt(text.toString('latin1'), 10)
  }
}
