import type { ServerResponse } from 'node:http'
import { parseCacheControl } from '../http/cache-control.ts'
import type { CacheControl } from '../http/cache-control.ts'

/** Field values of a request, names in lower case. */
export type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

/** What the cache reads of a request; Fastify's has this form. */
export interface CacheRequest {
  readonly method: string
  readonly url: string
  readonly protocol: string
  readonly host: string
  readonly headers: RequestHeaders
  readonly raw: { url?: string | undefined, headers: RequestHeaders }
  query: unknown
  params: unknown
}

/** What the cache does with a reply; Fastify's has this form. */
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

/** `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 section 5.4). */
export function wantedBy ({ raw: { headers } }: CacheRequest): CacheControl {
  const field = headers['cache-control'] ?? (/\bno-cache\b/i.test(String(headers.pragma ?? '')) ? 'no-cache' : undefined)
  return parseCacheControl(field)
}

/** RFC 9111 sections 5.2.1.5 and 5.2.1.7: a request that runs the handler for nobody else, or not at all. */
export function forbidsFill ({ raw: { headers } }: CacheRequest): boolean {
  const field = headers['cache-control']
  return field !== undefined && /no-store|only-if-cached/i.test(String(field))
}

/** RFC 9110 section 9.3.1: a body on a GET has no meaning that a cache could know. */
export function mayBeStored (request: CacheRequest): boolean {
  const { method, raw: { headers } } = request
  return (method === 'GET' || method === 'HEAD') && headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0'
}
