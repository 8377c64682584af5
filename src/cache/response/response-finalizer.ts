import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { formatCacheStatus } from '../../http/cache-status.ts'
import { onClosed } from '../../http/response-lifecycle.ts'
import { discardPayload, isStream, isStreaming } from '../../http/payload.ts'
import { parseVary } from '../../http/vary.ts'
import { bodyOf, headOf, isShort, cacheabilityOf, sendUnchanged, restoreControl, setCacheStatus } from './handled-response.ts'
import type { HandledResponse } from './handled-response.ts'
import { browserControl } from './browser-cache-control.ts'
import { fewestBytes } from './compression.ts'
import type { Entry, Lifetime } from '../storage/entry-codec.ts'
import { ageSeconds, freshLeftMs } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import { invalidatedBy, isUnsafe } from '../invalidation/unsafe-methods.ts'
import { addedFields, completeFields, fieldPairs, freshened, isCoded, isSameAnswer, keptFields, shortened } from './stored-headers.ts'
import { EntryWriter, outage } from './entry-writer.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import { PendingResponse } from './pending-response.ts'
import type { RoutePolicy } from '../options.ts'
import { isWithinStaleIfErrorWindow } from '../lookup/reuse.ts'
import { joinFields, sendHandled, makePrivate } from './send-entry.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { Cacheability } from './cacheability.ts'
import { isSuperseding } from '../invalidation/superseded-entry.ts'
import { tee } from './body-tee.ts'
import type { TeeResult } from './body-tee.ts'
import type { VaryIndex } from '../lookup/vary-index.ts'
import type { CacheRequestState } from '../request-state.ts'

/** Why an answer is not kept that might be: Redis is too full. */
const full = 'memory'

/** What was read may be named by a stranger: the log shall not be full of it. */
const mostWarned = 50

/** Settles what a handler answered: keeps it, confirms a stored answer with it, or lets it pass. */
export class ResponseFinalizer {
  readonly #policy: RoutePolicy
  readonly #pattern: string
  readonly #shared: CacheRuntime
  readonly #writer: EntryWriter
  readonly #warned = new Set<string>()

  constructor (policy: RoutePolicy, pattern: string, shared: CacheRuntime, varyIndex: VaryIndex) {
    this.#policy = policy
    this.#pattern = pattern
    this.#shared = shared
    this.#writer = new EntryWriter(policy, shared, varyIndex)
  }

  /** @returns what leaves instead of the payload: undefined for the payload itself, null for nothing */
  finalize (request: CacheRequest, reply: CacheReply, state: CacheRequestState, payload: unknown, chosenTags: readonly string[]): unknown {
    const { run } = state
    if (run === undefined || run.isSettled === true) return undefined
    run.isSettled = true
    const settled = { request, reply, state, run, after: run.after ?? reply.getHeaders(), chosenTags, receivedAt: Date.now() }
    if (isStreaming(payload)) this.#hold(settled, payload)
    if (isUnsafe(request.method)) return this.#invalidate(settled)
    if (run.stale !== undefined && reply.statusCode === 304) {
      discardPayload(payload)
      return this.#mergeNotModified(settled, run.stale)
    }
    if (run.stale !== undefined && reply.statusCode === 200 && request.method === 'HEAD') this.#freshenFromHead(settled, run.stale)
    if (run.stale !== undefined && reply.statusCode >= 500 && isWithinStaleIfErrorWindow(run.stale, settled.receivedAt)) {
      discardPayload(payload)
      return this.#serveStaleOnError(settled, run.stale)
    }
    return this.#storeIfCacheable(settled, payload)
  }

  /** Hooks may still send something else, or the client may go away. */
  #hold ({ reply, run }: HandledResponse, payload: object): void {
    run.payload = payload
    onClosed(reply.raw.req, reply.raw, () => discardPayload(run.payload))
  }

  async #invalidate ({ request, reply, run }: HandledResponse): Promise<undefined> {
    setCacheStatus(reply, run, { isStored: false, detail: run.detail })
    const tags = invalidatedBy(request, reply)
    if (tags.length > 0) await this.#shared.store.purge(tags).catch((error: unknown) => this.#shared.warn({ err: error }, 'What an unsafe request changed may still be served from the cache'))
    return undefined
  }

  /** RFC 9111 section 4.3.4 */
  #mergeNotModified (settled: HandledResponse, stale: Entry): unknown {
    const { reply, run } = settled
    const added = addedFields(run.before, settled.after)
    const kept = freshened(stale, keptFields(added, settled.after, new Set()))
    const judgement = cacheabilityOf(settled, this.#policy, stale.status, kept)
    for (const name of added.keys()) reply.removeHeader(name)
    reply.code(stale.status)
    for (const [name, value] of fieldPairs(kept)) reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary') ?? undefined, value) : value)
    completeFields(reply, kept, this.#policy, undefined)
    const refusal = this.#uncacheableReason(settled)
    const entry: Entry = {
      ...stale,
      ...judgement.isKept ? this.#policy.ttlMs === undefined ? judgement.lifetime : shortened(judgement.lifetime) : {},
      sequence: run.sequence ?? stale.sequence,
      fields: fieldPairs(kept)
    }
    const isGood = refusal === undefined && judgement.isKept && run.sequence !== undefined
    const isStored = isGood && this.#writer.send(settled, entry, stale.body, false)
    if (!judgement.isKept) this.#replaceStored(settled, judgement.reason)
    if (isGood) run.fill?.end(this.#hasVariants(kept) ? 'alone' : entry)
    else this.#shared.lockQueue.abandon(run.fill, 'alone')
    setCacheStatus(reply, run, { isStored, detail: refusal ?? (judgement.isKept ? isGood && !isStored ? full : undefined : judgement.reason), forwardedStatus: 304 })
    reply.header('age', String(ageSeconds(entry, settled.receivedAt)))
    return sendUnchanged(settled, entry)
  }

  /** What a HEAD says of the answer that is stored for GET: that it is the same, with what is new of it, or that it is not (RFC 9111 section 4.3.5). */
  #freshenFromHead (settled: HandledResponse, stale: Entry): void {
    const { after, run } = settled
    if (run.detail !== 'method' || this.#uncacheableReason(settled) !== undefined) return
    const added = addedFields(run.before, after)
    const kept = freshened(stale, keptFields(added, after, new Set()))
    const judgement = cacheabilityOf(settled, this.#policy, stale.status, kept)
    if (!isSameAnswer(stale, added)) this.#writer.put(settled, { ...stale, freshMs: 0, staleWhileSeconds: 0, staleErrorSeconds: 0 }, stale.body, false)
    else if (judgement.isKept) this.#writer.send(settled, { ...stale, ...judgement.lifetime, fields: fieldPairs(kept) }, stale.body, false)
  }

  /** RFC 5861 section 4 */
  #serveStaleOnError (settled: HandledResponse, stale: Entry): unknown {
    const { reply, run } = settled
    const forwardedStatus = reply.statusCode
    for (const name of Object.keys(settled.after)) if (String(settled.after[name]) !== String(run.before[name])) reply.removeHeader(name)
    reply.code(stale.status)
    for (const [name, value] of stale.fields) reply.header(name, name === 'vary' ? joinFields(reply.getHeader('vary') ?? undefined, value) : value)
    if (this.#policy.browser !== undefined) reply.header('cache-control', browserControl(Object.fromEntries(stale.fields), this.#policy.browser, 0))
    this.#shared.lockQueue.abandon(run.fill, stale)
    this.#shared.stats.add('stale')
    reply.header('age', String(ageSeconds(stale, settled.receivedAt)))
    reply.header('cache-status', formatCacheStatus({ forwarded: 'stale', forwardedStatus, ttlSeconds: Math.floor(freshLeftMs(stale, settled.receivedAt) / 1000) }))
    return sendUnchanged(settled, stale)
  }

  #storeIfCacheable (settled: HandledResponse, payload: unknown): unknown {
    const { request, reply, run, state } = settled
    const reason = this.#uncacheableReason(settled) ?? (run.sequence === outage ? undefined : run.detail)
    const added = addedFields(run.before, settled.after)
    const judgement: Cacheability = reason === undefined ? cacheabilityOf(settled, this.#policy, reply.statusCode, added) : { isKept: false, reason }
    if (!judgement.isKept || run.sequence === undefined || state.key === undefined) return this.#notCacheable(settled, judgement.isKept ? 'method' : judgement.reason)
    // Its fields are in no list of headers any more.
    if (reply.raw.headersSent) return this.#notCacheable(settled, 'sent')

    const kept = keptFields(added, settled.after, judgement.without)
    const lifetime = this.#policy.ttlMs === undefined ? judgement.lifetime : shortened(judgement.lifetime)
    if (isStream(payload)) return this.#tee(settled, kept, lifetime, payload)
    if (payload instanceof ReadableStream) return this.#tee(settled, kept, lifetime, Readable.fromWeb(payload))
    const body = bodyOf(payload)
    if (body === undefined) return this.#notCacheable(settled, 'payload')
    if (body.length > this.#policy.maxBytes) return this.#notCacheable(settled, 'too-large')

    completeFields(reply, kept, this.#policy, body)
    const coded = isCoded(reply, kept, this.#policy, body.length)
    const entry = { ...headOf(settled, kept, lifetime), body }
    const isStored = this.#writer.admits(settled, body.length)
    setCacheStatus(reply, run, { isStored, detail: isStored || run.sequence === outage ? run.detail : full })
    const left = sendHandled(request, reply, payload, body)
    this.#await(settled).complete(() => {
      if (isStored) this.#writer.put(settled, entry, body, coded)
      else if (run.sequence !== outage) this.#shared.lockQueue.committed(run.fill, false)
      run.fill?.end(this.#hasVariants(kept) ? 'alone' : entry)
    })
    return left
  }

  /** Waits until the header block has been sent as it is now, or refuses the answer. */
  #await (settled: HandledResponse): PendingResponse {
    const { reply, run } = settled
    const pending = new PendingResponse(reply, this.#policy, (reason) => {
      if (!reply.raw.headersSent) restoreControl(settled)
      this.#notCacheable(settled, reason)
    })
    run.pending = pending
    return pending
  }

  /** What speaks against keeping it, whatever it says of itself. */
  #uncacheableReason ({ reply, run, state }: HandledResponse): string | undefined {
    if (run.hasFailed === true) return 'error'
    if (state.bypass !== undefined) return state.bypass
    const reading = state.changed ?? run.tracker?.unkeyedInput
    if (reading === undefined) return undefined
    if (!reply.sent) makePrivate(reply)
    if (!this.#warned.has(reading.what) && this.#warned.size < mostWarned) {
      this.#warned.add(reading.what)
      this.#shared.warn({ route: this.#pattern, read: reading.what, remedy: reading.remedy }, 'An answer is not kept, for its handler read what its key does not hold')
    }
    return this.#policy.debug ? `read ${reading.what}; ${reading.remedy}` : 'unkeyed'
  }

  #notCacheable (settled: HandledResponse, reason: string): undefined {
    const { reply, run } = settled
    this.#replaceStored(settled, reason)
    // What failed may succeed for the next one; what is not to be shared, nobody shall wait for.
    this.#shared.lockQueue.abandon(run.fill, run.hasFailed === true || reply.statusCode >= 500 ? 'again' : 'alone')
    this.#shared.stats.add('refuse')
    if (reply.raw.headersSent) return
    if (this.#policy.partition !== undefined) makePrivate(reply)
    setCacheStatus(reply, run, { isStored: false, detail: reason })
  }

  #replaceStored (settled: HandledResponse, reason: string): void {
    if (settled.run.stale !== undefined && isSuperseding(settled, reason, this.#policy)) this.#writer.remove(settled, settled.run.stale)
  }

  /** A waiting request may have other values of the headers in `Vary`, so the response is not shared with it. The content coding is chosen when the entry is sent. */
  #hasVariants (kept: ReadonlyMap<string, Fields[string]>): boolean {
    if (this.#policy.ttlMs !== undefined) return false
    return parseVary(kept.get('vary')).length > 0
  }

  #tee (settled: HandledResponse, kept: Map<string, Fields[string]>, lifetime: Lifetime, payload: NodeJS.ReadableStream): unknown {
    const { reply, run } = settled
    completeFields(reply, kept, this.#policy, undefined)
    const willCode = isCoded(reply, kept, this.#policy, this.#policy.maxBytes)
    setCacheStatus(reply, run, { isStored: false })
    const pending = this.#await(settled)
    const onEnd = (body: TeeResult) => {
      run.restore?.()
      const isWhole = typeof body !== 'string' && !isShort(settled, body)
      // It may have been made of the request only now.
      if (isWhole && this.#uncacheableReason(settled) === undefined) return pending.complete(() => this.#storeGathered(settled, kept, { ...headOf(settled, kept, lifetime), body }, willCode))
      pending.drop()
      if (body === 'large') this.#replaceStored(settled, 'too-large')
      this.#shared.lockQueue.abandon(run.fill, isWhole || body === 'large' ? 'alone' : 'again')
    }
    const passing = tee(payload, this.#policy.maxBytes, { onStart: () => run.tracker?.reopen(), onEnd })
    // Who is gone before it begins takes nothing of it, and tells nobody.
    run.payload = passing
    return passing
  }

  #storeGathered (settled: HandledResponse, kept: ReadonlyMap<string, Fields[string]>, entry: Entry, willCode: boolean): void {
    this.#writer.send(settled, entry, entry.body, willCode && entry.body.length >= fewestBytes)
    settled.run.fill?.end(this.#hasVariants(kept) ? 'alone' : entry)
  }
}
