/** Why a request was forwarded to the handler, RFC 9211 section 2.2. */
export type Forwarded = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'miss' | 'request' | 'stale' | 'partial'

/** What the cache did with one request. */
export interface CacheStatus {
  /** the response came from the cache */
  isHit?: boolean
  /** why the request was forwarded to the handler */
  forwarded?: Forwarded
  /** the status of the handler's response, if it differs from the status that was sent */
  forwardedStatus?: number
  /** the handler's response was stored */
  isStored?: boolean
  /** the request shared another request's handler run */
  isCollapsed?: boolean
  /** implementation-specific detail */
  detail?: string
}

/**
 * Writes `Cache-Status` (RFC 9211) as this cache's member of the list.
 *
 * @param before existing members, from caches nearer to the origin
 * @param ttlSeconds seconds of freshness left; negative once stale
 */
export function formatCacheStatus (status: CacheStatus, before?: string, ttlSeconds?: number): string {
  let text = before ? `${before}, prism` : 'prism'
  if (status.isHit) text += '; hit'
  if (status.forwarded !== undefined) text += `; fwd=${status.forwarded}`
  if (status.forwardedStatus !== undefined) text += `; fwd-status=${status.forwardedStatus}`
  if (ttlSeconds !== undefined) text += `; ttl=${Math.trunc(ttlSeconds)}`
  if (status.isStored) text += '; stored'
  if (status.isCollapsed) text += '; collapsed'
  if (status.detail !== undefined) text += `; detail=${bare.test(status.detail) ? status.detail : quoted(status.detail)}`
  return text
}

/** A token of structured fields, RFC 9651 section 3.3.4. */
const bare = /^[A-Za-z*][\w!#$%&'*+\-.^`|~:/]*$/

function quoted (text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`
}
