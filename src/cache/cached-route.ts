import { formatCacheStatus } from '../http/cache-status.ts'
import type { CacheStatus, Forwarded } from '../http/cache-status.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { isHeadPatched } from '../http/sent-head.ts'
import { isStreaming } from '../http/payload.ts'
import { isUpgrade } from '../http/upgrade.ts'
import { OnlyIfCachedError } from '../shared/errors.ts'
import type { Entry } from './storage/entry-codec.ts'
import { MissResolver } from './single-flight/miss-resolver.ts'
import { freshLeftMs, reuseDecision } from './freshness.ts'
import { changedIn, snapshotInputs } from './handler/input-snapshot.ts'
import type { LookupResult, Lookup } from './lookup/lookup.ts'
import { mayBeStored, wantedBy } from './http-message.ts'
import type { CacheRequest, CacheReply } from './http-message.ts'
import type { RoutePolicy } from './options.ts'
import { headersOf } from './handler/header-writes.ts'
import { HandlerRunner } from './handler/handler-runner.ts'
import { asText, joinFields, makePrivate, sendEntry } from './response/send-entry.ts'
import type { LaterHooks } from './response/later-hooks.ts'
import { ResponseConditions } from './response/response-conditions.ts'
import { ResponseFinalizer } from './response/response-finalizer.ts'
import type { CacheRuntime } from './runtime.ts'
import { orReply } from './handler-context.ts'
import type { Decision, RunOptions, RunReason } from './decision.ts'
import type { BackgroundRefresh } from './revalidation/background-refresh.ts'
import type { Miss, Run, HandlerContext } from './handler-context.ts'
import { RouteKeys } from './lookup/route-keys.ts'
import { RouteLookup } from './lookup/route-lookup.ts'
import { VaryIndex } from './lookup/vary-index.ts'
import type { CacheRequestState } from './request-state.ts'
import { wallMs } from '../shared/clock.ts'

/** One cached route: lookup, serving of stored entries, handler runs and storing of responses. */
export class CachedRoute<Request extends CacheRequest> {
  readonly policy: RoutePolicy<Request>
  readonly #pattern: string
  readonly #runtime: CacheRuntime
  readonly #keys: RouteKeys<Request>
  readonly #lookup: RouteLookup<Request>
  readonly #finalizer: ResponseFinalizer
  readonly #missResolver: MissResolver<Request>
  readonly #runner: HandlerRunner<Request>
  readonly #conditions: ResponseConditions

  /** @param findLaterHooks called once, at the first request */
  constructor (policy: RoutePolicy<Request>, pattern: string, runtime: CacheRuntime, findLaterHooks: () => LaterHooks) {
    this.policy = policy
    this.#conditions = new ResponseConditions(findLaterHooks)
    this.#pattern = pattern
    this.#runtime = runtime
    this.#keys = new RouteKeys(policy, pattern, runtime)
    const varyIndex = new VaryIndex(this.#keys.builder, runtime.store)
    this.#lookup = new RouteLookup(policy, pattern, runtime, this.#keys, varyIndex)
    this.#finalizer = new ResponseFinalizer(policy as RoutePolicy, pattern, runtime, varyIndex, this.#conditions)
    this.#runner = new HandlerRunner(policy, runtime)
    this.#missResolver = new MissResolver(policy, runtime, this.#lookup, this.#runner)
  }

  /** Records URL, query and parameters as received; later calls have no effect. @returns the URL */
  receive (request: Request, state: CacheRequestState): string {
    if (state.url !== undefined) return state.url
    if (this.policy.trackInputs) state.inputs = snapshotInputs(request)
    state.url = request.raw.url ?? ''
    return state.url
  }

  /** Starts the lookup in the batch of the current tick. With a partition function, the lookup starts in `handle`, after all hooks have run. */
  startLookup (request: Request, state: CacheRequestState): void {
    this.#keys.readQuery(request, state, this.receive(request, state))
    if (!(state.mayBeStored = mayBeStored(request))) return
    this.#keys.readFields(request, state)
    if (state.refresh !== undefined) {
      state.key = this.#keys.keyOf(request, '', state)
      return
    }
    state.sequenceAtRequest = this.#runtime.store.sequenceAtRequest()
    state.named = this.#keys.tagFunctions.tryAt(request)
    if (typeof this.policy.partition === 'function' || state.named === undefined) return
    const partition = this.#keys.unverifiedPartitionOf(request, this.policy.partition)
    if (partition !== undefined) this.#lookup.lookAndPrefetch(request, state, partition)
  }

  /** Serves a stored entry or runs the handler. The result is the return value of the route's handler. */
  handle (request: Request, reply: CacheReply, state: CacheRequestState, run: Run): unknown {
    // Its socket belongs to a protocol other than HTTP from here on: nothing is stored, and the handler gets the request as it is.
    if (state.mayBeStored !== true && isUpgrade(request.raw)) return run()
    const context = { request, reply, state, run }
    const bypass = this.#bypassOf(context)
    if (state.refresh !== undefined && bypass === undefined) return this.#refill(context, state.refresh)
    if (bypass !== undefined) return this.#forward(context, request.method === 'GET' || request.method === 'HEAD' ? 'bypass' : 'method', bypass)
    const present = this.#keys.presentInputs(request, reply)
    if (this.policy.partition !== undefined || present !== '' || state.hasOtherFields) {
      const partition = this.#keys.partitionOf(request, present)
      if (partition === undefined) return this.#forward(context, 'bypass', 'partition')
      // The early lookup used the identity in the unverified cookie, and headers that a hook has changed. Use the verified session's identity now.
      if (partition !== state.partition || state.hasOtherFields) {
        if (state.sequenceAtRequest?.hasFailed === true) return this.#serveWithoutLookup(context, partition)
        this.#lookup.lookAndPrefetch(request, state, partition)
      }
    }
    // The tags functions could not be evaluated before all hooks had run.
    if (state.lookup === undefined && state.sequenceAtRequest?.hasFailed === true) return this.#serveWithoutLookup(context, state.partition ?? '')
    if (state.lookup === undefined && state.sequenceAtRequest !== undefined && !this.#keys.tagFunctions.isEmpty) this.#lookup.lookAndPrefetch(request, state, state.partition ?? '')
    const { lookup } = state
    if (lookup === undefined) return this.#forward(context, 'bypass', 'no-lookup')
    return lookup.found === undefined ? lookup.settled().then((found) => orReply(reply, this.#decide(context, lookup, found))) : this.#decide(context, lookup, lookup.found)
  }

  /** The handler has finished: headers that are set later are not part of its response. */
  close (state: CacheRequestState, reply: CacheReply, payload: unknown): void {
    const { run } = state
    if (run === undefined || run.after !== undefined) return
    if (isStreaming(payload)) run.tracker?.keepForStream()
    run.restore?.()
    run.after = headersOf(reply)
  }

  /** Decides whether the response is stored and starts the write. */
  finalizeResponse (request: Request, reply: CacheReply, state: CacheRequestState, payload: unknown): unknown {
    this.#lookup.releasePrefetchedLock(state)
    const finalized = state.run === undefined ? undefined : this.#finalizer.finalize(request, reply, state, payload, this.#keys.tagsToStore(request, state))
    // A stream that is not stored is not tracked while it is sent.
    if (state.run?.pending === undefined) state.run?.tracker?.close()
    if (state.run !== undefined) this.#runner.ended(state.run)
    else if (state.isServed !== true) reply.header('cache-status', formatCacheStatus({ forwarded: 'bypass', detail: state.bypass ?? 'not-reached' }))
    // The final onSend hook is not called after `reply.callNotFound()`.
    if (state.isServed !== true && state.run?.pending === undefined && reply.getHeader('set-cookie') !== undefined) makePrivate(reply)
    return state.isServed === true && finalized === undefined ? this.#finalizeServed(request, reply, state, payload) : finalized
  }

  #finalizeServed (request: Request, reply: CacheReply, state: CacheRequestState, payload: unknown): unknown {
    if (state.hasNoType) reply.removeHeader('content-type')
    return state.handed === undefined ? asText(payload) : this.#conditions.handOver(request, reply, state, state.handed, payload)
  }

  /**
   * Reviews the response after all hooks, and evaluates the conditions that had to wait for them. A response with `Set-Cookie` belongs to one client, so it
   * is marked private for downstream caches. If `writeHead` has been patched, a cookie may still be added, so the response is marked private as well. What
   * selects the route among those of its URL is sent in `Vary`, and not stored: the key contains it.
   *
   * @returns the payload to send
   */
  finalizeHeaders (reply: CacheReply, state: CacheRequestState, payload: unknown): unknown {
    const { run } = state
    run?.pending?.review()
    const sent = this.#conditions.afterHooks(reply, state, payload)
    // Fastify's hook of HEAD routes sets the length of the empty payload.
    if (reply.statusCode === 304) reply.removeHeader('content-length')
    const vary = this.#runtime.constrainedRoutes.varyOf(this.#pattern, this.policy.vary)
    if (vary !== undefined) reply.header('vary', joinFields(reply.getHeader('vary'), vary))
    if (reply.getHeader('set-cookie') !== undefined || isHeadPatched(reply.raw)) makePrivate(reply)
    return sent
  }

  /** The entry that a request would find, fresh or stale, for inspection; undefined for partitioned routes, whose entries are private. */
  async peek (request: Request): Promise<LookupResult<Entry> | undefined> {
    if (this.policy.partition !== undefined) return undefined
    return await this.#lookup.peek(request)
  }

  #bypassOf ({ request, reply, state }: HandlerContext<Request>): string | undefined {
    if (!(state.mayBeStored ??= mayBeStored(request))) return request.method === 'GET' || request.method === 'HEAD' ? 'body' : ''
    if (state.bypass !== undefined) return state.bypass
    const changed = state.inputs && changedIn(state.inputs, request, this.policy.query)
    if (changed !== undefined) state.changed = { what: changed, remedy: 'cache: { trackInputs: false }' }
    if (changed !== undefined || state.url !== request.raw.url) return 'url-rewritten'
    if (!areExtensible(request, reply)) {
      state.changed = { what: 'request or reply, which a hook has made non-extensible', remedy: 'no Object.seal or Object.freeze in that hook' }
      return 'not-extensible'
    }
    const unknown = this.#keys.reviewFields(request, state)
    if (unknown !== undefined) state.changed = { what: `header ${unknown}`, remedy: 'cache: { partition: (request) => … }' }
    if (unknown !== undefined) return 'header-rewritten'
    state.named ??= this.#keys.tagFunctions.at(request)
    return state.named === undefined ? 'tags' : undefined
  }

  #decide (context: HandlerContext<Request>, lookup: Lookup<Entry>, found: LookupResult<Entry>): unknown {
    const wanted = this.policy.honorRequestCacheControl ? wantedBy(context.request) : undefined
    if (found.outcome === 'unavailable') return this.#resolveWithoutRedis(context, lookup, wanted)
    this.#recordOutcome(context.state, found)
    if (found.outcome === 'none') return this.#miss(context, { lookup, wanted, reason: lookup.hasVariants ? 'vary-miss' : 'miss' })
    const { entry } = found
    if (reuseDecision(entry, wanted, wallMs()) !== 'validate') {
      if (this.policy.earlyRefresh) this.#missResolver.early(context, lookup, entry)
      return this.#serve(context, entry, { isHit: true })
    }
    return this.#miss(context, { lookup, wanted, stale: entry, reason: freshLeftMs(entry, wallMs()) > 0 ? 'request' : 'stale' })
  }

  /** Records hit or miss: a lock is prefetched only if a miss is expected. */
  #recordOutcome ({ key, prefetchedLock }: CacheRequestState, { outcome }: LookupResult<Entry>): void {
    const { prefetchedLocks } = this.#runtime
    if (outcome === 'none') prefetchedLocks.noteMiss(key?.name ?? '')
    else if (prefetchedLock !== undefined) prefetchedLocks.noteHit(prefetchedLock.name)
  }

  #serve (context: HandlerContext<Request>, entry: Entry, status: CacheStatus): unknown {
    const { request, reply, state } = context
    state.isServed = true
    this.#runtime.stats.add(status.isCollapsed ? 'collapse' : freshLeftMs(entry, wallMs()) > 0 ? 'hit' : 'stale')
    const fallback = () => this.#forward(context, 'bypass', 'corrupt')
    return sendEntry(request, reply, entry, { state, hasLaterHooks: this.#conditions.areDeferred, browser: this.policy.browser, status, otherwise: fallback })
  }

  /** Redis has already failed for this request: skip the lookup, because it would wait for the same timeout again. */
  #serveWithoutLookup (context: HandlerContext<Request>, partition: string): unknown {
    const { request, state } = context
    this.#lookup.releasePrefetchedLock(state)
    state.key = this.#keys.keyOf(request, partition, state)
    state.partition = partition
    return this.#resolveWithoutRedis(context, { minSequence: undefined }, this.policy.honorRequestCacheControl ? wantedBy(request) : undefined)
  }

  #resolveWithoutRedis (context: HandlerContext<Request>, lookup: Pick<Lookup<Entry>, 'minSequence'>, wanted: CacheControl | undefined): unknown {
    if (wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    return this.#act(context, this.#missResolver.resolveWithoutRedis(context, lookup))
  }

  #miss (context: HandlerContext<Request>, miss: Miss): unknown {
    // RFC 9111 section 5.2.1.7
    if (miss.wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    return this.#hasOtherTags(context) ? this.#missWithOtherTags(context) : this.#act(context, this.#missResolver.resolve(context, miss))
  }

  /** Whether the tags of the validated request are other ones than the lookup has read. */
  #hasOtherTags ({ request, state }: HandlerContext<Request>): boolean {
    if (this.#keys.tagFunctions.isEmpty || state.lookup === undefined || state.hasRepeatedLookup) return false
    const before = state.lookup.tags
    const named = this.#keys.tagFunctions.tryAt(request)
    if (named === undefined) return false // no tags: decided when the response is there
    state.named = named
    return this.#keys.tagsOf(request, state).some((tag) => !before.includes(tag))
  }

  /**
   * Repeats the lookup with the tags of the validated request. A run in progress may be joined only by a request that knows the last purge of each tag
   * that the response will have.
   */
  #missWithOtherTags (context: HandlerContext<Request>): Promise<unknown> {
    const { request, reply, state } = context
    state.hasRepeatedLookup = true
    this.#lookup.lookAndPrefetch(request, state, state.partition ?? '')
    const lookup = state.lookup as Lookup<Entry>
    return lookup.settled().then((found) => orReply(reply, this.#decide(context, lookup, found)))
  }

  /** Carries out what was decided for a miss. */
  #act (context: HandlerContext<Request>, decision: Decision | Promise<Decision>): unknown {
    const { reply } = context
    if (decision instanceof Promise) return decision.then((decision) => this.#act(context, decision))
    switch (decision.act) {
      case 'serve': return orReply(reply, this.#serve(context, decision.entry, decision.status))
      case 'forward': return orReply(reply, this.#forward(context, 'bypass', 'redis'))
      case 'run': return this.#run(context, decision.why, decision.options)
      case 'refuse': return this.#refuse(context, decision.stale)
      case 'fail': return this.#runner.rethrow(context, decision.why, decision.error)
    }
  }

  #run (context: HandlerContext<Request>, why: RunReason, options: RunOptions): unknown {
    if (!this.#runner.isFull) return orReply(context.reply, this.#runner.run(context, why, options, this.#keys.hostOf(context.state.keyed)))
    this.#runtime.lockQueue.abandon(options.fill, 'again')
    return this.#refuse(context, why.stale)
  }

  /** Serves the stale entry, or rejects the request, because the concurrency limit is reached. */
  #refuse (context: HandlerContext<Request>, stale: Entry | undefined): unknown {
    if (stale !== undefined && !stale.mustRevalidate) return orReply(context.reply, this.#serve(context, stale, { isHit: true, detail: 'concurrency' }))
    return this.#runner.reject(context)
  }

  /** Runs the handler for the internal request of a background refresh. If a hook changed its cache key, replies 204 without running it. */
  #refill (context: HandlerContext<Request>, refresh: BackgroundRefresh): unknown {
    const { request, state } = context
    if (state.hasOtherFields) state.key = this.#keys.keyOf(request, '', state)
    if (state.key?.name !== refresh.name) {
      context.reply.code(204)
      context.reply.send()
      return undefined
    }
    refresh.hasBegun = true
    return this.#run(context, { reason: 'stale', stale: refresh.stale }, { fill: refresh.fill, sequence: refresh.fill.sequence })
  }

  #forward ({ reply, state, run }: HandlerContext<Request>, reason: Forwarded, detail: string): unknown {
    if (reason === 'bypass') this.#runtime.stats.add('bypass')
    state.run = { reason, detail: detail === '' ? undefined : detail, startedAt: wallMs(), before: headersOf(reply) }
    return run()
  }
}

/** Whether the cache can observe the objects that a handler receives. Node itself cannot send a response that is not extensible. */
function areExtensible (request: CacheRequest, reply: CacheReply): boolean {
  return Object.isExtensible(request) && Object.isExtensible(reply) && Object.isExtensible(request.raw)
}
