import { formatCacheStatus } from '../../http/cache-status.ts'
import type { Head, Lifetime, PayloadType } from '../storage/entry-codec.ts'
import type { Fields } from '../freshness.ts'
import { fieldPairs, removedFields, tagsOf } from './stored-headers.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import { cacheabilityByResponse, cacheabilityByRoute } from './cacheability.ts'
import type { Cacheability } from './cacheability.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'

/** A handler's response, with what is needed to decide whether it is stored. */
export interface HandledResponse {
  readonly request: CacheRequest
  readonly reply: CacheReply
  readonly state: CacheRequestState
  readonly run: HandlerRun
  readonly after: Fields
  readonly chosenTags: readonly string[]
  readonly receivedAt: number
}

/** Whether a response with this status and these headers may be stored: by the route's `ttl`, or by RFC 9111 where it has none. */
export function cacheabilityOf ({ request, run, receivedAt }: HandledResponse, policy: RoutePolicy, status: number, fields: ReadonlyMap<string, Fields[string]>): Cacheability {
  const response = { status, fields: Object.fromEntries(fields), isAuthorized: request.raw.headers.authorization !== undefined, requestedAt: run.startedAt, receivedAt }
  return policy.ttlMs === undefined ? cacheabilityByResponse(response, policy) : cacheabilityByRoute(response, policy, policy.ttlMs)
}

/** The stored head of a response. */
export function headOf ({ reply, run, state, after, chosenTags }: HandledResponse, storedFields: ReadonlyMap<string, Fields[string]>, lifetime: Lifetime, payloadType: PayloadType, hasOwnTag: boolean): Head {
  return {
    ...lifetime,
    status: reply.statusCode,
    sequence: run.sequence ?? 0,
    key: state.key?.text ?? '',
    tags: tagsOf(chosenTags, state.tags, storedFields),
    coding: 'identity',
    payloadType,
    hasOwnTag,
    fields: fieldPairs(storedFields),
    removed: removedFields(run.before, after)
  }
}

/** Restores the handler's own `Cache-Control`: `browserMaxAge` applies only to stored responses. */
export function restoreControl ({ reply, after }: HandledResponse): void {
  const original = after['cache-control']
  if (original === undefined) reply.removeHeader('cache-control')
  else reply.header('cache-control', [original].flat().map(String))
}

/** Sets this cache's member of `Cache-Status` (RFC 9211). A later call replaces the member; members of other caches stay. */
export function setCacheStatus (reply: CacheReply, run: HandlerRun, outcome: { isStored: boolean, detail?: string | undefined, forwardedStatus?: number }): void {
  const { isStored, detail = run.detail, forwardedStatus } = outcome
  const status = { forwarded: run.reason, isStored, ...(run.isCollapsed === true ? { isCollapsed: true } : {}), ...(forwardedStatus === undefined ? {} : { forwardedStatus }), ...(detail === undefined ? {} : { detail }) }
  run.statusBefore ??= { field: reply.getHeader('cache-status') as string | undefined }
  reply.header('cache-status', formatCacheStatus(status, run.statusBefore.field))
}

/** The `Content-Length` of a response; undefined if it has none. */
export function lengthOf ({ after }: HandledResponse): number | undefined {
  return after['content-length'] === undefined ? undefined : Number(after['content-length'])
}

/** Whether the body differs in length from its `Content-Length`: such a response is incomplete and is not stored (RFC 9111 section 3.3). */
export function isShort (handled: HandledResponse, body: Buffer): boolean {
  const length = lengthOf(handled)
  return length !== undefined && length !== body.length
}

/** The type of a payload, as it is stored. */
export function payloadTypeOf (payload: unknown): PayloadType {
  if (typeof payload === 'string') return 'text'
  if (payload == null) return payload === null ? 'null' : 'none'
  return Buffer.isBuffer(payload) ? 'bytes' : 'stream'
}

/** The bytes of a string, Buffer or empty payload; undefined for any other payload. */
export function bodyOf (payload: unknown): Buffer | undefined {
  if (typeof payload === 'string') return Buffer.from(payload)
  if (payload == null) return Buffer.alloc(0)
  return Buffer.isBuffer(payload) ? payload : undefined
}
