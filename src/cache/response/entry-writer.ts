import { parseVary } from '../../http/vary.ts'
import { compress } from './compression.ts'
import { fieldOf, encodeEntry } from '../storage/entry-codec.ts'
import type { Entry, Head } from '../storage/entry-codec.ts'
import { keptMs } from '../freshness.ts'
import type { CacheKey } from '../lookup/cache-key.ts'
import type { CacheRequest } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { VaryIndex } from '../lookup/vary-index.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'

/** Sequence used while Redis is down. It is lower than every tag version, so the response is neither stored nor shared with a request that has read one. */
export const outage = 0

/** The request and handler run of an entry to store. */
interface Source {
  readonly request: CacheRequest
  readonly state: CacheRequestState
  readonly run: HandlerRun
  readonly receivedAt: number
}

/** Writes entries of one route to Redis with background priority. */
export class EntryWriter {
  readonly #policy: RoutePolicy
  readonly #shared: CacheRuntime
  readonly #varyIndex: VaryIndex

  constructor (policy: RoutePolicy, shared: CacheRuntime, varyIndex: VaryIndex) {
    this.#policy = policy
    this.#shared = shared
    this.#varyIndex = varyIndex
  }

  /** Whether memory admission allows an entry of this size. If not, the caller must release the fill lock. */
  admits ({ run, state: { key } }: Pick<Source, 'run' | 'state'>, bytes: number): boolean {
    return run.sequence !== outage && key !== undefined && this.#shared.store.admits(key.name, bytes)
  }

  /**
   * Writes an entry if memory admission allows it. Waiters of the run receive the response in any case.
   *
   * @returns whether it was admitted
   */
  send (source: Source, entry: Head, body: Buffer, isCompressed: boolean): boolean {
    const { run } = source
    const isAdmitted = this.admits(source, body.length)
    if (isAdmitted) this.put(source, entry, body, isCompressed)
    else if (run.sequence !== outage) this.#shared.lockQueue.committed(run.fill, false)
    return isAdmitted
  }

  /** Removes a superseded entry, unless a newer one is stored under its key. A failure is ignored: the next validation removes it. */
  remove ({ request, state }: Pick<Source, 'request' | 'state'>, stale: Entry): void {
    const { key, varyRecord } = state
    if (key === undefined) return
    const storageKey = varyRecord === undefined ? key : this.#varyIndex.keyOf(key, varyRecord.vary, (state.keyed ?? request).headers)
    this.#shared.store.remove(storageKey.name, stale).catch(() => {})
  }

  /** Writes an entry, without admission. A failed write only costs the next request a handler run. */
  put (source: Source, entry: Head, body: Buffer, isCompressed: boolean): void {
    const { stats, lockQueue } = this.#shared
    const { fill } = source.run
    stats.add('write')
    const done = (isWritten: boolean) => {
      stats.add(isWritten ? 'write_ok' : 'write_failed')
      lockQueue.committed(fill, isWritten)
    }
    this.#store(source, entry, body, isCompressed).then(done, () => done(false))
  }

  async #store (source: Source, head: Head, plain: Buffer, isCompressed: boolean): Promise<boolean> {
    const { compression: coding } = this.#policy
    if (!isCompressed || coding === 'identity') return await this.#write(source, head, plain)
    return await this.#write(source, { ...head, coding }, await compress(plain, coding), true)
  }

  #write ({ request, state, run, receivedAt }: Source, head: Head, body: Buffer, isCompressed = false): Promise<boolean> {
    if (state.key === undefined) return Promise.resolve(false)
    const lifetimeMs = keptMs(head, head.fields.some(([name]) => name === 'etag' || name === 'last-modified'), receivedAt)
    if (lifetimeMs <= 0) return Promise.resolve(false)
    const vary = this.#policy.ttlMs === undefined ? parseVary(fieldOf(head, 'vary')) : []
    const names = vary === '*' ? [] : isCompressed ? vary.filter((name) => name !== 'accept-encoding') : vary
    const key: CacheKey = names.length === 0 ? state.key : this.#varyIndex.keyOf(state.key, names, (state.keyed ?? request).headers)
    const packed = encodeEntry({ ...head, key: key.text }, body)
    // The lock belongs to the key of the URL. An entry of another variant is stored without it.
    const lock = key.name === state.key.name ? run.fill?.lock : undefined
    const writing = this.#shared.store.write(key.name, { sequence: head.sequence, tags: head.tags }, packed, lifetimeMs, lock)
    if (lock !== undefined && key === state.key) return writing
    // Both commands are in one batch. A Vary record without an entry is a miss.
    const indexing = key === state.key ? undefined : this.#varyIndex.add(state.key, key, names, state.varyRecord, lifetimeMs)
    return Promise.all([writing, indexing]).then(([isWritten]) => {
      if (lock === undefined) this.#shared.lockQueue.committed(run.fill, false)
      return isWritten
    })
  }
}
