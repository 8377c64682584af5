import { formatCacheStatus } from '../http/cache-status.ts'
import type { Forwarded } from '../http/cache-status.ts'
import { parseCacheControl } from '../http/cache-control.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { OnlyIfCachedError } from '../errors.ts'
import { begin } from './begin.ts'
import type { Counts } from './counts.ts'
import type { Entry } from './entry.ts'
import type { Fills } from './fill.ts'
import { KeyMaker } from './key.ts'
import type { Asking, Replying } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import { maySwap, useOf } from './reuse.ts'
import { serve } from './serve.ts'
import { Settling } from './settling.ts'
import type { CacheStore } from './store.ts'
import { uriTag } from './uri-tag.ts'
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
    if (!mayBeStored(request) || typeof this.policy.partition === 'function') return
    if (this.policy.partition === undefined) return this.#look(request, visit, '')
    const claimed = this.policy.partition === 'user' ? claimOf(request) : undefined
    if (claimed !== undefined) this.#look(request, visit, `user:${encodeURIComponent(claimed)}`)
  }

  /** Answers from the store, or runs the handler. */
  answer (request: Request, reply: Replying, visit: Visit, run: Run): unknown {
    if (!mayBeStored(request)) return this.#forward(request, reply, visit, run, isRead(request) ? 'bypass' : 'method', isRead(request) ? 'body' : undefined)
    if (visit.bypass !== undefined) return this.#forward(request, reply, visit, run, 'bypass', visit.bypass)
    if (visit.url !== request.raw.url) return this.#forward(request, reply, visit, run, 'bypass', 'rewritten')
    if (this.policy.partition !== undefined) {
      const partition = this.#partitionOf(request)
      if (partition === undefined) return this.#forward(request, reply, visit, run, 'bypass', 'partition')
      // What was looked for ahead was the cookie's claim; what counts is who it turned out to be.
      if (partition !== visit.partition) this.#look(request, visit, partition)
    }
    const found = visit.lookup?.found
    return found === undefined ? visit.lookup?.settled().then(() => this.#decide(request, reply, visit, run)) : this.#decide(request, reply, visit, run)
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
    if (visit.run !== undefined) return this.#settling.settle(request, reply, visit, payload, this.#tagsOf(request))
    if (visit.isServed !== true) reply.header('cache-status', formatCacheStatus({ forwarded: 'bypass', detail: 'guard' }))
    return undefined
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
    visit.lookup = this.#shared.store.look(key.name, this.#tagsOf(request), unpack)
  }

  #hostOf (request: Request): string {
    return this.policy.hosts?.has(request.host) === true ? request.host : ''
  }

  #tagsOf (request: Request): readonly string[] {
    const { tags, tagsOf, ttlMs } = this.policy
    const isWritten = ttlMs === undefined || this.#shared.writers.has(this.#pattern)
    if (tagsOf.length === 0 && !isWritten) return tags
    const uri = isWritten ? [uriTag(request, request.raw.url ?? '')] : []
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

  #decide (request: Request, reply: Replying, visit: Visit, run: Run): unknown {
    const wanted = this.policy.requestDirectives ? wantedBy(request) : undefined
    const found = visit.lookup?.found
    if (found === undefined || found.outcome === 'unavailable') {
      this.#shared.counts.add('bypass')
      return this.#forward(request, reply, visit, run, 'bypass', 'redis')
    }
    if (found.outcome === 'none') return this.#fill(request, reply, visit, run, { reason: visit.lookup?.hasVariants ? 'vary-miss' : 'miss', wanted })
    const { entry } = found
    const use = useOf(entry, wanted, Date.now())
    if (use === 'fresh') return this.#serve(request, reply, visit, run, entry)
    if (use === 'stale') return this.#serve(request, reply, visit, run, entry)
    return this.#fill(request, reply, visit, run, { reason: Date.now() < entry.bornAt + entry.freshMs ? 'request' : 'stale', stale: entry, wanted })
  }

  #serve (request: Request, reply: Replying, visit: Visit, run: Run, entry: Entry): unknown {
    visit.isServed = true
    this.#shared.counts.add(entry.bornAt + entry.freshMs > Date.now() ? 'hit' : 'stale')
    const otherwise = () => this.#forward(request, reply, visit, run, 'bypass', 'corrupt')
    return serve(request, reply, entry, { browserSeconds: this.policy.browserSeconds, status: { isHit: true }, otherwise })
  }

  async #fill (request: Request, reply: Replying, visit: Visit, run: Run, { reason, stale, wanted }: { reason: Forwarded, stale?: Entry, wanted: CacheControl | undefined }): Promise<unknown> {
    // RFC 9111 section 5.2.1.7
    if (wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    this.#shared.counts.add('miss')
    const name = visit.key?.name ?? ''
    const required = visit.lookup?.requiredSequence
    const isPlain = request.method === 'GET' && wanted?.noStore !== true && visit.branch === undefined
    let shared = required === undefined || !isPlain ? undefined : this.#shared.fills.find(name, required)
    // While one makes it anew, the others take what there is.
    if (shared !== undefined && stale !== undefined && maySwap(stale, Date.now())) return this.#serve(request, reply, visit, run, stale)
    const sequence = shared === undefined ? await this.#shared.store.begin(visit.lookup?.unmarked ?? []).catch(() => undefined) : shared.sequence
    if (sequence === undefined) return this.#forward(request, reply, visit, run, 'bypass', 'redis')
    if (isPlain) shared ??= this.#shared.fills.find(name, required ?? sequence)
    if (shared !== undefined) {
      const entry = await shared.result
      if (entry !== undefined && useOf(entry, wanted, Date.now()) === 'fresh') {
        visit.isServed = true
        const otherwise = () => this.#forward(request, reply, visit, run, 'bypass', 'corrupt')
        return serve(request, reply, entry, { browserSeconds: this.policy.browserSeconds, status: { forwarded: reason, isCollapsed: true }, otherwise })
      }
    }
    const fill = isPlain && shared === undefined ? this.#shared.fills.begin(name, sequence) : undefined
    const mayKeep = request.method === 'GET' && wanted?.noStore !== true
    visit.run = begin(request, reply, visit, this.policy as RoutePolicy, { reason, stale, fill, sequence: mayKeep ? sequence : undefined, detail: mayKeep ? undefined : request.method === 'GET' ? 'no-store' : 'method' }, this.#hostOf(request) !== '')
    return run()
  }

  #forward (request: Request, reply: Replying, visit: Visit, run: Run, reason: Forwarded, detail?: string): unknown {
    visit.run = { reason, detail, askedAt: Date.now(), before: reply.getHeaders() }
    return run()
  }
}

/** Who the cookie says it is, before the session was read. */
function claimOf (request: unknown): string | undefined {
  return (request as { visitor?: { claim?: { userId?: string } } }).visitor?.claim?.userId
}

/** `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 section 5.4). */
function wantedBy ({ raw: { headers } }: Asking): CacheControl {
  const field = headers['cache-control'] ?? (/\bno-cache\b/i.test(String(headers.pragma ?? '')) ? 'no-cache' : undefined)
  return parseCacheControl(field)
}

function isRead ({ method }: Asking): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** RFC 9110 section 9.3.1: a body on a GET has no meaning that a cache could know. */
function mayBeStored (request: Asking): boolean {
  const { headers } = request.raw
  return isRead(request) && headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0'
}
