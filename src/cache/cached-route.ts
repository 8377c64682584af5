import { formatCacheStatus } from '../http/cache-status.ts'
import type { CacheStatus, Forwarded } from '../http/cache-status.ts'
import { parseCacheControl } from '../http/cache-control.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { OnlyIfCachedError } from '../errors.ts'
import { begin } from './begin.ts'
import type { Counts } from './counts.ts'
import type { Entry } from './entry.ts'
import { watchFailure } from './failure.ts'
import type { Fill, Fills } from './fill.ts'
import { freshLeftMs } from './freshness.ts'
import { KeyMaker } from './key.ts'
import type { Found, Lookup } from './lookup.ts'
import type { Asking, Replying } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import { maySwap, useOf } from './reuse.ts'
import { makePrivate, serve } from './serve.ts'
import { outage, Settling } from './settling.ts'
import type { CacheStore } from './store.ts'
import { searchTag, uriTag } from './uri-tag.ts'
import { Variants } from './variants.ts'
import type { Visit } from './visit.ts'

/** Runs the route's own handler. */
export type Run = () => unknown

/** What cached routes of one app share. */
export interface Shared {
  readonly store: CacheStore
  readonly fills: Fills<Entry>
  readonly counts: Counts
  /** patterns of routes that answer unsafe methods: what they write, a cached route of the same pattern may show */
  readonly writers: ReadonlySet<string>
  /** patterns of routes whose answers decide themselves: only these may stand for several queries of their path */
  readonly proxies: ReadonlySet<string>
  readonly warn: (facts: object, text: string) => void
}

/** One route whose answers are kept: looks, serves, runs the handler when it must, and keeps what may be kept. */
export class CachedRoute<Request extends Asking> {
  readonly policy: RoutePolicy<Request>
  readonly #pattern: string
  readonly #shared: Shared
  readonly #keys: KeyMaker
  readonly #variants: Variants
  readonly #settling: Settling

  constructor (policy: RoutePolicy<Request>, pattern: string, shared: Shared) {
    this.policy = policy
    this.#pattern = pattern
    this.#shared = shared
    this.#keys = new KeyMaker(policy, shared.store.keys.cacheEntry('GET', pattern))
    this.#variants = new Variants(this.#keys, shared.store)
    this.#settling = new Settling(policy as RoutePolicy, pattern, shared, this.#variants)
  }

  /** Looks into the store; what it asks leaves with this tick. What a function partitions by is only known once the guards have run. */
  ask (request: Request, visit: Visit): void {
    visit.url = request.raw.url ?? ''
    if (this.policy.enforce) visit.inputs = { query: { ...request.query as object }, params: { ...request.params as object } }
    if (!mayBeStored(request) || typeof this.policy.partition === 'function') return
    if (this.policy.partition === undefined) return this.#look(request, visit, '')
    const claimed = claimOf(request, this.policy.partition)
    if (claimed !== undefined) this.#look(request, visit, `${this.policy.partition}:${encodeURIComponent(claimed)}`)
  }

  /** Answers from the store, or runs the handler; what it returns, the route's handler returns. */
  answer (request: Request, reply: Replying, visit: Visit, run: Run): unknown {
    const turn = { request, reply, visit, run }
    const bypass = this.#bypassOf(turn)
    if (bypass !== undefined) return this.#forward(turn, request.method === 'GET' || request.method === 'HEAD' ? 'bypass' : 'method', bypass)
    if (this.policy.partition !== undefined) {
      const partition = this.#partitionOf(request)
      if (partition === undefined) return this.#forward(turn, 'bypass', 'partition')
      // What was looked for ahead was the cookie's claim; what counts is who it turned out to be.
      if (partition !== visit.partition) this.#look(request, visit, partition)
    }
    const { lookup } = visit
    if (lookup === undefined) return this.#forward(turn, 'bypass', 'unasked')
    return lookup.found === undefined ? lookup.settled().then((found) => waitedFor(reply, this.#decide(turn, lookup, found))) : this.#decide(turn, lookup, lookup.found)
  }

  /** The handler's answer is complete: what comes after it in the reply is not the handler's. */
  close (visit: Visit, reply: Replying): void {
    const { run } = visit
    if (run === undefined || run.after !== undefined) return
    run.restore?.()
    run.after = reply.getHeaders()
  }

  /** Judges what the handler answered, and keeps it where it may. */
  settle (request: Request, reply: Replying, visit: Visit, payload: unknown): unknown {
    const settled = visit.run === undefined ? undefined : this.#settling.settle(request, reply, visit, payload, this.#tagsOf(request, visit))
    if (visit.run === undefined && visit.isServed !== true) reply.header('cache-status', formatCacheStatus({ forwarded: 'bypass', detail: 'guard' }))
    // Somebody gave this client a cookie: no other cache on the way shall hand it to the next one.
    if (!this.policy.keepCookies && reply.getHeader('set-cookie') !== undefined) makePrivate(reply)
    return settled
  }

  /** The reply has left: a run that was never settled ends here. */
  tally ({ run }: Visit): void {
    run?.restore?.()
    if (run?.isSettled !== true) run?.fill?.end()
  }

  #look (request: Request, visit: Visit, partition: string): void {
    const origin = this.policy.ttlMs === undefined ? `${request.protocol}://${request.host}` : this.#hostOf(request)
    const key = this.#keys.make(request.raw.url ?? '', request.raw.headers, encodeURI(origin), partition)
    visit.key = key
    visit.partition = partition
    const unpack = (packed: Buffer) => this.#variants.unpack(packed, key, request, (branch) => { visit.branch = branch })
    visit.lookup = this.#shared.store.look(key.name, this.#tagsOf(request, visit), unpack, this.#variants.guess(key, request))
  }

  #hostOf (request: Request): string {
    return this.policy.hosts?.has(request.host) === true ? request.host : ''
  }

  #tagsOf (request: Request, { key }: Visit): readonly string[] {
    const { tags, tagsOf, ttlMs } = this.policy
    const isWritten = ttlMs === undefined || this.#shared.writers.has(this.#pattern)
    if (tagsOf.length === 0 && !isWritten) return tags
    const url = request.raw.url ?? ''
    const uri = !isWritten ? [] : [key?.search === undefined ? uriTag(request, url) : searchTag(request, url)]
    return [...new Set([...tags, ...tagsOf.flatMap((each) => each(request)), ...uri])]
  }

  #partitionOf (request: Request): string | undefined {
    const { partition } = this.policy
    if (typeof partition === 'function') {
      const named = partition(request)
      return named === undefined ? undefined : `:${encodeURIComponent(named)}`
    }
    const { visitor } = request as { visitor?: { state?: string, userId?: string, id?: string } }
    const who = partition === 'user' ? visitor?.userId : visitor?.id
    return visitor?.state !== 'live' || who === undefined ? undefined : `${String(partition)}:${encodeURIComponent(who)}`
  }

  #bypassOf ({ request, visit }: Turn<Request>): string | undefined {
    if (!mayBeStored(request)) return request.method === 'GET' || request.method === 'HEAD' ? 'body' : ''
    return visit.bypass ?? (visit.url === request.raw.url ? undefined : 'rewritten')
  }

  #decide (turn: Turn<Request>, lookup: Lookup<Entry>, found: Found<Entry>): unknown {
    if (found.outcome === 'unavailable') return this.#fillAlone(turn, lookup)
    const wanted = this.policy.requestDirectives ? wantedBy(turn.request) : undefined
    if (found.outcome === 'none') return this.#miss(turn, { lookup, wanted, reason: lookup.hasVariants ? 'vary-miss' : 'miss' })
    const { entry } = found
    if (useOf(entry, wanted, Date.now()) !== 'validate') return this.#serve(turn, entry, { isHit: true })
    return this.#miss(turn, { lookup, wanted, stale: entry, reason: freshLeftMs(entry, Date.now()) > 0 ? 'request' : 'stale' })
  }

  #serve (turn: Turn<Request>, entry: Entry, status: CacheStatus): unknown {
    const { request, reply, visit } = turn
    visit.isServed = true
    this.#shared.counts.add(status.isCollapsed ? 'collapse' : freshLeftMs(entry, Date.now()) > 0 ? 'hit' : 'stale')
    const otherwise = () => this.#forward(turn, 'bypass', 'corrupt')
    return serve(request, reply, entry, { browserSeconds: this.policy.browserSeconds, status, otherwise })
  }

  async #miss (turn: Turn<Request>, miss: Miss): Promise<unknown> {
    // RFC 9111 section 5.2.1.7
    if (miss.wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    this.#shared.counts.add('miss')
    return await this.#share(turn, miss)
  }

  /** Takes part in another's run of the handler, or begins one. */
  async #share (turn: Turn<Request>, miss: Miss): Promise<unknown> {
    const { lookup } = miss
    const name = this.#sharedName(turn, miss)
    const required = lookup.requiredSequence
    const underWay = required === undefined ? undefined : this.#shared.fills.find(name, required)
    if (underWay !== undefined) return await this.#join(turn, miss, underWay)

    const sequence = await this.#shared.store.begin(lookup.unmarked).catch(() => undefined)
    if (sequence === undefined) return waitedFor(turn.reply, this.#fillAlone(turn, lookup))
    const begun = this.#shared.fills.find(name, required ?? sequence)
    return begun === undefined ? waitedFor(turn.reply, this.#fill(turn, miss, sequence, name)) : await this.#join(turn, miss, begun)
  }

  async #join (turn: Turn<Request>, miss: Miss, fill: Fill<Entry>): Promise<unknown> {
    // While one makes it anew, the others take what there is (RFC 5861 section 3).
    if (miss.stale !== undefined && maySwap(miss.stale, Date.now())) return waitedFor(turn.reply, this.#serve(turn, miss.stale, { isHit: true }))
    const entry = await fill.result
    const isGood = entry !== undefined && useOf(entry, miss.wanted, Date.now()) === 'fresh'
    return waitedFor(turn.reply, isGood ? this.#serve(turn, entry, { forwarded: miss.reason, isCollapsed: true }) : fill.sequence === outage ? this.#forward(turn, 'bypass', 'redis') : this.#fill(turn, miss, fill.sequence, ''))
  }

  /** Without Redis: nothing is kept, but those of this process who want the same at the same time share one run. */
  #fillAlone (turn: Turn<Request>, lookup: Lookup<Entry>): unknown {
    const { request, reply, visit, run } = turn
    this.#shared.counts.add('bypass')
    const miss = { lookup, reason: 'bypass' as const, wanted: undefined }
    const name = this.#sharedName(turn, miss)
    const underWay = this.#shared.fills.find(name, outage)
    if (underWay !== undefined && underWay.sequence === outage) return this.#join(turn, miss, underWay)
    const fill = name === '' || underWay !== undefined ? undefined : this.#shared.fills.begin(name, outage)
    visit.run = begin(request, reply, visit, this.policy as RoutePolicy, { reason: 'bypass', detail: 'redis', fill, sequence: fill && outage }, this.#hostOf(request) !== '')
    watchFailure(visit.run, reply)
    return run()
  }

  /** @param name under which others may join; '' for a run that is nobody else's */
  #fill (turn: Turn<Request>, miss: Miss, sequence: number, name: string): unknown {
    const { request, reply, visit, run } = turn
    const detail = miss.wanted?.noStore === true ? 'no-store' : request.method !== 'GET' ? 'method' : undefined
    const fill = name === '' ? undefined : this.#shared.fills.begin(name, sequence)
    const beginning = { reason: miss.reason, stale: miss.stale, fill, detail, sequence: detail === undefined ? sequence : undefined }
    visit.run = begin(request, reply, visit, this.policy as RoutePolicy, beginning, this.#hostOf(request) !== '')
    watchFailure(visit.run, reply)
    return run()
  }

  /** Only GETs of one key share a run; where answers vary, nobody knows before whether they are the same. */
  #sharedName ({ request, visit }: Turn<Request>, { wanted }: Miss): string {
    return request.method === 'GET' && wanted?.noStore !== true && visit.branch === undefined ? visit.key?.name ?? '' : ''
  }

  #forward ({ reply, visit, run }: Turn<Request>, reason: Forwarded, detail: string): unknown {
    if (reason === 'bypass') this.#shared.counts.add('bypass')
    visit.run = { reason, detail: detail === '' ? undefined : detail, askedAt: Date.now(), before: reply.getHeaders() }
    return run()
  }
}

/** One request at its handler. */
interface Turn<Request> {
  readonly request: Request
  readonly reply: Replying
  readonly visit: Visit
  readonly run: Run
}

/** Why nothing can be served. */
interface Miss {
  readonly lookup: Lookup<Entry>
  readonly reason: Forwarded
  readonly wanted: CacheControl | undefined
  /** what may be confirmed, or stand in */
  readonly stale?: Entry
}

/**
 * What a promise must give Fastify in the place of nothing: the reply, which it waits for. To nothing it would answer with nothing.
 */
function waitedFor (reply: Replying, result: unknown): unknown {
  return result === undefined ? reply : result
}

/** Who the cookie says it is, before the session was read. */
function claimOf (request: unknown, by: 'user' | 'session'): string | undefined {
  const claim = (request as { visitor?: { claim?: { userId?: string, id?: string } } }).visitor?.claim
  return by === 'user' ? claim?.userId : claim?.id
}

/** `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 section 5.4). */
function wantedBy ({ raw: { headers } }: Asking): CacheControl {
  const field = headers['cache-control'] ?? (/\bno-cache\b/i.test(String(headers.pragma ?? '')) ? 'no-cache' : undefined)
  return parseCacheControl(field)
}

/** RFC 9110 section 9.3.1: a body on a GET has no meaning that a cache could know. */
function mayBeStored (request: Asking): boolean {
  const { method, raw: { headers } } = request
  return (method === 'GET' || method === 'HEAD') && headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0'
}
