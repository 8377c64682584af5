import { parseVary } from '../http/vary.ts'
import { compress } from './coding.ts'
import { fieldOf, packEntry } from './entry.ts'
import type { Entry, Head } from './entry.ts'
import { keptMs } from './freshness.ts'
import type { Key } from './key.ts'
import type { Asking } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import type { Shared } from './shared.ts'
import { retagged } from './uri-tag.ts'
import type { Variants } from './variants.ts'
import type { HandlerRun, Visit } from './visit.ts'

/** The sequence of a fill while Redis is away: older than every marker, so nothing of it is kept or given to who has seen one. */
export const outage = 0

/** Whose answer is kept. */
interface Source {
  readonly request: Asking
  readonly visit: Visit
  readonly run: HandlerRun
  readonly receivedAt: number
}

/** Sends answers of one route to Redis, behind what requests ask. */
export class Keeping {
  readonly #policy: RoutePolicy
  readonly #shared: Shared
  readonly #variants: Variants

  constructor (policy: RoutePolicy, shared: Shared, variants: Variants) {
    this.#policy = policy
    this.#shared = shared
    this.#variants = variants
  }

  /** Whether an entry may be kept, as Redis has room for it; where not, who holds the lock gives it back. */
  admits ({ run, visit: { key } }: Pick<Source, 'run' | 'visit'>, bytes: number): boolean {
    return run.sequence !== outage && key !== undefined && this.#shared.store.admits(key.name, bytes)
  }

  /** Keeps an entry where Redis has room for it: who waits for its run has the answer in any case. */
  send (source: Source, entry: Head, body: Buffer, coded: boolean): boolean {
    const { run } = source
    const isAdmitted = this.admits(source, body.length)
    if (isAdmitted) this.put(source, entry, body, coded)
    else if (run.sequence !== outage) this.#shared.entrance.stored(run.fill, false)
    return isAdmitted
  }

  /** Removes a stored answer that another one has taken the place of, unless something younger stands there. What Redis does not hear, the next validation tells it. */
  remove ({ request, visit }: Pick<Source, 'request' | 'visit'>, stale: Entry): void {
    const { key, branch } = visit
    if (key === undefined) return
    const place = branch === undefined ? key : this.#variants.keyOf(key, branch.vary, request)
    this.#shared.store.remove(place.name, stale).catch(() => {})
  }

  /** Sends an entry. A store that fails costs the next request a run of the handler, and this one nothing. */
  put (source: Source, entry: Head, body: Buffer, coded: boolean): void {
    const { counts, entrance } = this.#shared
    const { fill } = source.run
    counts.add('store')
    const done = (isKept: boolean) => {
      counts.add(isKept ? 'kept' : 'lost')
      entrance.stored(fill, isKept)
    }
    this.#store(source, entry, body, coded).then(done, () => done(false))
  }

  async #store (source: Source, head: Head, plain: Buffer, coded: boolean): Promise<boolean> {
    const { coding } = this.#policy
    if (!coded || coding === 'identity') return await this.#write(source, head, plain)
    return await this.#write(source, { ...head, coding }, await compress(plain, coding), true)
  }

  #write ({ request, visit, run, receivedAt }: Source, head: Head, body: Buffer, isCoded = false): Promise<boolean> {
    if (visit.key === undefined) return Promise.resolve(false)
    const place = this.#variants.placeOf(visit.key, fieldOf(head, 'no-vary-search'))
    const tags = place === visit.key ? head.tags : retagged(head.tags, request, request.raw.url ?? '', place.search !== undefined)
    const lifetimeMs = keptMs(head, head.fields.some(([name]) => name === 'etag' || name === 'last-modified'), receivedAt)
    if (lifetimeMs <= 0) return Promise.resolve(false)
    const vary = this.#policy.ttlMs === undefined ? parseVary(fieldOf(head, 'vary')) : []
    const names = vary === '*' ? [] : isCoded ? vary.filter((name) => name !== 'accept-encoding') : vary
    const key: Key = names.length === 0 ? place : this.#variants.keyOf(place, names, request)
    const packed = packEntry({ ...head, tags, key: key.text }, body)
    // Who waits, waits for what stands under the URL itself.
    const lock = key.name === visit.key.name ? run.fill?.lock : undefined
    const keeping = this.#shared.store.keep(key.name, { sequence: head.sequence, tags }, packed, lifetimeMs, lock)
    if (lock !== undefined && key === place) return keeping
    // Both leave together; a branch that leads to nothing is a miss.
    const branching = key === place ? undefined : this.#variants.add(place, key, names, place === visit.key ? visit.branch : undefined, lifetimeMs)
    return Promise.all([keeping, branching]).then(([isKept]) => {
      if (lock === undefined) this.#shared.entrance.stored(run.fill, false)
      return isKept
    })
  }
}
