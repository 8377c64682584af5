import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { formatCacheStatus } from '../http/cache-status.ts'
import { whenOver } from '../http/exchange.ts'
import { parseVary } from '../http/vary.ts'
import { decompress, fewestBytes } from './coding.ts'
import type { Entry, Head, Lifetime } from './entry.ts'
import { ageSeconds, freshLeftMs } from './freshness.ts'
import type { Fields } from './freshness.ts'
import { invalidatedBy, isUnsafe } from './invalidation.ts'
import { addedFields, completeFields, fieldPairs, freshened, isCoded, isSameAnswer, keptFields, shortened, tagsOf } from './keep.ts'
import { Keeping, outage } from './keeping.ts'
import type { Asking, Replying } from './message.ts'
import type { RoutePolicy } from './policy.ts'
import { mayStandIn } from './reuse.ts'
import { joinFields, leave, makePrivate } from './serve.ts'
import type { Shared } from './shared.ts'
import { judgeByResponse, judgeByRoute } from './storing.ts'
import type { Judgement } from './storing.ts'
import { isStream, tee } from './tee.ts'
import type { Gathered } from './tee.ts'
import type { Variants } from './variants.ts'
import type { HandlerRun, Visit } from './visit.ts'

/** One handler's answer, with all that is needed to judge it. */
interface Case {
  readonly request: Asking
  readonly reply: Replying
  readonly visit: Visit
  readonly run: HandlerRun
  readonly after: Fields
  readonly chosenTags: readonly string[]
  readonly receivedAt: number
}

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
    if (isUnsafe(request.method)) return this.#invalidate(settled)
    if (run.stale !== undefined && reply.statusCode === 304) return this.#confirm(settled, run.stale)
    if (run.stale !== undefined && reply.statusCode === 200 && request.method === 'HEAD') this.#compare(settled, run.stale)
    if (run.stale !== undefined && reply.statusCode >= 500 && mayStandIn(run.stale, settled.receivedAt)) return this.#standIn(settled, run.stale)
    return this.#judge(settled, payload)
  }

  async #invalidate ({ request, reply, run }: Case): Promise<undefined> {
    this.#tell(reply, run, { isStored: false, detail: run.detail })
    const tags = invalidatedBy(request, reply, this.#shared.proxies.size > 0)
    if (tags.length > 0) await this.#shared.store.purge(tags).catch((error: unknown) => this.#shared.warn({ err: error }, 'What an unsafe request changed may still be served from the cache'))
    return undefined
  }

  /** RFC 9111 section 4.3.4 */
  #confirm (settled: Case, stale: Entry): unknown {
    const { reply, run } = settled
    const added = addedFields(run.before, settled.after)
    const kept = freshened(stale, keptFields(added, settled.after, new Set(), this.#policy.keepCookies))
    const judgement = this.#judgement(settled, stale.status, kept)
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
    if (isGood) run.fill?.end(this.#hasVariants(settled, kept) ? 'alone' : entry)
    else this.#shared.entrance.leave(run.fill, 'alone')
    this.#tell(reply, run, { isStored, detail: refusal ?? (judgement.isKept ? isGood && !isStored ? full : undefined : judgement.reason), forwardedStatus: 304 })
    reply.header('age', String(ageSeconds(entry, settled.receivedAt)))
    return this.#leavePlain(settled, entry)
  }

  /** What a HEAD says of the answer that is stored for GET: that it is the same, with what is new of it, or that it is not (RFC 9111 section 4.3.5). */
  #compare (settled: Case, stale: Entry): void {
    const { after, run } = settled
    if (run.detail !== 'method' || this.#refusal(settled) !== undefined) return
    const added = addedFields(run.before, after)
    const kept = freshened(stale, keptFields(added, after, new Set(), this.#policy.keepCookies))
    const judgement = this.#judgement(settled, stale.status, kept)
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
    this.#shared.entrance.leave(run.fill, stale)
    this.#shared.counts.add('stale')
    reply.header('age', String(ageSeconds(stale, settled.receivedAt)))
    reply.header('cache-status', formatCacheStatus({ forwarded: 'stale', forwardedStatus, ttlSeconds: Math.floor(freshLeftMs(stale, settled.receivedAt) / 1000) }))
    return this.#leavePlain(settled, stale)
  }

  #judge (settled: Case, payload: unknown): unknown {
    const { request, reply, run, visit } = settled
    const reason = this.#refusal(settled) ?? (run.sequence === outage ? undefined : run.detail)
    const added = addedFields(run.before, settled.after)
    const judgement: Judgement = reason === undefined ? this.#judgement(settled, reply.statusCode, added) : { isKept: false, reason }
    if (!judgement.isKept || run.sequence === undefined || visit.key === undefined) return this.#refuse(settled, judgement.isKept ? 'method' : judgement.reason)

    const kept = keptFields(added, settled.after, judgement.without, this.#policy.keepCookies)
    const lifetime = this.#policy.ttlMs === undefined ? judgement.lifetime : shortened(judgement.lifetime)
    if (isStream(payload)) return this.#tee(settled, kept, lifetime, payload)
    if (payload instanceof ReadableStream) return this.#tee(settled, kept, lifetime, Readable.fromWeb(payload))
    const body = bodyOf(payload)
    if (body === undefined) return this.#refuse(settled, 'payload')
    if (body.length > this.#policy.maxBytes) return this.#refuse(settled, 'too-large')

    completeFields(reply, kept, this.#policy, body)
    const coded = isCoded(reply, kept, this.#policy, body.length)
    const entry = { ...this.#head(settled, kept, lifetime), body }
    const isStored = this.#keeping.send(settled, entry, body, coded)
    run.fill?.end(this.#hasVariants(settled, kept) ? 'alone' : entry)
    this.#tell(reply, run, { isStored, detail: isStored || run.sequence === outage ? run.detail : full })
    return leave(request, reply, payload, body)
  }

  #judgement ({ request, run, receivedAt }: Case, status: number, fields: ReadonlyMap<string, Fields[string]>): Judgement {
    const answer = { status, fields: Object.fromEntries(fields), isAuthorized: request.raw.headers.authorization !== undefined, askedAt: run.askedAt, receivedAt }
    return this.#policy.ttlMs === undefined ? judgeByResponse(answer, this.#policy) : judgeByRoute(answer, this.#policy, this.#policy.ttlMs)
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

  #refuse ({ reply, run }: Case, reason: string): undefined {
    // What failed may succeed for the next one; what is not to be shared, nobody shall wait for.
    this.#shared.entrance.leave(run.fill, run.hasFailed === true || reply.statusCode >= 500 ? 'again' : 'alone')
    this.#shared.counts.add('refuse')
    if (this.#policy.partition !== undefined) makePrivate(reply)
    this.#tell(reply, run, { isStored: false, detail: reason })
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
    this.#tell(reply, run, { isStored: false })
    const onEnd = (body: Gathered) => {
      run.restore?.()
      if (typeof body === 'string' || isShort(settled, body)) return this.#shared.entrance.leave(run.fill, body === 'large' ? 'alone' : 'again')
      // It may have been made of the request only now.
      if (this.#refusal(settled) !== undefined) return this.#shared.entrance.leave(run.fill, 'alone')
      const entry = { ...this.#head(settled, kept, lifetime), body }
      this.#keeping.send(settled, entry, body, willCode && body.length >= fewestBytes)
      run.fill?.end(this.#hasVariants(settled, kept) ? 'alone' : entry)
    }
    const passing = tee(payload, this.#policy.maxBytes, { onStart: () => run.witness?.reopen(), onEnd })
    run.stream = passing
    // Who is gone before it begins takes nothing of it, and tells nobody.
    whenOver(reply.raw.req, reply.raw, () => { passing.destroy() })
    return passing
  }

  #head ({ reply, run, visit, chosenTags }: Case, kept: ReadonlyMap<string, Fields[string]>, lifetime: Lifetime): Head {
    return {
      ...lifetime,
      status: reply.statusCode,
      sequence: run.sequence ?? 0,
      key: visit.key?.text ?? '',
      tags: tagsOf(chosenTags, visit.tags, kept),
      coding: 'identity',
      fields: fieldPairs(kept)
    }
  }

  #leavePlain ({ request, reply }: Case, entry: Entry): unknown {
    if (entry.coding === 'identity') return leave(request, reply, entry.body, entry.body)
    return decompress(entry.body, entry.coding).then((body) => leave(request, reply, body, body))
  }

  #tell (reply: Replying, run: HandlerRun, said: { isStored: boolean, detail?: string | undefined, forwardedStatus?: number }): void {
    const { isStored, detail = run.detail, forwardedStatus } = said
    const status = { forwarded: run.reason, isStored, ...(forwardedStatus === undefined ? {} : { forwardedStatus }), ...(detail === undefined ? {} : { detail }) }
    reply.header('cache-status', formatCacheStatus(status, reply.getHeader('cache-status') as string | undefined))
  }
}

/** A stream that brought less, or more, than it said (RFC 9111 section 3.3). */
function isShort ({ after }: Case, body: Buffer): boolean {
  return after['content-length'] !== undefined && Number(after['content-length']) !== body.length
}

function bodyOf (payload: unknown): Buffer | undefined {
  if (typeof payload === 'string') return Buffer.from(payload)
  if (payload == null) return Buffer.alloc(0)
  return Buffer.isBuffer(payload) ? payload : undefined
}
