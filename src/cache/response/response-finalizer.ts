import { addAbortSignal, Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { formatCacheStatus } from '../../http/cache-status.ts'
import { onClosed } from '../../http/response-lifecycle.ts'
import { discardPayload, isStream, isStreaming } from '../../http/payload.ts'
import { parseVary } from '../../http/vary.ts'
import { bodyOf, headOf, isShort, lengthOf, cacheabilityOf, payloadTypeOf, restoreControl, setCacheStatus } from './handled-response.ts'
import type { HandledResponse } from './handled-response.ts'
import { browserControl } from './browser-cache-control.ts'
import { fewestBytes } from './compression.ts'
import { decompressBody, plainBodyOf } from './decompressed-bodies.ts'
import type { ResponseConditions } from './response-conditions.ts'
import type { PayloadUse } from './conditional-response.ts'
import type { Entry, Lifetime } from '../storage/entry-codec.ts'
import { ageSeconds, freshLeftMs, isWithinStaleIfErrorWindow } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import { invalidatedBy, isUnsafe } from '../invalidation/unsafe-methods.ts'
import { addedFields, completeFields, fieldPairs, freshened, isCoded, matchesStored, storableFields, shortened, withoutOwnFields } from './stored-headers.ts'
import { EntryWriter, outage } from './entry-writer.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import { PendingResponse } from './pending-response.ts'
import type { RoutePolicy } from '../options.ts'
import { headersOf, restoreHeaders } from '../handler/header-writes.ts'
import { asType, makePrivate, setFields } from './send-entry.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { Cacheability } from './cacheability.ts'
import { isSuperseding } from '../invalidation/superseded-entry.ts'
import { tee } from './body-tee.ts'
import type { TeeResult } from './body-tee.ts'
import type { VaryIndex } from '../lookup/vary-index.ts'
import type { CacheRequestState, HandlerRun } from '../request-state.ts'
import { wallMs } from '../../shared/clock.ts'

/** `detail` of a cacheable response that was not admitted, because Redis's memory is high. */
const notAdmitted = 'memory'

/** Longest time for which a stream is read on after its client received 304 or 206. */
const drainMs = 10_000

/** Maximum distinct warnings: a client can choose the names of inputs, and must not be able to flood the log. */
const maxWarnings = 50

/** Decides what happens to a handler's response: store it, freshen a stored response with it, serve a stale response instead, or pass it through. */
export class ResponseFinalizer {
  readonly #policy: RoutePolicy
  readonly #pattern: string
  readonly #shared: CacheRuntime
  readonly #writer: EntryWriter
  readonly #conditions: ResponseConditions
  readonly #warned = new Set<string>()

  constructor (policy: RoutePolicy, pattern: string, shared: CacheRuntime, varyIndex: VaryIndex, conditions: ResponseConditions) {
    this.#policy = policy
    this.#pattern = pattern
    this.#shared = shared
    this.#conditions = conditions
    this.#writer = new EntryWriter(policy, shared, varyIndex)
  }

  /** @returns the payload to send instead: undefined for the handler's own, null for no body */
  finalize (request: CacheRequest, reply: CacheReply, state: CacheRequestState, payload: unknown, chosenTags: readonly string[]): unknown {
    const { run } = state
    if (run === undefined || run.isSettled === true) return undefined
    run.isSettled = true
    const handled = { request, reply, state, run, after: run.after ?? headersOf(reply), chosenTags, receivedAt: wallMs() }
    if (isStreaming(payload)) this.#discardOnClose(handled, payload)
    if (isUnsafe(request.method)) return this.#invalidate(handled)
    if (run.stale !== undefined && reply.statusCode === 304) {
      discardPayload(payload)
      return this.#mergeNotModified(handled, run.stale)
    }
    if (run.stale !== undefined && reply.statusCode === 200 && request.method === 'HEAD') this.#freshenFromHead(handled, run.stale)
    if (run.stale !== undefined && reply.statusCode >= 500 && isWithinStaleIfErrorWindow(run.stale, handled.receivedAt)) {
      discardPayload(payload)
      return this.#serveStaleOnError(handled, run.stale)
    }
    return this.#storeIfCacheable(handled, payload)
  }

  /** A later hook may replace the stream, or the client may disconnect: the stream must then be destroyed. */
  #discardOnClose ({ reply, run }: HandledResponse, payload: object): void {
    run.payload = payload
    onClosed(reply.raw.req, reply.raw, () => discardPayload(run.payload))
  }

  async #invalidate ({ request, reply, run }: HandledResponse): Promise<undefined> {
    setCacheStatus(reply, run, { isStored: false, detail: run.detail })
    const tags = invalidatedBy(request, reply)
    if (tags.length > 0) await this.#shared.store.purge(tags).catch((error: unknown) => this.#shared.warn({ err: error }, 'Invalidation after an unsafe request failed: stale responses may be served'))
    return undefined
  }

  /** RFC 9111 section 4.3.4 */
  #mergeNotModified (handled: HandledResponse, stale: Entry): unknown {
    const { reply, run } = handled
    const added = addedFields(run, handled.after)
    const storedFields = freshened(stale, storableFields(added, handled.after, new Set()))
    const cacheability = this.#cacheabilityOfFreshened(handled, stale, added)
    restoreHeaders(reply, run.before, added.keys())
    reply.code(stale.status)
    setFields(reply, { fields: fieldPairs(storedFields), removed: stale.removed })
    completeFields(reply, storedFields, this.#policy, undefined)
    const reason = this.#uncacheableReason(handled)
    const entry: Entry = {
      ...stale,
      ...cacheability.isStorable ? this.#policy.ttlMs === undefined ? cacheability.lifetime : shortened(cacheability.lifetime) : {},
      sequence: run.sequence ?? stale.sequence,
      fields: fieldPairs(storedFields)
    }
    const isGood = reason === undefined && cacheability.isStorable && run.sequence !== undefined
    const isStored = isGood && this.#writer.send(handled, entry, stale.body, false)
    if (!cacheability.isStorable) this.#replaceStored(handled, cacheability.reason)
    if (isGood) run.fill?.end(this.#hasVariants(storedFields) ? 'alone' : entry)
    else this.#shared.lockQueue.abandon(run.fill, 'alone')
    setCacheStatus(reply, run, { isStored, detail: reason ?? (cacheability.isStorable ? isGood && !isStored ? notAdmitted : undefined : cacheability.reason), forwardedStatus: 304 })
    reply.header('age', String(ageSeconds(entry, handled.receivedAt)))
    return this.#sendEntry(handled, entry)
  }

  /** Whether a stored response may stay stored with the headers of a 304 or HEAD response, by what its handler said. */
  #cacheabilityOfFreshened (handled: HandledResponse, stale: Entry, added: ReadonlyMap<string, Fields[string]>): Cacheability {
    const fields = freshened(withoutOwnFields(stale, this.#policy), storableFields(added, handled.after, new Set()))
    const age = added.get('age')
    return cacheabilityOf(handled, this.#policy, stale.status, age === undefined ? fields : fields.set('age', age))
  }

  /** Updates the stored GET response from a HEAD response, or makes it stale where validators or length differ (RFC 9111 section 4.3.5). */
  #freshenFromHead (handled: HandledResponse, stale: Entry): void {
    const { after, run } = handled
    if (run.detail !== 'method' || this.#uncacheableReason(handled) !== undefined) return
    const added = addedFields(run, after)
    const storedFields = freshened(stale, storableFields(added, after, new Set()))
    const cacheability = this.#cacheabilityOfFreshened(handled, stale, added)
    if (!matchesStored(stale, added)) this.#writer.put(handled, { ...stale, freshMs: 0, staleWhileSeconds: 0, staleErrorSeconds: 0 }, stale.body, false)
    else if (cacheability.isStorable) this.#writer.send(handled, { ...stale, ...cacheability.lifetime, fields: fieldPairs(storedFields) }, stale.body, false)
  }

  /** RFC 5861 section 4 */
  #serveStaleOnError (handled: HandledResponse, stale: Entry): unknown {
    const { reply, run } = handled
    const forwardedStatus = reply.statusCode
    restoreHeaders(reply, run.before, Object.keys(handled.after).filter((name) => String(handled.after[name]) !== String(run.before[name])))
    reply.code(stale.status)
    setFields(reply, stale)
    if (this.#policy.browser !== undefined) reply.header('cache-control', browserControl(Object.fromEntries(stale.fields), this.#policy.browser, 0))
    this.#shared.lockQueue.abandon(run.fill, stale)
    this.#shared.stats.add('stale')
    reply.header('age', String(ageSeconds(stale, handled.receivedAt)))
    reply.header('cache-status', formatCacheStatus({ forwarded: 'stale', forwardedStatus }, undefined, Math.floor(freshLeftMs(stale, handled.receivedAt) / 1000)))
    return this.#sendEntry(handled, stale)
  }

  #storeIfCacheable (handled: HandledResponse, payload: unknown): unknown {
    const { reply, run, state } = handled
    const reason = this.#uncacheableReason(handled) ?? (run.sequence === outage ? undefined : run.detail)
    const added = addedFields(run, handled.after)
    const cacheability: Cacheability = reason === undefined ? cacheabilityOf(handled, this.#policy, reply.statusCode, added) : { isStorable: false, reason }
    if (!cacheability.isStorable || run.sequence === undefined || state.key === undefined) return this.#passThrough(handled, cacheability.isStorable ? 'method' : cacheability.reason, payload)
    // The handler wrote the header block itself: Fastify no longer lists its headers.
    if (reply.raw.headersSent) return this.#notCacheable(handled, 'sent')

    const storedFields = storableFields(added, handled.after, cacheability.without)
    const lifetime = this.#policy.ttlMs === undefined ? cacheability.lifetime : shortened(cacheability.lifetime)
    if (isEndless(reply)) return this.#notCacheable(handled, 'endless')
    if (isStream(payload)) return this.#tee(handled, storedFields, lifetime, payload)
    if (payload instanceof ReadableStream) return this.#tee(handled, storedFields, lifetime, Readable.fromWeb(payload))
    const body = bodyOf(payload)
    if (body === undefined) return this.#passThrough(handled, 'payload', payload)
    if (body.length > this.#policy.maxBytes) return this.#passThrough(handled, 'too-large', payload)

    const hasTag = storedFields.has('etag')
    completeFields(reply, storedFields, this.#policy, body)
    const isCompressed = this.#isCoded(reply, storedFields, body.length)
    const hasOwnTag = !hasTag && storedFields.has('etag')
    const entry = { ...headOf(handled, storedFields, lifetime, payloadTypeOf(payload), hasOwnTag), body }
    const isStored = this.#writer.admits(handled, body.length)
    setCacheStatus(reply, run, { isStored, detail: isStored || run.sequence === outage ? run.detail : notAdmitted })
    reply.removeHeader('content-length')
    const outgoing = this.#conditions.evaluate(handled, payload, hasOwnTag)
    this.#deferUntilSent(handled).complete(() => {
      if (isStored) this.#writer.put(handled, entry, body, isCompressed)
      else if (run.sequence !== outage) this.#shared.lockQueue.committed(run.fill, false)
      run.fill?.end(this.#hasVariants(storedFields) ? 'alone' : entry)
    })
    return outgoing
  }

  /** Defers storing until the header block is sent: a header added later may make the response uncacheable. */
  #deferUntilSent (handled: HandledResponse): PendingResponse {
    const { reply, run } = handled
    const pending = new PendingResponse(reply, this.#policy, (reason) => {
      if (!reply.raw.headersSent) restoreControl(handled)
      this.#notCacheable(handled, reason)
    })
    run.pending = pending
    return pending
  }

  /** The reason not to store the response that does not depend on its headers, or undefined. */
  #uncacheableReason ({ reply, run, state }: HandledResponse): string | undefined {
    if (run.hasFailed === true) return 'error'
    if (state.bypass !== undefined) return state.bypass
    const input = state.changed ?? run.tracker?.unkeyedInput
    if (input === undefined) return undefined
    if (!reply.sent) makePrivate(reply)
    if (!this.#warned.has(input.what) && this.#warned.size < maxWarnings) {
      this.#warned.add(input.what)
      this.#shared.warn({ route: this.#pattern, read: input.what, remedy: input.remedy }, 'Response not cached: handler read an input that is not part of the cache key')
    }
    return this.#policy.debug ? `read ${input.what}; ${input.remedy}` : 'unkeyed'
  }

  #notCacheable (handled: HandledResponse, reason: string): undefined {
    const { reply, run } = handled
    this.#replaceStored(handled, reason)
    // After an error, requests do not bypass the lock: the next run may succeed.
    this.#shared.lockQueue.abandon(run.fill, run.hasFailed === true || reply.statusCode >= 500 ? 'failed' : 'alone')
    this.#shared.stats.add('uncacheable')
    if (reply.raw.headersSent) return
    if (this.#policy.partition !== undefined) makePrivate(reply)
    setCacheStatus(reply, run, { isStored: false, detail: reason })
  }

  /** Sends a response that is not stored. */
  #passThrough (handled: HandledResponse, reason: string, payload: unknown): unknown {
    this.#notCacheable(handled, reason)
    return handled.reply.raw.headersSent ? undefined : this.#conditions.evaluate(handled, payload, false)
  }

  /** Sends an entry instead of the handler's response. */
  #sendEntry (handled: HandledResponse, entry: Entry): unknown {
    handled.reply.removeHeader('content-length')
    const send = (body: Buffer) => this.#conditions.evaluate(handled, this.#conditions.areDeferred ? asType(body, entry.payloadType) : body, entry.hasOwnTag)
    const plain = plainBodyOf(entry)
    return plain === undefined ? decompressBody(entry).then(send) : send(plain)
  }

  /** A body that later hooks receive is stored as it is: they must not have to decode it. */
  #isCoded (reply: CacheReply, storedFields: Map<string, Fields[string]>, bytes: number): boolean {
    return !this.#conditions.areDeferred && isCoded(reply, storedFields, this.#policy, bytes)
  }

  #replaceStored (handled: HandledResponse, reason: string): void {
    if (handled.run.stale !== undefined && isSuperseding(handled, reason, this.#policy)) this.#writer.remove(handled, handled.run.stale)
  }

  /** The response varies by a header, so it may not match the requests that wait for it. `Accept-Encoding` is negotiated when the entry is served. */
  #hasVariants (storedFields: ReadonlyMap<string, Fields[string]>): boolean {
    if (this.#policy.ttlMs !== undefined) return false
    return parseVary(storedFields.get('vary')).length > 0
  }

  #tee (handled: HandledResponse, storedFields: Map<string, Fields[string]>, lifetime: Lifetime, payload: NodeJS.ReadableStream): unknown {
    const { reply, run } = handled
    const status = reply.statusCode
    completeFields(reply, storedFields, this.#policy, undefined)
    const willCompress = this.#isCoded(reply, storedFields, this.#policy.maxBytes)
    setCacheStatus(reply, run, { isStored: false })
    const onEnd = (body: TeeResult) => {
      run.restore?.()
      const isWhole = typeof body !== 'string' && !isShort(handled, body)
      // The stream may have read an unkeyed input since the headers were checked.
      if (isWhole && this.#uncacheableReason(handled) === undefined) return pending.complete(() => this.#storeCollected(handled, storedFields, { ...headOf(handled, storedFields, lifetime, 'stream', false), status, body }, willCompress))
      pending.drop()
      if (body === 'large') this.#replaceStored(handled, 'too-large')
      this.#shared.lockQueue.abandon(run.fill, isWhole || body === 'large' ? 'alone' : body === 'cut' ? 'again' : 'failed')
    }
    const stream = tee(payload, this.#policy.maxBytes, { onStart: () => run.tracker?.reopen(), onEnd }, lengthOf(handled))
    // A client that disconnects before the first read never starts the stream: destroy it on close.
    run.payload = stream
    const outgoing = this.#conditions.evaluate(handled, stream, false, drainingUse(run, stream))
    const pending = this.#deferUntilSent(handled)
    return outgoing
  }

  #storeCollected (handled: HandledResponse, storedFields: ReadonlyMap<string, Fields[string]>, entry: Entry, willCompress: boolean): void {
    this.#writer.send(handled, entry, entry.body, willCompress && entry.body.length >= fewestBytes)
    handled.run.fill?.end(this.#hasVariants(storedFields) ? 'alone' : entry)
  }
}

/** A stream that is stored is read to its end, for a limited time, although its client receives 304 or a part of it. */
function drainingUse (run: HandlerRun, stream: Readable): PayloadUse {
  return {
    release: () => {
      run.isDraining = true
      run.payload = undefined
      addAbortSignal(AbortSignal.timeout(drainMs), stream).resume()
    },
    onCut: (part) => {
      run.isDraining = true
      run.payload = part
    }
  }
}

/** Media types whose responses do not end: requests must not wait for them. */
function isEndless (reply: CacheReply): boolean {
  return /^\s*(?:text\/event-stream|multipart\/x-mixed-replace)\b/i.test(String(reply.getHeader('content-type')))
}
