import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { formatCacheStatus } from '../http/cache-status.ts'
import { whenOver } from '../http/exchange.ts'
import { discardPayload, isStream, isStreaming } from '../http/payload.ts'
import { parseVary } from '../http/vary.ts'
import { bodyOf, headOf, isShort, judgementOf, leavePlain, restoreControl, tell } from './answer-case.ts'
import type { Case } from './answer-case.ts'
import { browserControl } from './browser.ts'
import { fewestBytes } from './coding.ts'
import type { Entry, Lifetime } from './entry.ts'
import { ageSeconds, freshLeftMs } from './freshness.ts'
import type { Fields } from './freshness.ts'
import { invalidatedBy, isUnsafe } from './invalidation.ts'
import { addedFields, completeFields, fieldPairs, freshened, isCoded, isSameAnswer, keptFields, shortened } from './keep.ts'
import { Keeping, outage } from './keeping.ts'
import type { Asking, Replying } from './message.ts'
import { PendingAnswer } from './pending.ts'
import type { RoutePolicy } from './policy.ts'
import { mayStandIn } from './reuse.ts'
import { joinFields, leave, makePrivate } from './serve.ts'
import type { Shared } from './shared.ts'
import type { Judgement } from './storing.ts'
import { isSuperseding } from './superseding.ts'
import { tee } from './tee.ts'
import type { Gathered } from './tee.ts'
import type { Variants } from './variants.ts'
import type { Visit } from './visit.ts'

/** Why an answer is not kept that might be: Redis is too full. */
const full = 'memory'

/** What was read may be named by a stranger: the log shall not be full of it. */
const mostWarned = 50

/** Settles what a handler answered: keeps it, confirms a stored answer with it, or lets it pass. */
export class Settling {
  readonly #policy: RoutePolicy
  readonly #pattern: string
  readonly #shared: Shared
  readonly #variants: Variants
  readonly #keeping: Keeping
  readonly #warned = new Set<string>()

  constructor (policy: RoutePolicy, pattern: string, shared: Shared, variants: Variants) {
    this.#policy = policy
    this.#pattern = pattern
    this.#shared = shared
    this.#variants = variants
    this.#keeping = new Keeping(policy, shared, variants)
  }

  /** @returns what leaves instead of the payload: undefined for the payload itself, null for nothing */
  settle (request: Asking, reply: Replying, visit: Visit, payload: unknown, chosenTags: readonly string[]): unknown {
    const { run } = visit
    if (run === undefined || run.isSettled === true) return undefined
    run.isSettled = true
    const settled = { request, reply, visit, run, after: run.after ?? reply.getHeaders(), chosenTags, receivedAt: Date.now() }
    if (isStreaming(payload)) this.#hold(settled, payload)
    if (isUnsafe(request.method)) return this.#invalidate(settled)
    if (run.stale !== undefined && reply.statusCode === 304) {
      discardPayload(payload)
      return this.#confirm(settled, run.stale)
    }
    if (run.stale !== undefined && reply.statusCode === 200 && request.method === 'HEAD') this.#compare(settled, run.stale)
    if (run.stale !== undefined && reply.statusCode >= 500 && mayStandIn(run.stale, settled.receivedAt)) {
      discardPayload(payload)
      return this.#standIn(settled, run.stale)
    }
    return this.#judge(settled, payload)
  }

  /** Hooks may still send something else, or the client may go away. */
  #hold ({ reply, run }: Case, payload: object): void {
    run.payload = payload
    whenOver(reply.raw.req, reply.raw, () => discardPayload(run.payload))
  }

  async #invalidate ({ request, reply, run }: Case): Promise<undefined> {
    tell(reply, run, { isStored: false, detail: run.detail })
    const tags = invalidatedBy(request, reply, this.#shared.proxies.size > 0)
    if (tags.length > 0) await this.#shared.store.purge(tags).catch((error: unknown) => this.#shared.warn({ err: error }, 'What an unsafe request changed may still be served from the cache'))
    return undefined
  }

  /** RFC 9111 section 4.3.4 */
  #confirm (settled: Case, stale: Entry): unknown {
    const { reply, run } = settled
    const added = addedFields(run.before, settled.after)
    const kept = freshened(stale, keptFields(added, settled.after, new Set(), this.#policy.keepCookies))
    const judgement = judgementOf(settled, this.#policy, stale.status, kept)
    for (const name of added.keys()) reply.removeHeader(name)
    reply.code(stale.status)
    for (const [name, value] of fieldPairs(kept)) reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary') ?? undefined, value) : value)
    completeFields(reply, kept, this.#policy, undefined)
    const refusal = this.#refusal(settled)
    const entry: Entry = {
      ...stale,
      ...judgement.isKept ? this.#policy.ttlMs === undefined ? judgement.lifetime : shortened(judgement.lifetime) : {},
      sequence: run.sequence ?? stale.sequence,
      fields: fieldPairs(kept)
    }
    const isGood = refusal === undefined && judgement.isKept && run.sequence !== undefined
    const isStored = isGood && this.#keeping.send(settled, entry, stale.body, false)
    if (!judgement.isKept) this.#supersede(settled, judgement.reason)
    if (isGood) run.fill?.end(this.#hasVariants(settled, kept) ? 'alone' : entry)
    else this.#shared.entrance.leave(run.fill, 'alone')
    tell(reply, run, { isStored, detail: refusal ?? (judgement.isKept ? isGood && !isStored ? full : undefined : judgement.reason), forwardedStatus: 304 })
    reply.header('age', String(ageSeconds(entry, settled.receivedAt)))
    return leavePlain(settled, entry)
  }

  /** What a HEAD says of the answer that is stored for GET: that it is the same, with what is new of it, or that it is not (RFC 9111 section 4.3.5). */
  #compare (settled: Case, stale: Entry): void {
    const { after, run } = settled
    if (run.detail !== 'method' || this.#refusal(settled) !== undefined) return
    const added = addedFields(run.before, after)
    const kept = freshened(stale, keptFields(added, after, new Set(), this.#policy.keepCookies))
    const judgement = judgementOf(settled, this.#policy, stale.status, kept)
    if (!isSameAnswer(stale, added)) this.#keeping.put(settled, { ...stale, freshMs: 0, staleWhileSeconds: 0, staleErrorSeconds: 0 }, stale.body, false)
    else if (judgement.isKept) this.#keeping.send(settled, { ...stale, ...judgement.lifetime, fields: fieldPairs(kept) }, stale.body, false)
  }

  /** RFC 5861 section 4 */
  #standIn (settled: Case, stale: Entry): unknown {
    const { reply, run } = settled
    const forwardedStatus = reply.statusCode
    for (const name of Object.keys(settled.after)) if (String(settled.after[name]) !== String(run.before[name])) reply.removeHeader(name)
    reply.code(stale.status)
    for (const [name, value] of stale.fields) reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary') ?? undefined, value) : value)
    if (this.#policy.browser !== undefined) reply.header('cache-control', browserControl(Object.fromEntries(stale.fields), this.#policy.browser, 0))
    this.#shared.entrance.leave(run.fill, stale)
    this.#shared.counts.add('stale')
    reply.header('age', String(ageSeconds(stale, settled.receivedAt)))
    reply.header('cache-status', formatCacheStatus({ forwarded: 'stale', forwardedStatus, ttlSeconds: Math.floor(freshLeftMs(stale, settled.receivedAt) / 1000) }))
    return leavePlain(settled, stale)
  }

  #judge (settled: Case, payload: unknown): unknown {
    const { request, reply, run, visit } = settled
    const reason = this.#refusal(settled) ?? (run.sequence === outage ? undefined : run.detail)
    const added = addedFields(run.before, settled.after)
    const judgement: Judgement = reason === undefined ? judgementOf(settled, this.#policy, reply.statusCode, added) : { isKept: false, reason }
    if (!judgement.isKept || run.sequence === undefined || visit.key === undefined) return this.#refuse(settled, judgement.isKept ? 'method' : judgement.reason)
    // Its fields are in no list of headers any more.
    if (reply.raw.headersSent) return this.#refuse(settled, 'sent')

    const kept = keptFields(added, settled.after, judgement.without, this.#policy.keepCookies)
    const lifetime = this.#policy.ttlMs === undefined ? judgement.lifetime : shortened(judgement.lifetime)
    if (isStream(payload)) return this.#tee(settled, kept, lifetime, payload)
    if (payload instanceof ReadableStream) return this.#tee(settled, kept, lifetime, Readable.fromWeb(payload))
    const body = bodyOf(payload)
    if (body === undefined) return this.#refuse(settled, 'payload')
    if (body.length > this.#policy.maxBytes) return this.#refuse(settled, 'too-large')

    completeFields(reply, kept, this.#policy, body)
    const coded = isCoded(reply, kept, this.#policy, body.length)
    const entry = { ...headOf(settled, kept, lifetime), body }
    const isStored = this.#keeping.admits(settled, body.length)
    tell(reply, run, { isStored, detail: isStored || run.sequence === outage ? run.detail : full })
    const left = leave(request, reply, payload, body)
    this.#await(settled).complete(() => {
      if (isStored) this.#keeping.put(settled, entry, body, coded)
      else if (run.sequence !== outage) this.#shared.entrance.stored(run.fill, false)
      run.fill?.end(this.#hasVariants(settled, kept) ? 'alone' : entry)
    })
    return left
  }

  /** Waits until the header block has been sent as it is now, or refuses the answer. */
  #await (settled: Case): PendingAnswer {
    const { reply, run } = settled
    const pending = new PendingAnswer(reply, this.#policy, (reason) => {
      if (!reply.raw.headersSent) restoreControl(settled)
      this.#refuse(settled, reason)
    })
    run.pending = pending
    return pending
  }

  /** What speaks against keeping it, whatever it says of itself. */
  #refusal ({ reply, run, visit }: Case): string | undefined {
    if (run.hasFailed === true) return 'error'
    if (visit.bypass !== undefined) return visit.bypass
    const reading = visit.changed ?? run.witness?.reading
    if (reading === undefined) return undefined
    if (!reply.sent) makePrivate(reply)
    if (!this.#warned.has(reading.what) && this.#warned.size < mostWarned) {
      this.#warned.add(reading.what)
      this.#shared.warn({ route: this.#pattern, read: reading.what, remedy: reading.remedy }, 'An answer is not kept, for its handler read what its key does not hold')
    }
    return this.#policy.explain ? `read ${reading.what}; ${reading.remedy}` : 'unkeyed'
  }

  #refuse (settled: Case, reason: string): undefined {
    const { reply, run } = settled
    this.#supersede(settled, reason)
    // What failed may succeed for the next one; what is not to be shared, nobody shall wait for.
    this.#shared.entrance.leave(run.fill, run.hasFailed === true || reply.statusCode >= 500 ? 'again' : 'alone')
    this.#shared.counts.add('refuse')
    if (reply.raw.headersSent) return
    if (this.#policy.partition !== undefined) makePrivate(reply)
    tell(reply, run, { isStored: false, detail: reason })
  }

  #supersede (settled: Case, reason: string): void {
    if (settled.run.stale !== undefined && isSuperseding(settled, reason, this.#policy)) this.#keeping.remove(settled, settled.run.stale)
  }

  /** Who waits for this answer has other fields or another query, and it is not theirs; a coding is chosen for each when it is served. */
  #hasVariants ({ visit: { key } }: Case, kept: ReadonlyMap<string, Fields[string]>): boolean {
    if (this.#policy.ttlMs !== undefined) return false
    const isSame = key?.search === undefined || this.#variants.placeOf(key, kept.get('no-vary-search')).name === key.name
    return !isSame || parseVary(kept.get('vary')).length > 0
  }

  #tee (settled: Case, kept: Map<string, Fields[string]>, lifetime: Lifetime, payload: NodeJS.ReadableStream): unknown {
    const { reply, run } = settled
    completeFields(reply, kept, this.#policy, undefined)
    const willCode = isCoded(reply, kept, this.#policy, this.#policy.maxBytes)
    tell(reply, run, { isStored: false })
    const pending = this.#await(settled)
    const onEnd = (body: Gathered) => {
      run.restore?.()
      const isWhole = typeof body !== 'string' && !isShort(settled, body)
      // It may have been made of the request only now.
      if (isWhole && this.#refusal(settled) === undefined) return pending.complete(() => this.#keepGathered(settled, kept, { ...headOf(settled, kept, lifetime), body }, willCode))
      pending.drop()
      if (body === 'large') this.#supersede(settled, 'too-large')
      this.#shared.entrance.leave(run.fill, isWhole || body === 'large' ? 'alone' : 'again')
    }
    const passing = tee(payload, this.#policy.maxBytes, { onStart: () => run.witness?.reopen(), onEnd })
    // Who is gone before it begins takes nothing of it, and tells nobody.
    run.payload = passing
    return passing
  }

  #keepGathered (settled: Case, kept: ReadonlyMap<string, Fields[string]>, entry: Entry, willCode: boolean): void {
    this.#keeping.send(settled, entry, entry.body, willCode && entry.body.length >= fewestBytes)
    settled.run.fill?.end(this.#hasVariants(settled, kept) ? 'alone' : entry)
  }
}
