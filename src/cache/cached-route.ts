import { formatCacheStatus } from '../http/cache-status.ts'
import type { CacheStatus, Forwarded } from '../http/cache-status.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { isHeadPatched } from '../http/sent-head.ts'
import { OnlyIfCachedError } from '../errors.ts'
import { encodeText } from './encode-text.ts'
import type { Entry } from './entry.ts'
import { Filling } from './filling.ts'
import { freshLeftMs } from './freshness.ts'
import { changedIn, inputsOf } from './witness/inputs.ts'
import { KeyMaker } from './key.ts'
import type { Key } from './key.ts'
import type { Found, Lookup } from './lookup.ts'
import { forbidsFill, mayBeStored, wantedBy } from './message.ts'
import type { Asking, Replying } from './message.ts'
import { partitionNamedBy, TagFunctions } from './named.ts'
import type { RoutePolicy } from './policy.ts'
import { useOf } from './reuse.ts'
import { Running } from './running.ts'
import { asText, makePrivate, serve } from './serve.ts'
import { Settling } from './settling.ts'
import type { Shared } from './shared.ts'
import { waitedFor } from './turn.ts'
import type { Front, Miss, Run, Turn } from './turn.ts'
import { searchTag, uriTag } from './uri-tag.ts'
import { Variants } from './variants.ts'
import type { Visit } from './visit.ts'

/** One route whose answers are kept: looks, serves, runs the handler when it must, and keeps what may be kept. */
export class CachedRoute<Request extends Asking> {
  readonly policy: RoutePolicy<Request>
  readonly #pattern: string
  readonly #shared: Shared
  readonly #keys: KeyMaker
  readonly #variants: Variants
  readonly #settling: Settling
  readonly #filling: Filling<Request>
  readonly #running: Running<Request>
  readonly #tagFunctions: TagFunctions<Request>

  constructor (policy: RoutePolicy<Request>, pattern: string, shared: Shared) {
    this.policy = policy
    this.#pattern = pattern
    this.#shared = shared
    this.#keys = new KeyMaker(policy, shared.store.keys.cacheEntry('GET', pattern))
    this.#variants = new Variants(this.#keys, shared.store)
    this.#tagFunctions = new TagFunctions(policy.tagsOf, (err) => shared.warn({ route: pattern, err }, 'A response is not cached, for the tags function of its route has failed'))
    this.#settling = new Settling(policy as RoutePolicy, pattern, shared, this.#variants)
    const front: Front<Request> = {
      serve: (turn, entry, status) => this.#serve(turn, entry, status),
      forward: (turn, reason, detail) => this.#forward(turn, reason, detail),
      look: ({ request, visit }) => this.#look(request, visit, visit.partition ?? ''),
      isHostKeyed: (request) => this.#hostOf(request) !== ''
    }
    this.#running = new Running(policy, shared, front)
    this.#filling = new Filling(policy, shared, front, this.#running)
  }

  /** Looks into the store; what it asks leaves with this tick. What a function partitions by is only known once the guards have run. */
  ask (request: Request, visit: Visit): void {
    visit.url = request.raw.url ?? ''
    if (this.policy.enforce) visit.inputs = inputsOf(request)
    if (!mayBeStored(request)) return
    if (visit.refresh !== undefined) {
      visit.key = this.#keyOf(request, '')
      return
    }
    visit.standing = this.#shared.store.standing()
    visit.named = this.#tagFunctions.tryAt(request)
    if (typeof this.policy.partition === 'function' || visit.named === undefined) return
    if (this.policy.partition === undefined) {
      this.#lookAhead(request, visit, '')
      return
    }
    const claimed = claimOf(request, this.policy.partition)
    if (claimed !== undefined) this.#lookAhead(request, visit, `${this.policy.partition}:${encodeText(claimed)}`)
  }

  /** Answers from the store, or runs the handler; what it returns, the route's handler returns. */
  answer (request: Request, reply: Replying, visit: Visit, run: Run): unknown {
    const turn = { request, reply, visit, run }
    const bypass = this.#bypassOf(turn)
    if (visit.refresh !== undefined && bypass === undefined) return this.#filling.refill(turn, visit.refresh)
    if (bypass !== undefined) return this.#forward(turn, request.method === 'GET' || request.method === 'HEAD' ? 'bypass' : 'method', bypass)
    if (this.policy.partition !== undefined) {
      const partition = this.#partitionOf(request)
      if (partition === undefined) return this.#forward(turn, 'bypass', 'partition')
      // What was looked for ahead was the cookie's claim; what counts is who it turned out to be.
      if (partition !== visit.partition) {
        if (visit.standing?.hasFailed === true) return this.#unasked(turn, partition)
        this.#lookAhead(request, visit, partition)
      }
    }
    // The tags were not known before the guards had run.
    if (visit.lookup === undefined && visit.standing?.hasFailed === true) return this.#unasked(turn, visit.partition ?? '')
    if (visit.lookup === undefined && visit.standing !== undefined && !this.#tagFunctions.isEmpty) this.#lookAhead(request, visit, visit.partition ?? '')
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
    this.#leave(visit)
    const settled = visit.run === undefined ? undefined : this.#settling.settle(request, reply, visit, payload, this.#tagsToKeep(request, visit))
    if (visit.run !== undefined) this.#running.ended(visit.run)
    else if (visit.isServed !== true) reply.header('cache-status', formatCacheStatus({ forwarded: 'bypass', detail: visit.bypass ?? 'guard' }))
    // The hook behind all others is not called for an answer that was left to the handler of unknown paths.
    if (visit.isServed !== true && visit.run?.pending === undefined && !this.policy.keepCookies && reply.getHeader('set-cookie') !== undefined) makePrivate(reply)
    return visit.isServed === true && settled === undefined ? asText(payload) : settled
  }

  /**
   * Looks at an answer once all hooks have run, whoever they belong to. One that bears a cookie is one client's: no other cache on the way may hand it
   * to the next one. Where something has put itself before `writeHead`, it may still add one.
   */
  seal (reply: Replying, visit: Visit): void {
    const { run } = visit
    run?.pending?.review()
    if (this.policy.keepCookies) return
    if (reply.getHeader('set-cookie') !== undefined || isHeadPatched(reply.raw)) makePrivate(reply)
  }

  /** What a request would find here, fresh or not, for operators; undefined where each visitor has answers of their own, which are nobody else's business. */
  async peek (request: Request): Promise<Found<Entry> | undefined> {
    if (this.policy.partition !== undefined) return undefined
    const key = this.#keyOf(request, '')
    return await this.#shared.store.look(key.name, [], (packed) => this.#variants.unpack(packed, key, request, () => {})).settled()
  }

  /** Looks, and asks for the key's lock along with that: where nothing is found, the handler need not wait. */
  #lookAhead (request: Request, visit: Visit, partition: string): void {
    this.#leave(visit)
    const lookup = this.#look(request, visit, partition)
    const { fills, reservations } = this.#shared
    const mayFill = request.method === 'GET' && !lookup.isGuessed && !fills.has(lookup.name) && !(this.policy.requestDirectives && forbidsFill(request))
    visit.reservation = mayFill ? reservations.begin(lookup.name, lookup.tags, this.#pattern) : undefined
  }

  /** A request that did not fill holds nobody up. */
  #leave ({ reservation }: Visit): void {
    if (reservation !== undefined) this.#shared.reservations.giveBack(reservation)
  }

  #look (request: Request, visit: Visit, partition: string): Lookup<Entry> {
    const key = this.#keyOf(request, partition)
    visit.key = key
    visit.partition = partition
    const unpack = (packed: Buffer) => this.#variants.unpack(packed, key, request, (branch) => { visit.branch = branch })
    const lookup = this.#shared.store.look(key.name, this.#tagsOf(request, visit), unpack, this.#variants.guess(key, request))
    visit.lookup = lookup
    return lookup
  }

  #keyOf (request: Request, partition: string): Key {
    const origin = this.policy.ttlMs === undefined ? `${request.protocol}://${request.host}` : this.#hostOf(request)
    return this.#keys.make(request.raw.url ?? '', request.raw.headers, origin === '' ? '' : encodeURI(origin), partition)
  }

  #hostOf (request: Request): string {
    return this.policy.hosts?.has(request.host) === true ? request.host : ''
  }

  #tagsOf (request: Request, { key, named }: Visit): readonly string[] {
    const { tags, tagsOf, ttlMs } = this.policy
    const isWritten = ttlMs === undefined || this.#shared.writers.has(this.#pattern)
    if (tagsOf.length === 0 && !isWritten) return tags
    const url = request.raw.url ?? ''
    const uri = !isWritten ? [] : [key?.search === undefined ? uriTag(request, url) : searchTag(request, url)]
    return [...new Set([...tags, ...named ?? [], ...uri])]
  }

  /** Those of the request as the handler has left it. */
  #tagsToKeep (request: Request, visit: Visit): readonly string[] {
    if (this.#tagFunctions.isEmpty) return this.#tagsOf(request, visit)
    if ((visit.named = this.#tagFunctions.tryAt(request)) === undefined) visit.bypass ??= 'tags'
    return this.#tagsOf(request, visit)
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

  #bypassOf ({ request, visit }: Turn<Request>): string | undefined {
    if (!mayBeStored(request)) return request.method === 'GET' || request.method === 'HEAD' ? 'body' : ''
    if (visit.bypass !== undefined) return visit.bypass
    const changed = visit.inputs && changedIn(visit.inputs, request, this.policy)
    if (changed !== undefined) visit.changed = { what: changed, remedy: 'cache: { enforce: false }' }
    if (changed !== undefined || visit.url !== request.raw.url) return 'rewritten'
    visit.named ??= this.#tagFunctions.at(request)
    return visit.named === undefined ? 'tags' : undefined
  }

  #decide (turn: Turn<Request>, lookup: Lookup<Entry>, found: Found<Entry>): unknown {
    const wanted = this.policy.requestDirectives ? wantedBy(turn.request) : undefined
    if (found.outcome === 'unavailable') return this.#alone(turn, lookup, wanted)
    this.#remember(turn.visit, found)
    if (found.outcome === 'none') return this.#miss(turn, { lookup, wanted, reason: lookup.hasVariants ? 'vary-miss' : 'miss' })
    const { entry } = found
    if (useOf(entry, wanted, Date.now()) !== 'validate') {
      if (this.policy.earlyRefresh) this.#filling.early(turn, lookup, entry)
      return this.#serve(turn, entry, { isHit: true })
    }
    return this.#miss(turn, { lookup, wanted, stale: entry, reason: freshLeftMs(entry, Date.now()) > 0 ? 'request' : 'stale' })
  }

  /** What was found will be found again, as a rule. */
  #remember ({ key, reservation }: Visit, { outcome }: Found<Entry>): void {
    const { reservations } = this.#shared
    if (outcome === 'none') reservations.missed(key?.name ?? '')
    else if (reservation !== undefined) reservations.found(reservation.name)
  }

  #serve (turn: Turn<Request>, entry: Entry, status: CacheStatus): unknown {
    const { request, reply, visit } = turn
    visit.isServed = true
    this.#shared.counts.add(status.isCollapsed ? 'collapse' : freshLeftMs(entry, Date.now()) > 0 ? 'hit' : 'stale')
    const otherwise = () => this.#forward(turn, 'bypass', 'corrupt')
    return serve(request, reply, entry, { browser: this.policy.browser, status, otherwise })
  }

  /** Redis has failed for this request before: to ask again would cost it the same wait again. */
  #unasked (turn: Turn<Request>, partition: string): unknown {
    const { request, visit } = turn
    this.#leave(visit)
    visit.key = this.#keyOf(request, partition)
    visit.partition = partition
    return this.#alone(turn, { requiredSequence: undefined }, this.policy.requestDirectives ? wantedBy(request) : undefined)
  }

  #alone (turn: Turn<Request>, lookup: Pick<Lookup<Entry>, 'requiredSequence'>, wanted: CacheControl | undefined): unknown {
    if (wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    return this.#filling.alone(turn, lookup)
  }

  #miss (turn: Turn<Request>, miss: Miss): unknown {
    // RFC 9111 section 5.2.1.7
    if (miss.wanted?.onlyIfCached === true) throw new OnlyIfCachedError()
    return this.#filling.answer(turn, miss)
  }

  #forward ({ reply, visit, run }: Turn<Request>, reason: Forwarded, detail: string): unknown {
    if (reason === 'bypass') this.#shared.counts.add('bypass')
    visit.run = { reason, detail: detail === '' ? undefined : detail, askedAt: Date.now(), before: reply.getHeaders() }
    return run()
  }
}

/** Who the cookie says it is, before the session was read. */
function claimOf (request: unknown, by: 'user' | 'session'): string | undefined {
  const claim = (request as { visitor?: { claim?: { userId?: string, id?: string } } }).visitor?.claim
  return by === 'user' ? claim?.userId : claim?.id
}
