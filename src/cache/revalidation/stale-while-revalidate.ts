import { LRUCache } from 'lru-cache'
import type { Entry } from '../storage/entry-codec.ts'
import { FillError } from '../single-flight/fill-error.ts'
import type { FillOutcome, InProcessFill } from '../single-flight/in-process-fill.ts'
import type { Lookup } from '../lookup/lookup.ts'
import { acquireRequestOf } from '../single-flight/fill-lock.ts'
import type { CacheRequest } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import { BackgroundRefresh } from './background-refresh.ts'
import { isIdentity, isRepeatable, refreshRequestFor } from './refresh-request.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { HandlerContext } from '../handler-context.ts'

/** Delay after a failed refresh of a key. */
const retryDelayMs = 1000
/** After hooks have rejected an internal request, client requests revalidate for this long. */
const rejectedMs = 60_000

/** Revalidates the stale entries of one route while requests are served the stale entry (RFC 5861 section 3). One process at a time revalidates a key. */
export class StaleWhileRevalidate<Request extends CacheRequest> {
  readonly #policy: RoutePolicy<Request>
  readonly #runtime: CacheRuntime
  /** Keys that are not revalidated yet; created with the first: it allocates all of its entries at once. */
  #delayed: LRUCache<string, true> | undefined
  readonly #isAnonymous: boolean
  #rejectedUntil = 0

  constructor (policy: RoutePolicy<Request>, runtime: CacheRuntime) {
    this.#policy = policy
    this.#runtime = runtime
    this.#isAnonymous = policy.partition === undefined && !policy.vary.some(isIdentity)
  }

  /**
   * Starts the revalidation of a stale entry, unless it is in flight.
   *
   * @returns the fill that this request must run, if no internal request can; undefined if the request may be served the stale entry
   */
  async begin (context: HandlerContext<Request>, lookup: Lookup<Entry>, stale: Entry): Promise<InProcessFill<Entry> | undefined> {
    const name = context.state.key?.name ?? ''
    const mayRefresh = this.#mayRefresh(context)
    if (this.#isBusy(name, lookup, mayRefresh)) return undefined
    if (mayRefresh) {
      this.#refresh(context, lookup, stale)
      return undefined
    }
    if (context.request.method !== 'GET') return undefined
    const fill = this.#fill(name, lookup)
    if (await this.#tryAcquire(fill, name, lookup)) return fill
    fill.end('again')
    return undefined
  }

  /** Refreshes a fresh entry early, if an internal request can do it. */
  early (context: HandlerContext<Request>, lookup: Lookup<Entry>, entry: Entry): void {
    if (this.#mayRefresh(context) && !this.#isBusy(context.state.key?.name ?? '', lookup, true)) this.#refresh(context, lookup, entry)
  }

  #mayRefresh ({ request, state }: HandlerContext<Request>): boolean {
    return this.#isAnonymous && performance.now() > this.#rejectedUntil && isRepeatable(request, state.key?.url ?? '')
  }

  #isBusy (name: string, lookup: Lookup<Entry>, mayRefresh: boolean): boolean {
    const { singleFlight, store, refreshes } = this.#runtime
    if (mayRefresh && !refreshes.hasRoom) return true
    return this.#delayed?.has(name) === true || singleFlight.find(name, lookup.minSequence, store.tick, lookup.tick) !== undefined
  }

  #fill (name: string, lookup: Lookup<Entry>): InProcessFill<Entry> {
    return this.#runtime.singleFlight.begin(name, lookup.minSequence ?? 0, { tick: this.#runtime.store.tick })
  }

  /** Acquires the lock without waiting, because a stale entry is available. */
  async #tryAcquire (fill: InProcessFill<Entry>, name: string, lookup: Lookup<Entry>): Promise<boolean> {
    const acquisition = await this.#runtime.lockQueue.tryAcquire(name, acquireRequestOf(lookup)).catch(() => undefined)
    if (acquisition?.status !== 'taken') {
      this.#delay(name, acquisition?.remainingMs ?? retryDelayMs)
      return false
    }
    fill.sequence = acquisition.sequence
    fill.lock = acquisition.lock
    return true
  }

  #refresh ({ request, state }: HandlerContext<Request>, lookup: Lookup<Entry>, stale: Entry): void {
    const name = state.key?.name ?? ''
    const refresh = new BackgroundRefresh(name, stale, this.#fill(name, lookup))
    const internalRequest = refreshRequestFor(request, state.key?.url ?? '', (state.keyed ?? request).headers, this.#policy)
    const { lockQueue, refreshes, stats } = this.#runtime
    const work = async () => {
      if (!await this.#tryAcquire(refresh.fill, name, lookup)) return refresh.fill.end('again')
      stats.add('revalidate')
      await refreshes.send(internalRequest, refresh)
      if (refresh.hasBegun) return
      this.#rejectedUntil = performance.now() + rejectedMs
      lockQueue.abandon(refresh.fill, 'again')
    }
    refreshes.track(work).catch(() => lockQueue.abandon(refresh.fill, 'again'))
    refresh.fill.result.then((ending) => { if (hasFailed(ending) && refresh.hasBegun) this.#delay(name, retryDelayMs) })
  }

  #delay (name: string, ms: number): void {
    if (ms <= 0) return
    this.#delayed ??= new LRUCache({ max: 1000 })
    this.#delayed.set(name, true, { ttl: ms })
  }
}

function hasFailed (ending: FillOutcome<Entry>): boolean {
  return typeof ending === 'string' || ending instanceof FillError
}
