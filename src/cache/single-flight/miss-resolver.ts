import type { CacheStatus } from '../../http/cache-status.ts'
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
import type { BackgroundRefresh } from '../revalidation/background-refresh.ts'
import { isWithinSwrWindow, reuseDecision } from '../lookup/reuse.ts'
import type { HandlerRunner } from '../handler/handler-runner.ts'
import type { CacheRuntime } from '../runtime.ts'
import { StaleWhileRevalidate } from '../revalidation/stale-while-revalidate.ts'
import { orReply } from '../handler-context.ts'
import type { Front, Miss, HandlerContext } from '../handler-context.ts'
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
  readonly #front: Front<Request>
  readonly #runner: HandlerRunner<Request>
  readonly #staleWhileRevalidate: StaleWhileRevalidate<Request>

  constructor (policy: RoutePolicy<Request>, shared: CacheRuntime, front: Front<Request>, runner: HandlerRunner<Request>) {
    this.#lockTimeoutMs = policy.lockTimeoutMs
    this.#shared = shared
    this.#front = front
    this.#runner = runner
    this.#staleWhileRevalidate = new StaleWhileRevalidate(policy, shared)
  }

  /** Joins an in-flight handler run or starts one. */
  answer (context: HandlerContext<Request>, miss: Miss): unknown {
    const { stale } = miss
    if (stale !== undefined && mayRevalidateFor(context, miss, stale)) return this.#serveStaleAndRevalidate(context, miss, stale)
    this.#shared.stats.add('miss')
    return this.#joinOrLead(context, { ...miss, until: performance.now() + this.#lockTimeoutMs })
  }

  /** Runs the handler for the internal request of a background refresh. If a hook changed its cache key, replies 204 without running it. */
  refill (context: HandlerContext<Request>, refresh: BackgroundRefresh): unknown {
    if (context.state.key?.name !== refresh.name) {
      context.reply.code(204)
      context.reply.send()
      return undefined
    }
    refresh.hasBegun = true
    return this.#runner.run(context, { reason: 'stale', stale: refresh.stale }, { fill: refresh.fill, sequence: refresh.fill.sequence })
  }

  /** Refreshes an entry in the background before it becomes stale. */
  early (context: HandlerContext<Request>, lookup: Lookup<Entry>, entry: Entry): void {
    if (this.#runner.isDue(entry)) this.#staleWhileRevalidate.early(context, lookup, entry)
  }

  async #serveStaleAndRevalidate (context: HandlerContext<Request>, miss: Miss, stale: Entry): Promise<unknown> {
    if (this.#runner.isFull) return this.#serve(context, stale, { isHit: true })
    const fill = await this.#staleWhileRevalidate.begin(context, miss.lookup, stale)
    if (fill === undefined) return this.#serve(context, stale, { isHit: true })
    this.#shared.stats.add('miss')
    return this.#runner.run(context, miss, { fill, sequence: fill.sequence })
  }

  /** Redis is unavailable: nothing is stored, but concurrent requests of this process share one run. */
  resolveWithoutRedis (context: HandlerContext<Request>, lookup: Pick<Lookup<Entry>, 'minSequence'>): unknown {
    this.#shared.stats.add('bypass')
    // Only `minSequence` of a failed or omitted lookup is used.
    const miss = { lookup: lookup as Lookup<Entry>, reason: 'bypass' as const, wanted: undefined, until: performance.now() + this.#lockTimeoutMs }
    const name = sharedName(context, miss)
    const { singleFlight } = this.#shared
    if (name === '') return this.#runWithoutRedis(context, miss, undefined)
    // Join only runs that started during the outage: an earlier one may predate a purge that this request cannot see.
    const inFlight = [name, `${name} without`].map((each) => singleFlight.find(each, outage, -1)).find((each) => each?.isOutage === true)
    return inFlight === undefined ? this.#runWithoutRedis(context, miss, singleFlight.begin(`${name} without`, outage)) : this.#joinFill(context, miss, inFlight)
  }

  #joinOrLead (context: HandlerContext<Request>, miss: PendingMiss): unknown {
    const name = sharedName(context, miss)
    if (name === '') return this.#runUnshared(context, miss)
    const { singleFlight, prefetchedLocks, store } = this.#shared
    const { minSequence, tick } = miss.lookup
    const inFlight = singleFlight.find(name, minSequence, store.tick, tick)
    if (inFlight !== undefined) return this.#joinFill(context, miss, inFlight)
    if (this.#runner.isFull) return this.#runner.refuse(context, miss.stale)
    const prefetchedLock = prefetchedLocks.claim(name)
    return prefetchedLock === undefined ? this.#leadFill(context, miss, singleFlight.begin(name, minSequence ?? 0, { tick: store.tick })) : this.#usePrefetchedLock(context, miss, prefetchedLock)
  }

  /** Runs the handler with the prefetched lock, if it was acquired. */
  #usePrefetchedLock (context: HandlerContext<Request>, miss: PendingMiss, prefetchedLock: PrefetchedLock): unknown {
    const { singleFlight, prefetchedLocks } = this.#shared
    const { minSequence = 0, tick } = miss.lookup
    const fill = singleFlight.begin(prefetchedLock.name, tick === prefetchedLock.tick ? minSequence : 0, { lookTick: prefetchedLock.tick })
    const proceed = () => {
      const acquisition = prefetchedLocks.validate(prefetchedLock, miss.lookup)
      if (acquisition === undefined) return this.#leadFill(context, miss, fill)
      fill.sequence = acquisition.sequence
      return this.#runAsLeader(context, miss, fill, acquisition)
    }
    return prefetchedLock.isAnswered ? proceed() : prefetchedLock.answer.then(proceed)
  }

  /** Waits for a handler run of this process. */
  async #joinFill (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>): Promise<unknown> {
    const { stale } = miss
    if (stale !== undefined && mayRevalidateFor(context, miss, stale)) return this.#serve(context, stale, { isHit: true })
    this.#shared.stats.add('wait')
    const outcome = await fill.resultWithin(miss.until - performance.now())
    if (outcome === 'late') return await this.#replaceHungLeader(context, miss, fill)
    const least = minSequenceFor(context, miss)
    if (outcome instanceof FillError) {
      if (fill.isOutage || fill.sequence >= least) return this.#runner.rethrow(context, miss, outcome)
      return this.#runner.run(context, miss, { sequence: fill.sequence })
    }
    const isTooOld = typeof outcome === 'object' && outcome.sequence < least
    if (typeof outcome === 'object' && !isTooOld && reuseDecision(outcome, miss.wanted, wallMs()) === 'fresh') return this.#serve(context, outcome, { forwarded: miss.reason, isCollapsed: true })
    if (fill.isOutage) return this.#forward(context)
    if (outcome === 'again' || isTooOld) return await this.#joinOrLead(context, miss)
    return this.#runner.run(context, miss, { sequence: fill.sequence })
  }

  /** Runs the handler for all waiting requests of this process, unless another process holds the lock. */
  async #leadFill (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>, isForced = false): Promise<unknown> {
    const request = acquireRequestOf(miss.lookup)
    const acquisition = await this.#acquire(sharedName(context, miss), isForced ? { ...request, minSequence: Infinity } : request, miss.until)
    if (acquisition === undefined) return this.#runWithoutRedis(context, miss, fill)
    fill.sequence = acquisition.sequence
    return acquisition.status === 'changed' ? await this.#lookAgain(context, miss, fill) : this.#runAsLeader(context, miss, fill, acquisition)
  }

  /** Runs the handler for all waiting requests, or, if responses of this key are not shared, for this request only. */
  #runAsLeader (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>, acquisition: AcquireStatus): unknown {
    const { sequence } = acquisition
    if (acquisition.status === 'taken') {
      fill.lock = acquisition.lock
      if (acquisition.raisedFrom !== undefined) raiseSequenceAtRequest(context.state, acquisition.raisedFrom, sequence)
      return this.#runner.run(context, miss, { fill, sequence })
    }
    if (acquisition.status === 'failed') return this.#runner.run(context, miss, { fill, sequence })
    fill.end('alone')
    return this.#runner.run(context, miss, { sequence })
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
  async #lookAgain (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>): Promise<unknown> {
    const lookup = this.#front.look(context)
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return this.#runWithoutRedis(context, miss, fill)
    const entry = found.outcome === 'found' ? found.entry : undefined
    if (entry !== undefined && reuseDecision(entry, miss.wanted, wallMs()) === 'fresh') {
      fill.end(entry)
      return this.#serve(context, entry, { forwarded: miss.reason, isCollapsed: true })
    }
    fill.end('again')
    const next = { ...miss, lookup, stale: entry }
    return performance.now() < miss.until ? await this.#joinOrLead(context, next) : await this.#runUnshared(context, next)
  }

  /** When a request has waited `lockTimeout` for another request's handler run, it starts its own run and becomes the new leader. Other requests that time out wait for that new run, but only once. */
  async #replaceHungLeader (context: HandlerContext<Request>, miss: PendingMiss, hung: InProcessFill<Entry>): Promise<unknown> {
    if (miss.hasWaited === true || hung.isOutage) return hung.isOutage ? this.#forward(context) : await this.#runUnshared(context, miss)
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
  async #runUnshared (context: HandlerContext<Request>, miss: PendingMiss): Promise<unknown> {
    const { request } = context
    const detail = miss.wanted?.noStore === true ? 'no-store' : request.method !== 'GET' ? 'method' : undefined
    if (detail !== undefined) return this.#runner.run(context, miss, { sequence: undefined, detail })
    const sequence = await this.#shared.store.sequenceForFill(miss.lookup.tagsWithoutVersion, miss.lookup.minSequenceKnown).catch(() => undefined)
    return sequence === undefined ? this.#runWithoutRedis(context, miss, undefined) : this.#runner.run(context, miss, { sequence })
  }

  /** Runs the handler during a Redis outage. */
  #runWithoutRedis (context: HandlerContext<Request>, miss: Miss, fill: InProcessFill<Entry> | undefined): unknown {
    if (fill !== undefined) {
      fill.isOutage = true
      fill.sequence = outage
    }
    return this.#runner.run(context, { ...miss, reason: 'bypass', stale: undefined }, { fill, sequence: fill && outage, detail: 'redis' })
  }

  #serve (context: HandlerContext<Request>, entry: Entry, status: CacheStatus): unknown {
    return orReply(context.reply, this.#front.serve(context, entry, status))
  }

  #forward (context: HandlerContext<Request>): unknown {
    return orReply(context.reply, this.#front.forward(context, 'bypass', 'redis'))
  }
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
