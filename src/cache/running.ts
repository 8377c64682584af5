import { whenSent } from '../http/exchange.ts'
import { discardPayload } from '../http/payload.ts'
import { FillsFullError } from '../errors.ts'
import { begin } from './begin.ts'
import type { Entry } from './entry.ts'
import { watchFailure, watchNotFound } from './failure.ts'
import type { Fill } from './fill/fill.ts'
import { Places } from './fill/places.ts'
import { freshLeftMs } from './freshness.ts'
import { watchHijack } from './hijack.ts'
import type { Asking } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import type { Shared } from './shared.ts'
import { waitedFor } from './turn.ts'
import type { Front, Miss, Turn } from './turn.ts'
import type { HandlerRun, Visit } from './visit.ts'

const retryAfterSeconds = 1
/** Older than every purge, for each has Redis's clock in microseconds: what begins at it is not kept. */
const ancient = 1

/** What runs: for whom, and since which sequence. */
export interface Start {
  readonly fill?: Fill<Entry> | undefined
  readonly sequence: number | undefined
  readonly detail?: string | undefined
}

/** Runs a route's handler, as often at once as the route allows, and sees that each run ends. */
export class Running<Request extends Asking> {
  readonly #policy: RoutePolicy<Request>
  readonly #shared: Shared
  readonly #front: Front<Request>
  readonly #places: Places
  /** how long a run takes, in the middle of the last ones */
  #runMs = 0

  constructor (policy: RoutePolicy<Request>, shared: Shared, front: Front<Request>) {
    this.#policy = policy
    this.#shared = shared
    this.#front = front
    this.#places = new Places(policy.fills)
  }

  /** The route makes as many answers as it may. */
  get isFull (): boolean {
    return this.#places.isFull
  }

  /** Whether an answer shall be made anew before it is stale: at random, so that not all do at once, and the earlier the longer a run takes (Vattani, "Optimal probabilistic cache stampede prevention"). */
  isDue (entry: Entry): boolean {
    return !this.isFull && freshLeftMs(entry, Date.now()) < -Math.log(Math.random()) * this.#runMs
  }

  /** Runs the handler; what it answers is kept for as long as the sequence stands. */
  run (turn: Turn<Request>, { reason, stale }: Pick<Miss, 'reason' | 'stale'>, start: Start): unknown {
    const { request, reply, visit, run } = turn
    if (this.isFull) {
      this.#shared.entrance.leave(start.fill, 'again')
      return this.refuse(turn, stale)
    }
    this.#shared.counts.add('fill')
    const sequence = start.sequence && boundBy(visit, start.sequence)
    if (start.fill !== undefined && sequence !== undefined) start.fill.sequence = sequence
    const beginning = { reason, stale, ...start, sequence, free: this.#places.take() }
    visit.run = begin(request, reply, visit, this.#policy as RoutePolicy, beginning, this.#front.isHostKeyed(request))
    this.#watch(turn, visit.run)
    return waitedFor(reply, run())
  }

  /** A handler has answered: how long it took is what an early refresh goes by. */
  ended (run: HandlerRun): void {
    run.free?.()
    if (this.#policy.earlyRefresh) this.#runMs += (Date.now() - run.askedAt - this.#runMs) * (this.#runMs === 0 ? 1 : 0.2)
  }

  /** Answers where the handler may not run now. */
  refuse (turn: Turn<Request>, stale: Entry | undefined): unknown {
    if (stale !== undefined && !stale.mustRevalidate) return waitedFor(turn.reply, this.#front.serve(turn, stale, { isHit: true, detail: 'fills' }))
    turn.visit.bypass = 'fills'
    this.#shared.counts.add('deny')
    throw Object.assign(new FillsFullError(this.#policy.fills ?? 0), { retryAfterSeconds, headers: { 'retry-after': String(retryAfterSeconds) } })
  }

  #watch ({ reply }: Turn<Request>, run: HandlerRun): void {
    watchFailure(run, reply)
    if (run.stale !== undefined) watchNotFound(run, reply)
    const abandon = () => { this.#abandon(run) }
    watchHijack(run, reply, abandon)
    whenSent(reply.raw, abandon)
  }

  /** The reply has left: a run that was never settled ends here. */
  #abandon (run: HandlerRun): void {
    run.restore?.()
    run.free?.()
    run.pending?.over()
    discardPayload(run.payload)
    if (run.isSettled !== true) this.#shared.entrance.leave(run.fill, 'again')
  }
}

/** A run's sequence: what its handler works with may be as old as its request. */
function boundBy ({ standing }: Visit, sequence: number): number {
  return Math.max(ancient, Math.min(sequence, standing?.sequence ?? sequence))
}
