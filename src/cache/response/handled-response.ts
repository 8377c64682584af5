import { formatCacheStatus } from '../../http/cache-status.ts'
import { decompress } from './compression.ts'
import type { Entry, Head, Lifetime } from '../storage/entry-codec.ts'
import type { Fields } from '../freshness.ts'
import { fieldPairs, tagsOf } from './stored-headers.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import { sendHandled } from './send-entry.ts'
import { cacheabilityByResponse, cacheabilityByRoute } from './cacheability.ts'
import type { Cacheability } from './cacheability.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'

/** One handler's answer, with all that is needed to judge it. */
export interface HandledResponse {
  readonly request: CacheRequest
  readonly reply: CacheReply
  readonly state: CacheRequestState
  readonly run: HandlerRun
  readonly after: Fields
  readonly chosenTags: readonly string[]
  readonly receivedAt: number
}

/** Whether an answer with this status and these fields may be kept, by what route and answer say. */
export function cacheabilityOf ({ request, run, receivedAt }: HandledResponse, policy: RoutePolicy, status: number, fields: ReadonlyMap<string, Fields[string]>): Cacheability {
  const answer = { status, fields: Object.fromEntries(fields), isAuthorized: request.raw.headers.authorization !== undefined, askedAt: run.askedAt, receivedAt }
  return policy.ttlMs === undefined ? cacheabilityByResponse(answer, policy) : cacheabilityByRoute(answer, policy, policy.ttlMs)
}

/** What is kept of an answer beside its body. */
export function headOf ({ reply, run, state, chosenTags }: HandledResponse, kept: ReadonlyMap<string, Fields[string]>, lifetime: Lifetime): Head {
  return {
    ...lifetime,
    status: reply.statusCode,
    sequence: run.sequence ?? 0,
    key: state.key?.text ?? '',
    tags: tagsOf(chosenTags, state.tags, kept),
    coding: 'identity',
    fields: fieldPairs(kept)
  }
}

/** Lets a stored answer leave in the place of the handler's. */
export function sendUnchanged ({ request, reply }: HandledResponse, entry: Entry): unknown {
  if (entry.coding === 'identity') return sendHandled(request, reply, entry.body, entry.body)
  return decompress(entry.body, entry.coding).then((body) => sendHandled(request, reply, body, body))
}

/** What is not stored is no browser's for longer than the handler said. */
export function restoreControl ({ reply, after }: HandledResponse): void {
  const own = after['cache-control']
  if (own === undefined) reply.removeHeader('cache-control')
  else reply.header('cache-control', [own].flat().map(String))
}

/** Says in `Cache-Status` what became of an answer; what was said before is replaced. */
export function setCacheStatus (reply: CacheReply, run: HandlerRun, said: { isStored: boolean, detail?: string | undefined, forwardedStatus?: number }): void {
  const { isStored, detail = run.detail, forwardedStatus } = said
  const status = { forwarded: run.reason, isStored, ...(forwardedStatus === undefined ? {} : { forwardedStatus }), ...(detail === undefined ? {} : { detail }) }
  run.statusBefore ??= { field: reply.getHeader('cache-status') as string | undefined }
  reply.header('cache-status', formatCacheStatus(status, run.statusBefore.field))
}

/** A stream that brought less, or more, than it said (RFC 9111 section 3.3). */
export function isShort ({ after }: HandledResponse, body: Buffer): boolean {
  return after['content-length'] !== undefined && Number(after['content-length']) !== body.length
}

/** The bytes of a payload; undefined for what is no such payload. */
export function bodyOf (payload: unknown): Buffer | undefined {
  if (typeof payload === 'string') return Buffer.from(payload)
  if (payload == null) return Buffer.alloc(0)
  return Buffer.isBuffer(payload) ? payload : undefined
}
