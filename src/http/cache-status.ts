/** Why a request went on to the handler, RFC 9211 section 2.2. */
export type Forwarded = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'miss' | 'request' | 'stale' | 'partial'

/** What the cache did with one request. */
export interface CacheStatus {
  /** answered from the store */
  isHit?: boolean
  /** why not, or not alone */
  forwarded?: Forwarded
  /** the status that the handler answered, where it differs from what left */
  forwardedStatus?: number
  /** seconds of freshness left; negative once stale */
  ttlSeconds?: number
  /** what the handler answered was kept */
  isStored?: boolean
  /** one run of the handler answered several requests */
  isCollapsed?: boolean
  /** a token of our own */
  detail?: string
}

/**
 * Writes `Cache-Status` (RFC 9211) as this cache's member of the list.
 *
 * @param before members that stand there already, from caches nearer to the origin
 */
export function formatCacheStatus (status: CacheStatus, before?: string): string {
  let text = before ? `${before}, prism` : 'prism'
  if (status.isHit) text += '; hit'
  if (status.forwarded !== undefined) text += `; fwd=${status.forwarded}`
  if (status.forwardedStatus !== undefined) text += `; fwd-status=${status.forwardedStatus}`
  if (status.ttlSeconds !== undefined) text += `; ttl=${Math.trunc(status.ttlSeconds)}`
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
