import type { ServerResponse } from 'node:http'
import { noDirectives, parseCacheControl } from '../http/cache-control.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { isUpgrade } from '../http/upgrade.ts'

/** Request headers, names in lower case. */
export type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

/** The part of a Fastify request that the cache uses. */
export interface CacheRequest {
  readonly method: string
  readonly url: string
  readonly protocol: string
  readonly host: string
  readonly headers: RequestHeaders
  /** aborted when the client disconnects, and at `handlerTimeout` */
  readonly signal?: AbortSignal
  readonly raw: { url?: string | undefined, originalUrl?: string, headers: RequestHeaders, upgrade?: boolean | null, socket?: { readonly remoteAddress?: string | undefined }, stream?: { readonly endAfterHeaders?: boolean } | undefined }
  query: unknown
  params: unknown
  /** the compiled validator of a part of the request; null or undefined for none */
  getValidationFunction? (part: 'querystring' | 'params' | 'headers'): unknown
}

/** The part of a Fastify reply that the cache uses. */
export interface CacheReply {
  readonly statusCode: number
  readonly sent: boolean
  readonly raw: ServerResponse
  code (status: number): unknown
  header (name: string, value: string | string[]): unknown
  removeHeader (name: string): unknown
  getHeader (name: string): number | string | string[] | undefined
  getHeaders (): Record<string, number | string | string[] | undefined>
  send (payload?: unknown): unknown
  hijack (): unknown
  callNotFound (): unknown
}

/** The request's Cache-Control directives. `Pragma: no-cache` applies only without `Cache-Control` (RFC 9111 section 5.4). */
export function wantedBy ({ raw: { headers } }: CacheRequest): CacheControl {
  if (headers['cache-control'] === undefined && headers.pragma === undefined) return noDirectives
  const field = headers['cache-control'] ?? (/\bno-cache\b/i.test(String(headers.pragma ?? '')) ? 'no-cache' : undefined)
  return parseCacheControl(field)
}

/** Whether the request forbids a cache fill: `no-store` or `only-if-cached` (RFC 9111 sections 5.2.1.5 and 5.2.1.7). */
export function forbidsFill ({ raw: { headers } }: CacheRequest): boolean {
  const field = headers['cache-control']
  return field !== undefined && /no-store|only-if-cached/i.test(String(field))
}

/** Whether a request's method and body allow caching; an upgrade has no HTTP response. A GET body has no semantics that a cache could include in its key (RFC 9110 section 9.3.1). */
export function mayBeStored (request: CacheRequest): boolean {
  const { method, raw, raw: { headers } } = request
  if ((method !== 'GET' && method !== 'HEAD') || isUpgrade(raw) || headers['transfer-encoding'] !== undefined) return false
  const length = headers['content-length']
  // HTTP/2 announces a body by frames (RFC 9113 section 8.1): without a length there is none only if the header block ended the stream.
  return length === undefined ? raw.stream?.endAfterHeaders !== false : length === '0'
}
