import type { CacheStatus } from '../../http/cache-status.ts'
import type { Entry } from '../storage/entry-codec.ts'
import type { FillOutcome, InProcessFill } from './in-process-fill.ts'
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

/** Nobody waits longer than this for somebody else's run, once; then he takes its place. */
const patienceMs = 5000

/** A miss that waits. */
interface PendingMiss extends Miss {
  /** when patience ends, as `performance.now()` counts */
  readonly until: number
  /** it has ended once: this one waits for nobody any more */
  readonly hasWaited?: boolean
}

/** Answers what nothing stored can answer: one request runs the handler, in one of all processes, and the others take what it made. */
export class MissResolver<Request extends CacheRequest> {
  readonly #shared: CacheRuntime
  readonly #front: Front<Request>
  readonly #runner: HandlerRunner<Request>
  readonly #staleWhileRevalidate: StaleWhileRevalidate<Request>

  constructor (policy: RoutePolicy<Request>, shared: CacheRuntime, front: Front<Request>, runner: HandlerRunner<Request>) {
    this.#shared = shared
    this.#front = front
    this.#runner = runner
    this.#staleWhileRevalidate = new StaleWhileRevalidate(policy, shared)
  }

  /** Takes part in another's run of the handler, or begins one. */
  answer (context: HandlerContext<Request>, miss: Miss): unknown {
    const { stale } = miss
    if (stale !== undefined && mayRevalidateFor(context, miss, stale)) return this.#swap(context, miss, stale)
    this.#shared.stats.add('miss')
    return this.#joinOrLead(context, { ...miss, until: performance.now() + patienceMs })
  }

  /** Answers a request of the app's own, which makes a stale answer anew; to one that is not what was meant, with nothing. */
  refill (context: HandlerContext<Request>, refresh: BackgroundRefresh): unknown {
    if (context.state.key?.name !== refresh.name) {
      context.reply.code(204)
      context.reply.send()
      return undefined
    }
    refresh.hasBegun = true
    return this.#runner.run(context, { reason: 'stale', stale: refresh.stale }, { fill: refresh.fill, sequence: refresh.fill.sequence })
  }

  /** Has an answer made anew that will be stale soon. */
  early (context: HandlerContext<Request>, lookup: Lookup<Entry>, entry: Entry): void {
    if (this.#runner.isDue(entry)) this.#staleWhileRevalidate.early(context, lookup, entry)
  }

  async #swap (context: HandlerContext<Request>, miss: Miss, stale: Entry): Promise<unknown> {
    if (this.#runner.isFull) return this.#serve(context, stale, { isHit: true })
    const fill = await this.#staleWhileRevalidate.begin(context, miss.lookup, stale)
    if (fill === undefined) return this.#serve(context, stale, { isHit: true })
    this.#shared.stats.add('miss')
    return this.#runner.run(context, miss, { fill, sequence: fill.sequence })
  }

  /** Without Redis nothing is kept, but those of this process who want the same at the same time share one run. */
  alone (context: HandlerContext<Request>, lookup: Pick<Lookup<Entry>, 'minSequence'>): unknown {
    this.#shared.stats.add('bypass')
    // Of a look that has failed, or was not made, nothing else is used.
    const miss = { lookup: lookup as Lookup<Entry>, reason: 'bypass' as const, wanted: undefined, until: performance.now() + patienceMs }
    const name = sharedName(context, miss)
    const { singleFlight } = this.#shared
    if (name === '') return this.#runWithoutRedis(context, miss, undefined)
    // A run that began with Redis may be older than a purge which this one cannot know of.
    const underWay = [name, `${name} without`].map((each) => singleFlight.find(each, outage, -1)).find((each) => each?.isOutage === true)
    return underWay === undefined ? this.#runWithoutRedis(context, miss, singleFlight.begin(`${name} without`, outage)) : this.#joinFlight(context, miss, underWay)
  }

  #joinOrLead (context: HandlerContext<Request>, miss: PendingMiss): unknown {
    const name = sharedName(context, miss)
    if (name === '') return this.#runUnshared(context, miss)
    const { singleFlight, prefetchedLocks, store } = this.#shared
    const { minSequence, tick } = miss.lookup
    const underWay = singleFlight.find(name, minSequence, store.tick, tick)
    if (underWay !== undefined) return this.#joinFlight(context, miss, underWay)
    if (this.#runner.isFull) return this.#runner.refuse(context, miss.stale)
    const prefetchedLock = prefetchedLocks.claim(name)
    return prefetchedLock === undefined ? this.#leadFlight(context, miss, singleFlight.begin(name, minSequence ?? 0, { tick: store.tick })) : this.#usePrefetchedLock(context, miss, prefetchedLock)
  }

  /** Runs the handler with the lock that was asked for along with a look, if it was to be had. */
  #usePrefetchedLock (context: HandlerContext<Request>, miss: PendingMiss, prefetchedLock: PrefetchedLock): unknown {
    const { singleFlight, prefetchedLocks } = this.#shared
    const { minSequence = 0, tick } = miss.lookup
    const fill = singleFlight.begin(prefetchedLock.name, tick === prefetchedLock.tick ? minSequence : 0, { lookTick: prefetchedLock.tick })
    const goOn = () => {
      const taking = prefetchedLocks.validate(prefetchedLock, miss.lookup)
      if (taking === undefined) return this.#leadFlight(context, miss, fill)
      fill.sequence = taking.sequence
      return this.#runAsLeader(context, miss, fill, taking)
    }
    return prefetchedLock.isAnswered ? goOn() : prefetchedLock.answer.then(goOn)
  }

  /** Waits for a run of this process. */
  async #joinFlight (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>): Promise<unknown> {
    const { stale } = miss
    if (stale !== undefined && mayRevalidateFor(context, miss, stale)) return this.#serve(context, stale, { isHit: true })
    this.#shared.stats.add('wait')
    const ending = await patient(fill.result, miss.until - performance.now())
    if (ending === 'late') return await this.#replaceHungLeader(context, miss, fill)
    const isLater = typeof ending === 'object' && ending.sequence < leastFor(context, miss)
    if (typeof ending === 'object' && !isLater && reuseDecision(ending, miss.wanted, Date.now()) === 'fresh') return this.#serve(context, ending, { forwarded: miss.reason, isCollapsed: true })
    if (fill.isOutage) return this.#forward(context)
    if (ending === 'again' || isLater) return await this.#joinOrLead(context, miss)
    return this.#runner.run(context, miss, { sequence: fill.sequence })
  }

  /** Runs the handler for all who come by this process, unless another process does. */
  async #leadFlight (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>, isForced = false): Promise<unknown> {
    const wish = acquireRequestOf(miss.lookup)
    const taking = await this.#enter(sharedName(context, miss), isForced ? { ...wish, minSequence: Infinity } : wish, miss.until)
    if (taking === undefined) return this.#runWithoutRedis(context, miss, fill)
    fill.sequence = taking.sequence
    return taking.word === 'changed' ? await this.#lookAgain(context, miss, fill) : this.#runAsLeader(context, miss, fill, taking)
  }

  /** Runs the handler for all who come by, or, where answers are not shared, for this request alone. */
  #runAsLeader (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>, taking: AcquireStatus): unknown {
    const { sequence } = taking
    if (taking.word === 'taken') {
      fill.lock = taking.lock
      if (taking.raisedFrom !== undefined) raiseStanding(context.state, taking.raisedFrom, sequence)
      return this.#runner.run(context, miss, { fill, sequence })
    }
    fill.end('alone')
    return this.#runner.run(context, miss, { sequence })
  }

  /** @returns undefined when Redis did not answer */
  async #enter (name: string, wish: AcquireRequest, until: number): Promise<AcquireStatus | undefined> {
    try {
      return await this.#shared.lockQueue.acquireOrWait(name, wish, until)
    } catch {
      return undefined // the cause is counted where connections are
    }
  }

  /** Somebody has filled meanwhile. */
  async #lookAgain (context: HandlerContext<Request>, miss: PendingMiss, fill: InProcessFill<Entry>): Promise<unknown> {
    const lookup = this.#front.look(context)
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return this.#runWithoutRedis(context, miss, fill)
    const entry = found.outcome === 'found' ? found.entry : undefined
    if (entry !== undefined && reuseDecision(entry, miss.wanted, Date.now()) === 'fresh') {
      fill.end(entry)
      return this.#serve(context, entry, { forwarded: miss.reason, isCollapsed: true })
    }
    fill.end('again')
    const next = { ...miss, lookup, stale: entry }
    return performance.now() < miss.until ? await this.#joinOrLead(context, next) : await this.#runUnshared(context, next)
  }

  /** Whoever waited in vain takes the place of the run that he waited for; others of the late ones wait for him, but only once. */
  async #replaceHungLeader (context: HandlerContext<Request>, miss: PendingMiss, hung: InProcessFill<Entry>): Promise<unknown> {
    if (miss.hasWaited === true || hung.isOutage) return hung.isOutage ? this.#forward(context) : await this.#runUnshared(context, miss)
    const late = { ...miss, isLate: true, until: performance.now() + patienceMs }
    // It waits itself, came before, and is out of patience too.
    if (hung.lock === undefined) return await this.#joinFlight(context, late, hung)
    const { singleFlight, store } = this.#shared
    const name = sharedName(context, late)
    const required = late.lookup.minSequence
    const underWay = singleFlight.find(name, required, store.tick, late.lookup.tick)
    if (underWay !== undefined && underWay !== hung) return await this.#joinFlight(context, late, underWay)
    return await this.#leadFlight(context, late, singleFlight.begin(name, required ?? 0, { tick: store.tick }), true)
  }

  /** Runs the handler for a request whose answer others cannot wait for. */
  async #runUnshared (context: HandlerContext<Request>, miss: PendingMiss): Promise<unknown> {
    const { request } = context
    const detail = miss.wanted?.noStore === true ? 'no-store' : request.method !== 'GET' ? 'method' : undefined
    if (detail !== undefined) return this.#runner.run(context, miss, { sequence: undefined, detail })
    const sequence = await this.#shared.store.begin(miss.lookup.tagsWithoutVersion, miss.lookup.minSequenceKnown).catch(() => undefined)
    return sequence === undefined ? this.#runWithoutRedis(context, miss, undefined) : this.#runner.run(context, miss, { sequence })
  }

  /** Runs the handler while Redis is gone. */
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

/** The sequence that a run must have begun at, at least, for its answer to be this request's too. */
function leastFor<Request extends CacheRequest> ({ state }: HandlerContext<Request>, { lookup }: Miss): number {
  return lookup.minSequence ?? state.sequenceAtRequest?.sequence ?? 0
}

/** Where the sequence stood below a marker when the request came, and still does, nothing was purged since: what its handler works with is as young as the marker. */
function raiseStanding (state: CacheRequestState, raisedFrom: number, sequence: number): void {
  if (state.sequenceAtRequest?.sequence === raisedFrom) state.sequenceAtRequest = { sequence, hasFailed: false }
}

/** Only GETs of one key share a run; where answers vary, nobody knows before whether they are the same. */
function sharedName<Request extends CacheRequest> ({ request, state }: HandlerContext<Request>, { wanted }: Miss): string {
  return request.method === 'GET' && wanted?.noStore !== true && state.varyRecord === undefined ? state.key?.name ?? '' : ''
}

/** While one makes it anew, the others take what there is, unless they ask for better (RFC 5861 section 3). */
function mayRevalidateFor<Request> ({ state }: HandlerContext<Request>, { reason, wanted }: Miss, stale: Entry): boolean {
  const isContent = wanted === undefined || (wanted.noCache === false && wanted.maxAge === undefined && wanted.minFresh === undefined)
  return reason === 'stale' && isContent && state.varyRecord === undefined && isWithinSwrWindow(stale, Date.now())
}

async function patient (result: Promise<FillOutcome<Entry>>, longestMs: number): Promise<FillOutcome<Entry> | 'late'> {
  const { promise, resolve } = Promise.withResolvers<'late'>()
  const timer = setTimeout(resolve, Math.max(0, longestMs), 'late' as const)
  return await Promise.race([result, promise]).finally(() => clearTimeout(timer))
}
