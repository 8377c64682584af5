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

/** The sequence of a fill while Redis is away: older than every marker, so nothing of it is kept or given to who has seen one. */
export const outage = 0

/** Whose answer is kept. */
interface Source {
  readonly request: CacheRequest
  readonly state: CacheRequestState
  readonly run: HandlerRun
  readonly receivedAt: number
}

/** Sends answers of one route to Redis, behind what requests ask. */
export class EntryWriter {
  readonly #policy: RoutePolicy
  readonly #shared: CacheRuntime
  readonly #varyIndex: VaryIndex

  constructor (policy: RoutePolicy, shared: CacheRuntime, varyIndex: VaryIndex) {
    this.#policy = policy
    this.#shared = shared
    this.#varyIndex = varyIndex
  }

  /** Whether an entry may be kept, as Redis has room for it; where not, who holds the lock gives it back. */
  admits ({ run, state: { key } }: Pick<Source, 'run' | 'state'>, bytes: number): boolean {
    return run.sequence !== outage && key !== undefined && this.#shared.store.admits(key.name, bytes)
  }

  /** Keeps an entry where Redis has room for it: who waits for its run has the answer in any case. */
  send (source: Source, entry: Head, body: Buffer, coded: boolean): boolean {
    const { run } = source
    const isAdmitted = this.admits(source, body.length)
    if (isAdmitted) this.put(source, entry, body, coded)
    else if (run.sequence !== outage) this.#shared.lockQueue.committed(run.fill, false)
    return isAdmitted
  }

  /** Removes a stored answer that another one has taken the place of, unless something younger stands there. What Redis does not hear, the next validation tells it. */
  remove ({ request, state }: Pick<Source, 'request' | 'state'>, stale: Entry): void {
    const { key, varyRecord } = state
    if (key === undefined) return
    const place = varyRecord === undefined ? key : this.#varyIndex.keyOf(key, varyRecord.vary, request)
    this.#shared.store.remove(place.name, stale).catch(() => {})
  }

  /** Sends an entry. A store that fails costs the next request a run of the handler, and this one nothing. */
  put (source: Source, entry: Head, body: Buffer, coded: boolean): void {
    const { stats, lockQueue } = this.#shared
    const { fill } = source.run
    stats.add('store')
    const done = (isKept: boolean) => {
      stats.add(isKept ? 'kept' : 'lost')
      lockQueue.committed(fill, isKept)
    }
    this.#store(source, entry, body, coded).then(done, () => done(false))
  }

  async #store (source: Source, head: Head, plain: Buffer, coded: boolean): Promise<boolean> {
    const { compression: coding } = this.#policy
    if (!coded || coding === 'identity') return await this.#write(source, head, plain)
    return await this.#write(source, { ...head, coding }, await compress(plain, coding), true)
  }

  #write ({ request, state, run, receivedAt }: Source, head: Head, body: Buffer, isCoded = false): Promise<boolean> {
    if (state.key === undefined) return Promise.resolve(false)
    const lifetimeMs = keptMs(head, head.fields.some(([name]) => name === 'etag' || name === 'last-modified'), receivedAt)
    if (lifetimeMs <= 0) return Promise.resolve(false)
    const vary = this.#policy.ttlMs === undefined ? parseVary(fieldOf(head, 'vary')) : []
    const names = vary === '*' ? [] : isCoded ? vary.filter((name) => name !== 'accept-encoding') : vary
    const key: CacheKey = names.length === 0 ? state.key : this.#varyIndex.keyOf(state.key, names, request)
    const packed = encodeEntry({ ...head, key: key.text }, body)
    // Who waits, waits for what stands under the URL itself.
    const lock = key.name === state.key.name ? run.fill?.lock : undefined
    const keeping = this.#shared.store.write(key.name, { sequence: head.sequence, tags: head.tags }, packed, lifetimeMs, lock)
    if (lock !== undefined && key === state.key) return keeping
    // Both commands are sent together. A Vary record without its entry is a miss.
    const branching = key === state.key ? undefined : this.#varyIndex.add(state.key, key, names, state.varyRecord, lifetimeMs)
    return Promise.all([keeping, branching]).then(([isKept]) => {
      if (lock === undefined) this.#shared.lockQueue.committed(run.fill, false)
      return isKept
    })
  }
}
