import { onSent } from '../../http/response-lifecycle.ts'
import { discardPayload } from '../../http/payload.ts'
import { CacheConcurrencyError } from '../../shared/errors.ts'
import { prepareRequest } from './prepare-request.ts'
import type { Entry } from '../storage/entry-codec.ts'
import { trackErrorReply, watchNotFound } from './error-reply.ts'
import type { InProcessFill } from '../single-flight/in-process-fill.ts'
import { Semaphore } from '../single-flight/semaphore.ts'
import { freshLeftMs } from '../freshness.ts'
import { onHijackedClose } from './hijacked-reply.ts'
import type { CacheRequest } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { CacheRuntime } from '../runtime.ts'
import { orReply } from '../handler-context.ts'
import type { Front, Miss, HandlerContext } from '../handler-context.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'

const retryAfterSeconds = 1
/** Older than every purge, for each has Redis's clock in microseconds: what begins at it is not kept. */
const oldestSequence = 1

/** What runs: for whom, and since which sequence. */
export interface RunOptions {
  readonly fill?: InProcessFill<Entry> | undefined
  readonly sequence: number | undefined
  readonly detail?: string | undefined
}

/** Runs a route's handler, as often at once as the route allows, and sees that each run ends. */
export class HandlerRunner<Request extends CacheRequest> {
  readonly #policy: RoutePolicy<Request>
  readonly #shared: CacheRuntime
  readonly #front: Front<Request>
  readonly #slots: Semaphore
  /** how long a run takes, in the middle of the last ones */
  #runMs = 0

  constructor (policy: RoutePolicy<Request>, shared: CacheRuntime, front: Front<Request>) {
    this.#policy = policy
    this.#shared = shared
    this.#front = front
    this.#slots = new Semaphore(policy.maxConcurrency)
  }

  /** The route makes as many answers as it may. */
  get isFull (): boolean {
    return this.#slots.isFull
  }

  /** Whether an answer shall be made anew before it is stale: at random, so that not all do at once, and the earlier the longer a run takes (Vattani, "Optimal probabilistic cache stampede prevention"). */
  isDue (entry: Entry): boolean {
    return !this.isFull && freshLeftMs(entry, Date.now()) < -Math.log(Math.random()) * this.#runMs
  }

  /** Runs the handler; what it answers is kept for as long as the sequence stands. */
  run (context: HandlerContext<Request>, { reason, stale }: Pick<Miss, 'reason' | 'stale'>, start: RunOptions): unknown {
    const { request, reply, state, run } = context
    if (this.isFull) {
      this.#shared.lockQueue.abandon(start.fill, 'again')
      return this.refuse(context, stale)
    }
    this.#shared.stats.add('fill')
    const sequence = start.sequence && clampSequence(state, start.sequence)
    if (start.fill !== undefined && sequence !== undefined) start.fill.sequence = sequence
    const beginning = { reason, stale, ...start, sequence, free: this.#slots.acquire() }
    state.run = prepareRequest(request, reply, state, this.#policy as RoutePolicy, beginning, this.#front.isHostKeyed(request))
    this.#watch(context, state.run)
    return orReply(reply, run())
  }

  /** A handler has answered: how long it took is what an early refresh goes by. */
  ended (run: HandlerRun): void {
    run.free?.()
    if (this.#policy.earlyRefresh) this.#runMs += (Date.now() - run.askedAt - this.#runMs) * (this.#runMs === 0 ? 1 : 0.2)
  }

  /** Answers where the handler may not run now. */
  refuse (context: HandlerContext<Request>, stale: Entry | undefined): unknown {
    if (stale !== undefined && !stale.mustRevalidate) return orReply(context.reply, this.#front.serve(context, stale, { isHit: true, detail: 'concurrency' }))
    context.state.bypass = 'concurrency'
    this.#shared.stats.add('concurrency_rejected')
    throw Object.assign(new CacheConcurrencyError(this.#policy.maxConcurrency ?? 0), { retryAfterSeconds, headers: { 'retry-after': String(retryAfterSeconds) } })
  }

  #watch ({ reply }: HandlerContext<Request>, run: HandlerRun): void {
    trackErrorReply(run, reply)
    if (run.stale !== undefined) watchNotFound(run, reply)
    const abandon = () => { this.#abandon(run) }
    onHijackedClose(run, reply, abandon)
    onSent(reply.raw, abandon)
  }

  /** The reply has left: a run that was never settled ends here. */
  #abandon (run: HandlerRun): void {
    run.restore?.()
    run.free?.()
    run.pending?.over()
    discardPayload(run.payload)
    if (run.isSettled !== true) this.#shared.lockQueue.abandon(run.fill, 'again')
  }
}

/** A run's sequence: what its handler works with may be as old as its request. */
function clampSequence ({ sequenceAtRequest }: CacheRequestState, sequence: number): number {
  return Math.max(oldestSequence, Math.min(sequence, sequenceAtRequest?.sequence ?? sequence))
}
