import type { Batch } from '../../redis/batch/batch.ts'
import type { Keys } from '../../redis/keys.ts'
import { Script } from '../../redis/batch/script.ts'
import type { Raise } from '../invalidation/server-epoch.ts'
import type { StoredMeta } from '../lookup/lookup.ts'

const advance = new Script({ url: new URL('../invalidation/advance-sequence.lua', import.meta.url), costMicroseconds: 5, read: Number })
/** A tag version has one number or two. */
const raise = new Script({ url: new URL('../invalidation/raise-version.lua', import.meta.url), costMicroseconds: 5, read: (reply) => Math.max(...String(reply).split(' ').map(Number)) })

/**
 * The store's scripts for a Cluster, where sequence, tag versions and entries are in different slots.
 *
 * Each script becomes several steps. Every step is idempotent, and the order is safe if the process stops after any of them:
 * an entry is served only if the tag versions that were read with it are not higher than its sequence.
 */
export class ClusterStore {
  readonly #batch: Batch
  readonly #keys: Keys

  constructor (batch: Batch, keys: Keys) {
    this.#batch = batch
    this.#keys = keys
  }

  /** Creates missing tag versions with the sequence that was read before. A purge since then has set, or will set, a higher version. */
  async createVersions (tags: readonly string[], sequence: number, lifetimeMs: number): Promise<void> {
    await Promise.all(tags.map((tag) => this.#batch.command('SET', [this.#keys.cacheTag(tag), sequence, 'PX', lifetimeMs, 'NX'])))
  }

  /** Checks sequence and tag versions before a write, and extends their lifetimes. `store.lua` does the rest in the entry's slot. */
  async mayStore ({ tags, sequence }: StoredMeta, versionTtlMs: number): Promise<boolean> {
    const last = await this.#number(this.#keys.cacheSequence())
    const missing = await this.#tagsWithoutVersion(tags, sequence)
    if (missing === undefined) return false
    if (last === null || (missing.length > 0 && last !== sequence)) {
      // A tag version was lost, perhaps with a purge of this tag. Create it for the next fill: with the current sequence, unless that was lost and restored.
      if (last !== null) await this.createVersions(missing, last > sequence ? last : await this.#advance(versionTtlMs, sequence), versionTtlMs)
      return false
    }
    await this.createVersions(missing, sequence, versionTtlMs)
    const keys = [this.#keys.cacheSequence(), ...tags.map((tag) => this.#keys.cacheTag(tag))]
    await Promise.all(keys.map((key) => this.#batch.command('PEXPIRE', [key, versionTtlMs, 'GT'], 'background')))
    return true
  }

  /** Purges tags. Completes when every tag version has been raised. */
  async purge (tags: readonly string[], lifetimeMs: number, { isSoft, seen }: { isSoft: boolean, seen: number }): Promise<number> {
    const sequence = await this.#advance(lifetimeMs, seen)
    const versions = await Promise.all(tags.map((tag) => this.#batch.runScript(raise, [this.#keys.cacheTag(tag)], [sequence, lifetimeMs, isSoft ? 1 : 0])))
    // The sequence was lost and restarted lower: repeat with a sequence above the highest tag version.
    const highest = Math.max(...versions)
    return highest > sequence ? await this.purge(tags, lifetimeMs, { isSoft, seen: highest }) : sequence
  }

  /** Raises the server epoch; see `raise-epoch.lua`. */
  async raiseEpoch (key: string, lifetimeMs: number, { seen, minSequence }: Raise): Promise<number> {
    const epoch = await this.#number(key)
    if (epoch !== null && epoch >= minSequence) return epoch
    const sequence = await this.#advance(lifetimeMs, seen)
    return await this.#batch.runScript(raise, [key], [sequence, lifetimeMs, 0])
  }

  async #advance (lifetimeMs: number, seen: number): Promise<number> {
    return await this.#batch.runScript(advance, [this.#keys.cacheSequence()], [lifetimeMs, seen])
  }

  /** @returns undefined if one of the tags was purged since `sequence` */
  async #tagsWithoutVersion (tags: readonly string[], sequence: number): Promise<string[] | undefined> {
    const versions = await Promise.all(tags.map((tag) => this.#number(this.#keys.cacheTag(tag))))
    return versions.some((version) => version !== null && version > sequence) ? undefined : tags.filter((_tag, index) => versions[index] === null)
  }

  async #number (key: string): Promise<number | null> {
    const text = await this.#batch.get(key, 'background')
    // Of a tag version, parseInt reads the first number: the last hard purge.
    return text === null ? null : Number.parseInt(text.toString('latin1'), 10)
  }
}
