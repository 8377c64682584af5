import { onSent } from '../../http/response-lifecycle.ts'
import { discardPayload } from '../../http/payload.ts'
import { CacheConcurrencyError } from '../../shared/errors.ts'
import { prepareRequest } from './prepare-request.ts'
import type { Entry } from '../storage/entry-codec.ts'
import { trackErrorReply, watchNotFound } from './error-reply.ts'
import { FillError } from '../single-flight/fill-error.ts'
import { Semaphore } from '../single-flight/semaphore.ts'
import { freshLeftMs } from '../freshness.ts'
import { headersOf, recordHeaderWrites } from './header-writes.ts'
import { trackHijack } from './hijacked-reply.ts'
import type { CacheReply, CacheRequest } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { RunOptions, RunReason } from '../decision.ts'
import type { HandlerContext } from '../handler-context.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'
import { wallMs } from '../../shared/clock.ts'

/** Lower than every purge sequence, which is Redis's clock in microseconds: a response with this sequence is not stored. */
const oldestSequence = 1

/** Runs a route's handler within its concurrency limit and ensures that each run ends. */
export class HandlerRunner<Request extends CacheRequest> {
  readonly #policy: RoutePolicy<Request>
  readonly #shared: CacheRuntime
  readonly #slots: Semaphore
  /** moving average of the handler's duration in ms */
  #runMs = 0

  constructor (policy: RoutePolicy<Request>, shared: CacheRuntime) {
    this.#policy = policy
    this.#shared = shared
    this.#slots = new Semaphore(policy.maxConcurrency)
  }

  /** Whether `maxConcurrency` is reached. */
  get isFull (): boolean {
    return this.#slots.isFull
  }

  /** Whether to refresh a fresh entry early: probabilistic, and earlier the longer the handler takes (XFetch; Vattani et al., "Optimal Probabilistic Cache Stampede Prevention"). */
  isDue (entry: Entry): boolean {
    return !this.isFull && freshLeftMs(entry, wallMs()) < -Math.log(Math.random()) * this.#runMs
  }

  /**
   * Runs the handler. Its response is stored if no purge with a higher sequence concerns it. Not to be called while {@link isFull}.
   *
   * @param host the host in the cache key; '' if it is not part of it
   */
  run (context: HandlerContext<Request>, { reason, stale }: RunReason, runOptions: RunOptions, host: string): unknown {
    const { request, reply, state } = context
    this.#shared.stats.add('fill')
    const sequence = runOptions.sequence && clampSequence(state, runOptions.sequence)
    if (runOptions.fill !== undefined) {
      runOptions.fill.isRunning = true
      if (sequence !== undefined) runOptions.fill.sequence = sequence
    }
    const options = { reason, stale, ...runOptions, sequence, free: this.#slots.acquire() }
    state.run = prepareRequest(request, reply, state, this.#policy as RoutePolicy, options, host)
    return this.#runTracked(context, state.run)
  }

  /** The request waited for a run that has failed: it fails with the same error, in its own lifecycle, as if it had run the handler. */
  rethrow ({ reply, state }: HandlerContext<Request>, { reason, stale }: RunReason, error: FillError): never {
    this.#shared.stats.add('collapse')
    state.run = { reason, stale, startedAt: wallMs(), before: headersOf(reply), hasFailed: true, isCollapsed: true, hidesConditions: true }
    throw error.copy()
  }

  /** The handler has finished: releases the slot and updates the average duration for early refresh. */
  ended (run: HandlerRun): void {
    run.free?.()
    if (this.#policy.earlyRefresh && run.isCollapsed !== true) this.#runMs += (wallMs() - run.startedAt - this.#runMs) * (this.#runMs === 0 ? 1 : 0.2)
  }

  /** The concurrency limit is reached. */
  reject ({ state }: HandlerContext<Request>): never {
    state.bypass = 'concurrency'
    this.#shared.stats.add('concurrency_rejected')
    throw new CacheConcurrencyError(this.#policy.maxConcurrency ?? 0)
  }

  #runTracked (context: HandlerContext<Request>, run: HandlerRun): unknown {
    const { reply } = context
    const { lockQueue } = this.#shared
    const observed = trackErrorReply(run, reply, (error) => {
      // Waiting requests may run the handler next, so the slot is free first.
      run.free?.()
      lockQueue.abandon(run.fill, this.#failureOf(context, run, error))
    })
    if (run.stale !== undefined) watchNotFound(run, reply)
    const abandon = () => { this.#abandon(run) }
    trackHijack(run, reply, { onHijacked: () => lockQueue.abandon(run.fill, 'alone'), onClosed: abandon })
    recordHeaderWrites(run, reply)
    onSent(reply.raw, abandon)
    return observed(context.run)
  }

  /**
   * What the waiting requests receive when a handler fails: its error, or `failed` if the error may belong to its own request, because the run
   * has read an unkeyed input or its client has disconnected. Without tracking, only a route with a `ttl` guarantees that its handler reads none.
   */
  #failureOf ({ request, reply, state }: HandlerContext<Request>, run: HandlerRun, error: { readonly thrown: unknown } | undefined): FillError | 'failed' {
    if (error === undefined || run.fill?.hasWaiters !== true || isGone(reply) || request.signal?.aborted === true) return 'failed'
    const isTracked = this.#policy.trackInputs || this.#policy.ttlMs !== undefined
    const isKeyed = isTracked && run.givenWay?.reading === undefined && state.changed === undefined && state.bypass === undefined
    return isKeyed ? FillError.of(error.thrown, [request, reply, request.raw, reply.raw]) ?? 'failed' : 'failed'
  }

  /** The response was sent or aborted: ends a run that never reached onSend. */
  #abandon (run: HandlerRun): void {
    if (run.isDraining !== true) run.restore?.()
    run.free?.()
    run.pending?.over()
    discardPayload(run.payload)
    if (run.isSettled !== true) this.#shared.lockQueue.abandon(run.fill, 'again')
  }
}

/** Clamps the sequence of a run to the sequence at request, because the handler's inputs may be as old as the request. */
function clampSequence ({ sequenceAtRequest }: CacheRequestState, sequence: number): number {
  return Math.max(oldestSequence, Math.min(sequence, sequenceAtRequest?.sequence ?? sequence))
}

/** The client has disconnected, which may have ended the run. */
function isGone ({ raw }: CacheReply): boolean {
  const { stream } = raw as { stream?: { readonly destroyed: boolean } }
  return stream === undefined ? raw.destroyed || raw.socket?.destroyed === true : stream.destroyed
}
