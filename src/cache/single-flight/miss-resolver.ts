import type { Entry } from '../storage/entry-codec.ts'
import { FillError } from './fill-error.ts'
import type { InProcessFill } from './in-process-fill.ts'
import { acquireRequestOf } from './fill-lock.ts'
import type { AcquireStatus, AcquireRequest } from './fill-lock.ts'
import type { PrefetchedLock } from './prefetched-locks.ts'
import { outage } from '../response/entry-writer.ts'
import type { Lookup } from '../lookup/lookup.ts'
import type { CacheRequest } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import { isWithinSwrWindow, reuseDecision } from '../freshness.ts'
import type { HandlerRunner } from '../handler/handler-runner.ts'
import type { CacheRuntime } from '../runtime.ts'
import { StaleWhileRevalidate } from '../revalidation/stale-while-revalidate.ts'
import { forward, run, serve } from '../decision.ts'
import type { Decision } from '../decision.ts'
import type { Miss, HandlerContext } from '../handler-context.ts'
import type { RouteLookup } from '../lookup/route-lookup.ts'
import type { CacheRequestState } from '../request-state.ts'
import { wallMs } from '../../shared/clock.ts'

/** A miss with its deadline. */
interface PendingMiss extends Miss {
  /** deadline of the wait, on the `performance.now()` clock */
  readonly until: number
  /** the request has timed out once and does not wait again */
  readonly hasWaited?: boolean
}

/**
 * Resolves a cache miss: one request in one process runs the handler, and concurrent requests for the key get its result. This is single flight (request
 * coalescing), the protection against a cache stampede (dogpile, thundering herd).
 */
export class MissResolver<Request extends CacheRequest> {
  /** longest wait for another request's handler run */
  readonly #lockTimeoutMs: number
  readonly #shared: CacheRuntime
  readonly #lookup: RouteLookup<Request>
  readonly #runner: HandlerRunner<Request>
  readonly #staleWhileRevalidate: StaleWhileRevalidate<Request>

  constructor (policy: RoutePolicy<Request>, shared: CacheRuntime, lookup: RouteLookup<Request>, runner: HandlerRunner<Request>) {
    this.#lockTimeoutMs = policy.lockTimeoutMs
    this.#shared = shared
    this.#lookup = lookup
    this.#runner = runner
    this.#staleWhileRevalidate = new StaleWhileRevalidate(policy, shared)
  }

  /** Decides for a miss: joins an in-flight handler run or starts one. */
  resolve (context: HandlerContext<Request>, miss: Miss): Decision | Promise<Decision> {
    const { stale } = miss
    if (stale !== undefined && mayRevalidateFor(context, miss, stale)) return this.#serveStaleAndRevalidate(context, miss, stale)
    this.#shared.stats.add('miss')
    return this.#joinOrLead(context, { ...miss, until: performance.now() + this.#lockTimeoutMs })
  }

  /** Refreshes an entry in the background before it becomes stale. */
  early (context: HandlerContext<Request>, lookup: Lookup<Entry>, entry: Entry): void {
    if (this.#runner.isDue(entry)) this.#staleWhileRevalidate.early(context, lookup, entry)
  }

  async #serveStaleAndRevalidate (context: HandlerContext<Request>, miss: Miss, stale: Entry): Promise<Decision> {
    if (this.#runner.isFull) return serve(stale, { isHit: true })
    const fill = await this.#staleWhileRevalidate.begin(context, miss.lookup, stale)
    if (fill === undefined) return serve(stale, { isHit: true })
    this.#shared.stats.add('miss')
    return run(miss, { fill, sequence: fill.sequence })
  }

  /** Redis is unavailable: nothing is stored, but concurrent requests of this process share one run. */
  resolveWithoutRedis (context: HandlerContext<Request>, lookup: Pick<Lookup<Entry>, 'minSequence'>): Decision | Promise<Decision> {
    this.#shared.stats.add('bypass')
    // Only `minSequence` of a failed or omitted lookup is used.
    const miss = { lookup: lookup as Lookup<Entry>, reason: 'bypass' as const, wanted: undefined, until: performance.now() + this.#lockTimeoutMs }
    const name = sharedName(context, miss)
    const { singleFlight } = this.#shared
    if (name === '') return runWithoutRedis(miss, undefined)
    // Join only runs that started during the outage: an earlier one may predate a purge that this request cannot see.
    const inFlight = [name, `${name} without`].map((each) => singleFlight.find(each, outage, -1)).find((each) => each?.isOutage === true)
    return inFlight === undefined ? runWithoutRedis(miss, singleFlight.begin(`${name} without`, outage)) : this.#joinFill(context, miss, inFlight)
  }

  #joinOrLead (context: HandlerContext<Request>, miss: PendingMiss): Decision | Promise<Decision> {
    const name = sharedName(context, miss)
    if (name === '') return this.#runUnshared(context, miss)
    const { singleFlight, prefetchedLocks, store } = this.#shared
    const { minSequence, tick } = miss.lookup
    const inFlight = singleFlight.find(name, minSequence, store.tick, tick)
    if (inFlight !== undefined) return this.#joinFill(context, miss, inFlight)
    if (this.#runner.isFull) return { act: 'refuse', stale: miss.stale }
    const prefetchedLock = prefetchedLocks.claim(name)
    return prefetchedLock === undefined ? this.#leadFill(context, miss, singleFlight.begin(name, minSequence ?? 0, { tick: store.tick })) : this.#usePrefetchedLock(context, miss, prefetchedLock)
  }

  /** Runs the handler with the prefetched lock, if it was acquired. */
  #usePrefetchedLock (context: HandlerContext<Request>, miss: PendingMiss, prefetchedLock: PrefetchedLock): Decision | Promise<Decision> {
    const { singleFlight, prefetchedLocks } = this.#shared
    const { minSequence = 0, tick } = miss.lookup
    const fill = singleFlight.begin(prefetchedLock.name, tick === prefetchedLock.tick ? minSequence : 0, { lookTick: prefetchedLock.tick })
    const proceed = () => {
      const acquisition = prefetchedLocks.validate(prefetchedLock, miss.lookup)
      if (acquisition === undefined) return this.#leadFill(context, miss, fill)
      fill.sequence = acquisition.sequence
      return this.#runAsLeader(context, miss, fill, acquisition)
    }
    return prefetchedLock.isSettled ? proceed() : prefetchedLock.reply.settled().then(proceed)
  }

  /** Waits for a handler run of this process. */
  async #joinFill (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>): Promise<Decision> {
    const { stale } = miss
    if (stale !== undefined && mayRevalidateFor(context, miss, stale)) return serve(stale, { isHit: true })
    this.#shared.stats.add('wait')
    const outcome = await fill.resultWithin(miss.until - performance.now())
    if (outcome === 'late') return await this.#replaceHungLeader(context, miss, fill)
    const least = minSequenceFor(context, miss)
    if (outcome instanceof FillError) {
      if (fill.isOutage || fill.sequence >= least) return { act: 'fail', why: miss, error: outcome }
      return run(miss, { sequence: fill.sequence })
    }
    const isTooOld = typeof outcome === 'object' && outcome.sequence < least
    if (typeof outcome === 'object' && !isTooOld && reuseDecision(outcome, miss.wanted, wallMs()) === 'fresh') return serve(outcome, { forwarded: miss.reason, isCollapsed: true })
    if (fill.isOutage) return forward
    if (outcome === 'again' || isTooOld) return await this.#joinOrLead(context, miss)
    return run(miss, { sequence: fill.sequence })
  }

  /** Runs the handler for all waiting requests of this process, unless another process holds the lock. */
  async #leadFill (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>, isForced = false): Promise<Decision> {
    const request = acquireRequestOf(miss.lookup)
    const acquisition = await this.#acquire(sharedName(context, miss), isForced ? { ...request, minSequence: Infinity } : request, miss.until)
    if (acquisition === undefined) return runWithoutRedis(miss, fill)
    fill.sequence = acquisition.sequence
    return acquisition.status === 'changed' ? await this.#lookAgain(context, miss, fill) : this.#runAsLeader(context, miss, fill, acquisition)
  }

  /** Runs the handler for all waiting requests, or, if responses of this key are not shared, for this request only. */
  #runAsLeader (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>, acquisition: AcquireStatus): Decision | Promise<Decision> {
    const { sequence } = acquisition
    if (acquisition.status === 'taken') {
      fill.lock = acquisition.lock
      if (acquisition.raisedFrom !== undefined) raiseSequenceAtRequest(context.state, acquisition.raisedFrom, sequence)
      return run(miss, { fill, sequence })
    }
    if (acquisition.status === 'failed') return run(miss, { fill, sequence })
    fill.end('alone')
    return run(miss, { sequence })
  }

  /** @returns undefined if Redis failed */
  async #acquire (name: string, request: AcquireRequest, until: number): Promise<AcquireStatus | undefined> {
    try {
      return await this.#shared.lockQueue.acquireOrWait(name, request, until)
    } catch {
      return undefined // counted by the connection pool
    }
  }

  /** The stored value has changed since the lookup: repeats the lookup. */
  async #lookAgain (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>): Promise<Decision> {
    const { request, state } = context
    const lookup = this.#lookup.look(request, state, state.partition ?? '')
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return runWithoutRedis(miss, fill)
    const entry = found.outcome === 'found' ? found.entry : undefined
    if (entry !== undefined && reuseDecision(entry, miss.wanted, wallMs()) === 'fresh') {
      fill.end(entry)
      return serve(entry, { forwarded: miss.reason, isCollapsed: true })
    }
    fill.end('again')
    const next = { ...miss, lookup, stale: entry }
    return performance.now() < miss.until ? await this.#joinOrLead(context, next) : await this.#runUnshared(context, next)
  }

  /** When a request has waited `lockTimeout` for another request's handler run, it starts its own run and becomes the new leader. Other requests that time out wait for that new run, but only once. */
  async #replaceHungLeader (context: HandlerContext<Request>, miss: PendingMiss, hung: InProcessFill<Entry>): Promise<Decision> {
    if (miss.hasWaited === true || hung.isOutage) return hung.isOutage ? forward : await this.#runUnshared(context, miss)
    const late = { ...miss, hasWaited: true, until: performance.now() + this.#lockTimeoutMs }
    // The leader itself still waits for the Redis lock, and times out before this request.
    if (!hung.isRunning && hung.lock === undefined) return await this.#joinFill(context, { ...late, hasWaited: false }, hung)
    const { singleFlight, store } = this.#shared
    const name = sharedName(context, late)
    const minSequence = late.lookup.minSequence
    const inFlight = singleFlight.find(name, minSequence, store.tick, late.lookup.tick)
    if (inFlight !== undefined && inFlight !== hung) return await this.#joinFill(context, late, inFlight)
    return await this.#leadFill(context, late, singleFlight.begin(name, minSequence ?? 0, { tick: store.tick }), true)
  }

  /** Runs the handler for this request only. */
  async #runUnshared (context: HandlerContext<Request>, miss: PendingMiss): Promise<Decision> {
    const { request } = context
    const detail = miss.wanted?.noStore === true ? 'no-store' : request.method !== 'GET' ? 'method' : undefined
    if (detail !== undefined) return run(miss, { sequence: undefined, detail })
    const sequence = await this.#shared.store.sequenceForFill(miss.lookup.tagsWithoutVersion, miss.lookup.minSequenceKnown).catch(() => undefined)
    return sequence === undefined ? runWithoutRedis(miss, undefined) : run(miss, { sequence })
  }
}

/** Runs the handler during a Redis outage. */
function runWithoutRedis (miss: Miss, fill: InProcessFill<Entry> | undefined): Decision {
  if (fill !== undefined) {
    fill.isOutage = true
    fill.sequence = outage
  }
  return run({ reason: 'bypass', stale: undefined }, { fill, sequence: fill && outage, detail: 'redis' })
}

/** The lowest sequence of a run whose result this request may use. */
function minSequenceFor<Request extends CacheRequest> ({ state }: HandlerContext<Request>, { lookup }: Miss): number {
  return lookup.minSequence ?? state.sequenceAtRequest?.sequence ?? 0
}

/** If the sequence was below a tag version when the request arrived and still is, no purge happened since. The request's inputs are then as recent as the raised sequence. */
function raiseSequenceAtRequest (state: CacheRequestState, raisedFrom: number, sequence: number): void {
  if (state.sequenceAtRequest?.sequence === raisedFrom) state.sequenceAtRequest = { sequence, hasFailed: false }
}

/** Key under which a run is shared; '' if it is not: only GET requests share one, and not if responses vary by request headers. */
function sharedName<Request extends CacheRequest> ({ request, state }: HandlerContext<Request>, { wanted }: Miss): string {
  return request.method === 'GET' && wanted?.noStore !== true && state.varyRecord === undefined ? state.key?.name ?? '' : ''
}

/** Whether the request may be served a stale entry during its revalidation (RFC 5861 section 3). */
function mayRevalidateFor<Request> ({ state }: HandlerContext<Request>, { reason, wanted }: Miss, stale: Entry): boolean {
  const acceptsStale = wanted === undefined || (wanted.noCache === false && wanted.maxAge === undefined && wanted.minFresh === undefined)
  return reason === 'stale' && acceptsStale && state.varyRecord === undefined && isWithinSwrWindow(stale, wallMs())
}
