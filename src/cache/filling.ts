import type { CacheStatus } from '../http/cache-status.ts'
import type { Entry } from './entry.ts'
import type { Ending, Fill } from './fill/fill.ts'
import { wishOf } from './fill/lock.ts'
import type { Taking, Wish } from './fill/lock.ts'
import type { Reservation } from './fill/reservations.ts'
import { outage } from './keeping.ts'
import type { Lookup } from './lookup.ts'
import type { Asking } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import type { Refresh } from './refresh.ts'
import { maySwap, useOf } from './reuse.ts'
import type { Running } from './running.ts'
import type { Shared } from './shared.ts'
import { Swapping } from './swapping.ts'
import { waitedFor } from './turn.ts'
import type { Front, Miss, Turn } from './turn.ts'
import type { Visit } from './visit.ts'

/** Nobody waits longer than this for somebody else's run, once; then he takes its place. */
const patienceMs = 5000

/** A miss that waits. */
interface Wanting extends Miss {
  /** when patience ends, as `performance.now()` counts */
  readonly until: number
  /** it has ended once: this one waits for nobody any more */
  readonly isLate?: boolean
}

/** Answers what nothing stored can answer: one request runs the handler, in one of all processes, and the others take what it made. */
export class Filling<Request extends Asking> {
  readonly #shared: Shared
  readonly #front: Front<Request>
  readonly #running: Running<Request>
  readonly #swapping: Swapping<Request>

  constructor (policy: RoutePolicy<Request>, shared: Shared, front: Front<Request>, running: Running<Request>) {
    this.#shared = shared
    this.#front = front
    this.#running = running
    this.#swapping = new Swapping(policy, shared)
  }

  /** Takes part in another's run of the handler, or begins one. */
  answer (turn: Turn<Request>, miss: Miss): unknown {
    const { stale } = miss
    if (stale !== undefined && maySwapFor(turn, miss, stale)) return this.#swap(turn, miss, stale)
    this.#shared.counts.add('miss')
    return this.#share(turn, { ...miss, until: performance.now() + patienceMs })
  }

  /** Answers a request of the app's own, which makes a stale answer anew; to one that is not what was meant, with nothing. */
  refill (turn: Turn<Request>, refresh: Refresh): unknown {
    if (turn.visit.key?.name !== refresh.name) {
      turn.reply.code(204)
      turn.reply.send()
      return undefined
    }
    refresh.hasBegun = true
    return this.#running.run(turn, { reason: 'stale', stale: refresh.stale }, { fill: refresh.fill, sequence: refresh.fill.sequence })
  }

  /** Has an answer made anew that will be stale soon. */
  early (turn: Turn<Request>, lookup: Lookup<Entry>, entry: Entry): void {
    if (this.#running.isDue(entry)) this.#swapping.early(turn, lookup, entry)
  }

  async #swap (turn: Turn<Request>, miss: Miss, stale: Entry): Promise<unknown> {
    if (this.#running.isFull) return this.#serve(turn, stale, { isHit: true })
    const fill = await this.#swapping.begin(turn, miss.lookup, stale)
    if (fill === undefined) return this.#serve(turn, stale, { isHit: true })
    this.#shared.counts.add('miss')
    return this.#running.run(turn, miss, { fill, sequence: fill.sequence })
  }

  /** Without Redis nothing is kept, but those of this process who want the same at the same time share one run. */
  alone (turn: Turn<Request>, lookup: Pick<Lookup<Entry>, 'requiredSequence'>): unknown {
    this.#shared.counts.add('bypass')
    // Of a look that has failed, or was not made, nothing else is used.
    const miss = { lookup: lookup as Lookup<Entry>, reason: 'bypass' as const, wanted: undefined, until: performance.now() + patienceMs }
    const name = sharedName(turn, miss)
    const { fills } = this.#shared
    if (name === '') return this.#runWithout(turn, miss, undefined)
    // A run that began with Redis may be older than a purge which this one cannot know of.
    const underWay = [name, `${name} without`].map((each) => fills.find(each, outage, -1)).find((each) => each?.isOutage === true)
    return underWay === undefined ? this.#runWithout(turn, miss, fills.begin(`${name} without`, outage)) : this.#join(turn, miss, underWay)
  }

  #share (turn: Turn<Request>, miss: Wanting): unknown {
    const name = sharedName(turn, miss)
    if (name === '') return this.#runUnshared(turn, miss)
    const { fills, reservations, store } = this.#shared
    const { requiredSequence: required, tick } = miss.lookup
    const underWay = fills.find(name, required, store.tick, tick)
    if (underWay !== undefined) return this.#join(turn, miss, underWay)
    if (this.#running.isFull) return this.#running.refuse(turn, miss.stale)
    const reservation = reservations.takeUp(name)
    return reservation === undefined ? this.#lead(turn, miss, fills.begin(name, required ?? 0, { tick: store.tick })) : this.#redeem(turn, miss, reservation)
  }

  /** Runs the handler with the lock that was asked for along with a look, if it was to be had. */
  #redeem (turn: Turn<Request>, miss: Wanting, reservation: Reservation): unknown {
    const { fills, reservations } = this.#shared
    const { requiredSequence = 0, tick } = miss.lookup
    const fill = fills.begin(reservation.name, tick === reservation.tick ? requiredSequence : 0, { lookTick: reservation.tick })
    const goOn = () => {
      const taking = reservations.redeem(reservation, miss.lookup)
      if (taking === undefined) return this.#lead(turn, miss, fill)
      fill.sequence = taking.sequence
      return this.#start(turn, miss, fill, taking)
    }
    return reservation.isAnswered ? goOn() : reservation.answer.then(goOn)
  }

  /** Waits for a run of this process. */
  async #join (turn: Turn<Request>, miss: Wanting, fill: Fill<Entry>): Promise<unknown> {
    const { stale } = miss
    if (stale !== undefined && maySwapFor(turn, miss, stale)) return this.#serve(turn, stale, { isHit: true })
    this.#shared.counts.add('wait')
    const ending = await patient(fill.result, miss.until - performance.now())
    if (ending === 'late') return await this.#supersede(turn, miss, fill)
    const isLater = typeof ending === 'object' && ending.sequence < leastFor(turn, miss)
    if (typeof ending === 'object' && !isLater && useOf(ending, miss.wanted, Date.now()) === 'fresh') return this.#serve(turn, ending, { forwarded: miss.reason, isCollapsed: true })
    if (fill.isOutage) return this.#forward(turn)
    if (ending === 'again' || isLater) return await this.#share(turn, miss)
    return this.#running.run(turn, miss, { sequence: fill.sequence })
  }

  /** Runs the handler for all who come by this process, unless another process does. */
  async #lead (turn: Turn<Request>, miss: Wanting, fill: Fill<Entry>, isForced = false): Promise<unknown> {
    const wish = wishOf(miss.lookup)
    const taking = await this.#enter(sharedName(turn, miss), isForced ? { ...wish, required: Infinity } : wish, miss.until)
    if (taking === undefined) return this.#runWithout(turn, miss, fill)
    fill.sequence = taking.sequence
    return taking.word === 'changed' ? await this.#lookAgain(turn, miss, fill) : this.#start(turn, miss, fill, taking)
  }

  /** Runs the handler for all who come by, or, where answers are not shared, for this request alone. */
  #start (turn: Turn<Request>, miss: Wanting, fill: Fill<Entry>, taking: Taking): unknown {
    const { sequence } = taking
    if (taking.word === 'taken') {
      fill.lock = taking.lock
      if (taking.raisedFrom !== undefined) raiseStanding(turn.visit, taking.raisedFrom, sequence)
      return this.#running.run(turn, miss, { fill, sequence })
    }
    fill.end('alone')
    return this.#running.run(turn, miss, { sequence })
  }

  /** @returns undefined when Redis did not answer */
  async #enter (name: string, wish: Wish, until: number): Promise<Taking | undefined> {
    try {
      return await this.#shared.entrance.enter(name, wish, until)
    } catch {
      return undefined // the cause is counted where connections are
    }
  }

  /** Somebody has filled meanwhile. */
  async #lookAgain (turn: Turn<Request>, miss: Wanting, fill: Fill<Entry>): Promise<unknown> {
    const lookup = this.#front.look(turn)
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return this.#runWithout(turn, miss, fill)
    const entry = found.outcome === 'found' ? found.entry : undefined
    if (entry !== undefined && useOf(entry, miss.wanted, Date.now()) === 'fresh') {
      fill.end(entry)
      return this.#serve(turn, entry, { forwarded: miss.reason, isCollapsed: true })
    }
    fill.end('again')
    const next = { ...miss, lookup, stale: entry }
    return performance.now() < miss.until ? await this.#share(turn, next) : await this.#runUnshared(turn, next)
  }

  /** Whoever waited in vain takes the place of the run that he waited for; others of the late ones wait for him, but only once. */
  async #supersede (turn: Turn<Request>, miss: Wanting, hung: Fill<Entry>): Promise<unknown> {
    if (miss.isLate === true || hung.isOutage) return hung.isOutage ? this.#forward(turn) : await this.#runUnshared(turn, miss)
    const late = { ...miss, isLate: true, until: performance.now() + patienceMs }
    // It waits itself, came before, and is out of patience too.
    if (hung.lock === undefined) return await this.#join(turn, late, hung)
    const { fills, store } = this.#shared
    const name = sharedName(turn, late)
    const required = late.lookup.requiredSequence
    const underWay = fills.find(name, required, store.tick, late.lookup.tick)
    if (underWay !== undefined && underWay !== hung) return await this.#join(turn, late, underWay)
    return await this.#lead(turn, late, fills.begin(name, required ?? 0, { tick: store.tick }), true)
  }

  /** Runs the handler for a request whose answer others cannot wait for. */
  async #runUnshared (turn: Turn<Request>, miss: Wanting): Promise<unknown> {
    const { request } = turn
    const detail = miss.wanted?.noStore === true ? 'no-store' : request.method !== 'GET' ? 'method' : undefined
    if (detail !== undefined) return this.#running.run(turn, miss, { sequence: undefined, detail })
    const sequence = await this.#shared.store.begin(miss.lookup.unmarked, miss.lookup.knownSequence).catch(() => undefined)
    return sequence === undefined ? this.#runWithout(turn, miss, undefined) : this.#running.run(turn, miss, { sequence })
  }

  /** Runs the handler while Redis is gone. */
  #runWithout (turn: Turn<Request>, miss: Miss, fill: Fill<Entry> | undefined): unknown {
    if (fill !== undefined) {
      fill.isOutage = true
      fill.sequence = outage
    }
    return this.#running.run(turn, { ...miss, reason: 'bypass', stale: undefined }, { fill, sequence: fill && outage, detail: 'redis' })
  }

  #serve (turn: Turn<Request>, entry: Entry, status: CacheStatus): unknown {
    return waitedFor(turn.reply, this.#front.serve(turn, entry, status))
  }

  #forward (turn: Turn<Request>): unknown {
    return waitedFor(turn.reply, this.#front.forward(turn, 'bypass', 'redis'))
  }
}

/** The sequence that a run must have begun at, at least, for its answer to be this request's too. */
function leastFor<Request extends Asking> ({ visit }: Turn<Request>, { lookup }: Miss): number {
  return lookup.requiredSequence ?? visit.standing?.sequence ?? 0
}

/** Where the sequence stood below a marker when the request came, and still does, nothing was purged since: what its handler works with is as young as the marker. */
function raiseStanding (visit: Visit, raisedFrom: number, sequence: number): void {
  if (visit.standing?.sequence === raisedFrom) visit.standing = { sequence, hasFailed: false }
}

/** Only GETs of one key share a run; where answers vary, nobody knows before whether they are the same. */
function sharedName<Request extends Asking> ({ request, visit }: Turn<Request>, { wanted }: Miss): string {
  return request.method === 'GET' && wanted?.noStore !== true && visit.branch === undefined ? visit.key?.name ?? '' : ''
}

/** While one makes it anew, the others take what there is, unless they ask for better (RFC 5861 section 3). */
function maySwapFor<Request> ({ visit }: Turn<Request>, { reason, wanted }: Miss, stale: Entry): boolean {
  const isContent = wanted === undefined || (wanted.noCache === false && wanted.maxAge === undefined && wanted.minFresh === undefined)
  return reason === 'stale' && isContent && visit.branch === undefined && maySwap(stale, Date.now())
}

async function patient (result: Promise<Ending<Entry>>, longestMs: number): Promise<Ending<Entry> | 'late'> {
  const { promise, resolve } = Promise.withResolvers<'late'>()
  const timer = setTimeout(resolve, Math.max(0, longestMs), 'late' as const)
  return await Promise.race([result, promise]).finally(() => clearTimeout(timer))
}
