import { formatCacheStatus } from '../http/cache-status.ts'
import type { CacheStatus, Forwarded } from '../http/cache-status.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { isHeadPatched } from '../http/sent-head.ts'
import { OnlyIfCachedError } from '../shared/errors.ts'
import { encodeText } from './lookup/encode-text.ts'
import type { Entry } from './storage/entry-codec.ts'
import { MissResolver } from './single-flight/miss-resolver.ts'
import { freshLeftMs } from './freshness.ts'
import { changedIn, snapshotInputs } from './handler/input-snapshot.ts'
import { CacheKeyBuilder } from './lookup/cache-key.ts'
import type { CacheKey } from './lookup/cache-key.ts'
import type { Found, Lookup } from './lookup/lookup.ts'
import { forbidsFill, mayBeStored, wantedBy } from './http-message.ts'
import type { CacheRequest, CacheReply } from './http-message.ts'
import { partitionNamedBy, TagFunctions } from './lookup/identity-functions.ts'
import type { RoutePolicy } from './options.ts'
import { reuseDecision } from './lookup/reuse.ts'
import { HandlerRunner } from './handler/handler-runner.ts'
import { asText, makePrivate, sendEntry } from './response/send-entry.ts'
import { ResponseFinalizer } from './response/response-finalizer.ts'
import type { CacheRuntime } from './runtime.ts'
import { orReply } from './handler-context.ts'
import type { Front, Miss, Run, HandlerContext } from './handler-context.ts'
import { searchTag, uriTag } from './invalidation/uri-tag.ts'
import { VaryIndex } from './lookup/vary-index.ts'
import type { CacheRequestState } from './request-state.ts'

/** One route whose answers are kept: looks, serves, runs the handler when it must, and keeps what may be kept. */
export class CachedRoute<Request extends CacheRequest> {
  readonly policy: RoutePolicy<Request>
  readonly #pattern: string
  readonly #shared: CacheRuntime
  readonly #keys: CacheKeyBuilder
  readonly #varyIndex: VaryIndex
  readonly #finalizer: ResponseFinalizer
  readonly #missResolver: MissResolver<Request>
  readonly #runner: HandlerRunner<Request>
  readonly #tagFunctions: TagFunctions<Request>

  constructor (policy: RoutePolicy<Request>, pattern: string, shared: CacheRuntime) {
    this.policy = policy
    this.#pattern = pattern
    this.#shared = shared
    this.#keys = new CacheKeyBuilder(policy, shared.store.keys.cacheEntry('GET', pattern))
    this.#varyIndex = new VaryIndex(this.#keys, shared.store)
    this.#tagFunctions = new TagFunctions(policy.tagsOf, (err) => shared.warn({ route: pattern, err }, 'A response is not cached, for the tags function of its route has failed'))
    this.#finalizer = new ResponseFinalizer(policy as RoutePolicy, pattern, shared, this.#varyIndex)
    const front: Front<Request> = {
      serve: (context, entry, status) => this.#serve(context, entry, status),
      forward: (context, reason, detail) => this.#forward(context, reason, detail),
      look: ({ request, state }) => this.#look(request, state, state.partition ?? ''),
      isHostKeyed: (request) => this.#hostOf(request) !== ''
    }
    this.#runner = new HandlerRunner(policy, shared, front)
    this.#missResolver = new MissResolver(policy, shared, front, this.#runner)
  }

  /** Looks into the store; what it asks leaves with this tick. What a function partitions by is only known once the guards have run. */
  ask (request: Request, state: CacheRequestState): void {
    state.url = request.raw.url ?? ''
    if (this.policy.trackInputs) state.inputs = snapshotInputs(request)
    if (!mayBeStored(request)) return
    if (state.refresh !== undefined) {
      state.key = this.#keyOf(request, '')
      return
    }
    state.sequenceAtRequest = this.#shared.store.sequenceAtRequest()
    state.named = this.#tagFunctions.tryAt(request)
    if (typeof this.policy.partition === 'function' || state.named === undefined) return
    if (this.policy.partition === undefined) {
      this.#lookAhead(request, state, '')
      return
    }
    const claimed = claimOf(request, this.policy.partition)
    if (claimed !== undefined) this.#lookAhead(request, state, `${this.policy.partition}:${encodeText(claimed)}`)
  }

  /** Answers from the store, or runs the handler; what it returns, the route's handler returns. */
  answer (request: Request, reply: CacheReply, state: CacheRequestState, run: Run): unknown {
    const turn = { request, reply, state, run }
    const bypass = this.#bypassOf(turn)
    if (state.refresh !== undefined && bypass === undefined) return this.#missResolver.refill(turn, state.refresh)
    if (bypass !== undefined) return this.#forward(turn, request.method === 'GET' || request.method === 'HEAD' ? 'bypass' : 'method', bypass)
    if (this.policy.partition !== undefined) {
      const partition = this.#partitionOf(request)
      if (partition === undefined) return this.#forward(turn, 'bypass', 'partition')
      // What was looked for ahead was the cookie's claim; what counts is who it turned out to be.
      if (partition !== state.partition) {
        if (state.sequenceAtRequest?.hasFailed === true) return this.#unasked(turn, partition)
        this.#lookAhead(request, state, partition)
      }
    }
    // The tags were not known before the guards had run.
    if (state.lookup === undefined && state.sequenceAtRequest?.hasFailed === true) return this.#unasked(turn, state.partition ?? '')
    if (state.lookup === undefined && state.sequenceAtRequest !== undefined && !this.#tagFunctions.isEmpty) this.#lookAhead(request, state, state.partition ?? '')
    const { lookup } = state
    if (lookup === undefined) return this.#forward(turn, 'bypass', 'no-lookup')
    return lookup.found === undefined ? lookup.settled().then((found) => orReply(reply, this.#decide(turn, lookup, found))) : this.#decide(turn, lookup, lookup.found)
  }

  /** The handler's answer is complete: what comes after it in the reply is not the handler's. */
  close (state: CacheRequestState, reply: CacheReply): void {
    const { run } = state
    if (run === undefined || run.after !== undefined) return
    run.restore?.()
    run.after = reply.getHeaders()
  }

  /** Judges what the handler answered, and keeps it where it may. */
  settle (request: Request, reply: CacheReply, state: CacheRequestState, payload: unknown): unknown {
    this.#leave(state)
    const settled = state.run === undefined ? undefined : this.#finalizer.finalize(request, reply, state, payload, this.#tagsToKeep(request, state))
    if (state.run !== undefined) this.#runner.ended(state.run)
    else if (state.isServed !== true) reply.header('cache-status', formatCacheStatus({ forwarded: 'bypass', detail: state.bypass ?? 'not-reached' }))
    // The hook behind all others is not called for an answer that was left to the handler of unknown paths.
    if (state.isServed !== true && state.run?.pending === undefined && !this.policy.keepCookies && reply.getHeader('set-cookie') !== undefined) makePrivate(reply)
    return state.isServed === true && settled === undefined ? asText(payload) : settled
  }

  /**
   * Looks at an answer once all hooks have run, whoever they belong to. One that bears a cookie is one client's: no other cache on the way may hand it
   * to the next one. Where something has put itself before `writeHead`, it may still add one.
   */
  seal (reply: CacheReply, state: CacheRequestState): void {
    const { run } = state
    run?.pending?.review()
    if (this.policy.keepCookies) return
    if (reply.getHeader('set-cookie') !== undefined || isHeadPatched(reply.raw)) makePrivate(reply)
  }

  /** What a request would find here, fresh or not, for operators; undefined where each visitor has answers of their own, which are nobody else's business. */
  async peek (request: Request): Promise<Found<Entry> | undefined> {
    if (this.policy.partition !== undefined) return undefined
    const key = this.#keyOf(request, '')
    return await this.#shared.store.look(key.name, [], (packed) => this.#varyIndex.unpack(packed, key, request, () => {})).settled()
  }

  /** Looks, and asks for the key's lock along with that: where nothing is found, the handler need not wait. */
  #lookAhead (request: Request, state: CacheRequestState, partition: string): void {
    this.#leave(state)
    const lookup = this.#look(request, state, partition)
    const { singleFlight, prefetchedLocks } = this.#shared
    const mayFill = request.method === 'GET' && !lookup.isGuessed && !singleFlight.has(lookup.name) && !(this.policy.honorRequestCacheControl && forbidsFill(request))
    state.prefetchedLock = mayFill ? prefetchedLocks.begin(lookup.name, lookup.tags, this.#pattern) : undefined
  }

  /** A request that did not fill holds nobody up. */
  #leave ({ prefetchedLock }: CacheRequestState): void {
    if (prefetchedLock !== undefined) this.#shared.prefetchedLocks.release(prefetchedLock)
  }

  #look (request: Request, state: CacheRequestState, partition: string): Lookup<Entry> {
    const key = this.#keyOf(request, partition)
    state.key = key
    state.partition = partition
    const unpack = (packed: Buffer) => this.#varyIndex.unpack(packed, key, request, (varyRecord) => { state.varyRecord = varyRecord })
    const lookup = this.#shared.store.look(key.name, this.#tagsOf(request, state), unpack, this.#varyIndex.predictVariant(key, request))
    state.lookup = lookup
    return lookup
  }

  #keyOf (request: Request, partition: string): CacheKey {
    const origin = this.policy.ttlMs === undefined ? `${request.protocol}://${request.host}` : this.#hostOf(request)
    return this.#keys.make(request.raw.url ?? '', request.raw.headers, origin === '' ? '' : encodeURI(origin), partition)
  }

  #hostOf (request: Request): string {
    return this.policy.hosts?.has(request.host) === true ? request.host : ''
  }

  #tagsOf (request: Request, { key, named }: CacheRequestState): readonly string[] {
    const { tags, tagsOf, ttlMs } = this.policy
    const isWritten = ttlMs === undefined || this.#shared.unsafeRoutes.has(this.#pattern)
    if (tagsOf.length === 0 && !isWritten) return tags
    const url = request.raw.url ?? ''
    const uri = !isWritten ? [] : [key?.search === undefined ? uriTag(request, url) : searchTag(request, url)]
    return [...new Set([...tags, ...named ?? [], ...uri])]
  }

  /** Those of the request as the handler has left it. */
  #tagsToKeep (request: Request, state: CacheRequestState): readonly string[] {
    if (this.#tagFunctions.isEmpty) return this.#tagsOf(request, state)
    if ((state.named = this.#tagFunctions.tryAt(request)) === undefined) state.bypass ??= 'tags'
    return this.#tagsOf(request, state)
  }

  #partitionOf (request: Request): string | undefined {
    const { partition } = this.policy
    if (typeof partition === 'function') {
      const named = partitionNamedBy(partition, request)
      return named === undefined ? undefined : `:${encodeText(named)}`
    }
    const { visitor } = request as { visitor?: { state?: string, userId?: string, id?: string } }
    const who = partition === 'user' ? visitor?.userId : visitor?.id
    return visitor?.state !== 'live' || who === undefined ? undefined : `${String(partition)}:${encodeText(who)}`
  }

  #bypassOf ({ request, state }: HandlerContext<Request>): string | undefined {
    if (!mayBeStored(request)) return request.method === 'GET' || request.method === 'HEAD' ? 'body' : ''
    if (state.bypass !== undefined) return state.bypass
    const changed = state.inputs && changedIn(state.inputs, request, this.policy)
    if (changed !== undefined) state.changed = { what: changed, remedy: 'cache: { trackInputs: false }' }
    if (changed !== undefined || state.url !== request.raw.url) return 'url-rewritten'
    state.named ??= this.#tagFunctions.at(request)
    return state.named === undefined ? 'tags' : undefined
  }

  #decide (context: HandlerContext<Request>, lookup: Lookup<Entry>, found: Found<Entry>): unknown {
    const wanted = this.policy.honorRequestCacheControl ? wantedBy(context.request) : undefined
    if (found.outcome === 'unavailable') return this.#alone(context, lookup, wanted)
    this.#remember(context.state, found)
    if (found.outcome === 'none') return this.#miss(context, { lookup, wanted, reason: lookup.hasVariants ? 'vary-miss' : 'miss' })
    const { entry } = found
    if (reuseDecision(entry, wanted, Date.now()) !== 'validate') {
      if (this.policy.earlyRefresh) this.#missResolver.early(context, lookup, entry)
      return this.#serve(context, entry, { isHit: true })
    }
    return this.#miss(context, { lookup, wanted, stale: entry, reason: freshLeftMs(entry, Date.now()) > 0 ? 'request' : 'stale' })
  }

  /** What was found will be found again, as a rule. */
  #remember ({ key, prefetchedLock }: CacheRequestState, { outcome }: Found<Entry>): void {
    const { prefetchedLocks } = this.#shared
    if (outcome === 'none') prefetchedLocks.noteMiss(key?.name ?? '')
    else if (prefetchedLock !== undefined) prefetchedLocks.noteHit(prefetchedLock.name)
  }

  #serve (context: HandlerContext<Request>, entry: Entry, status: CacheStatus): unknown {
    const { request, reply, state } = context
    state.isServed = true
    this.#shared.stats.add(status.isCollapsed ? 'collapse' : freshLeftMs(entry, Date.now()) > 0 ? 'hit' : 'stale')
    const otherwise = () => this.#forward(context, 'bypass', 'corrupt')
    return sendEntry(request, reply, entry, { browser: this.policy.browser, status, otherwise })
  }

  /** Redis has failed for this request before: to ask again would cost it the same wait again. */
  #unasked (context: HandlerContext<Request>, partition: string): unknown {
    const { request, state } = context
    this.#leave(state)
    state.key = this.#keyOf(request, partition)
    state.partition = partition
    return this.#alone(context, { minSequence: undefined }, this.policy.honorRequestCacheControl ? wantedBy(request) : undefined)
  }

  #alone (context: HandlerContext<Request>, lookup: Pick<Lookup<Entry>, 'minSequence'>, wanted: CacheControl | undefined): unknown {
    if (wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    return this.#missResolver.alone(context, lookup)
  }

  #miss (context: HandlerContext<Request>, miss: Miss): unknown {
    // RFC 9111 section 5.2.1.7
    if (miss.wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    return this.#missResolver.answer(context, miss)
  }

  #forward ({ reply, state, run }: HandlerContext<Request>, reason: Forwarded, detail: string): unknown {
    if (reason === 'bypass') this.#shared.stats.add('bypass')
    state.run = { reason, detail: detail === '' ? undefined : detail, askedAt: Date.now(), before: reply.getHeaders() }
    return run()
  }
}

/** Who the cookie says it is, before the session was read. */
function claimOf (request: unknown, by: 'user' | 'session'): string | undefined {
  const claim = (request as { visitor?: { claim?: { userId?: string, id?: string } } }).visitor?.claim
  return by === 'user' ? claim?.userId : claim?.id
}
