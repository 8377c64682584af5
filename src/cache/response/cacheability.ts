import { parseVary } from '../../http/vary.ts'
import type { CacheControl } from '../../http/cache-control.ts'
import type { Lifetime } from '../storage/entry-codec.ts'
import { bornAt, controlOf, explicitSeconds, heuristicMs, isHeuristic } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import type { RoutePolicy } from '../options.ts'

/** A handler's response, as the decision to store it needs it. */
interface ResponseToStore {
  readonly status: number
  /** headers that the handler added; names in lower case */
  readonly fields: Fields
  /** the request has an `Authorization` header */
  readonly isAuthorized: boolean
  readonly requestedAt: number
  readonly receivedAt: number
}

/** The decision: store with this lifetime and without some headers, or do not store, with the reason as `Cache-Status` reports it. */
export type Cacheability =
  | { readonly isStorable: true, readonly lifetime: Lifetime, readonly without: ReadonlySet<string> }
  | { readonly isStorable: false, readonly reason: string }

const notCacheable = (reason: string): Cacheability => ({ isStorable: false, reason })

/** Statuses that may be stored with the route's `ttl`: final, and not errors. */
const ttlStatuses = new Set([200, 203, 204, 300, 301, 302, 307, 308])

/** Statuses that only update a stored response and are never stored alone (RFC 9111 section 3). */
const neverStoredStatuses = new Set([206, 304])

/** Statuses that this cache understands, for `must-understand` (RFC 9111 section 5.2.2.3): all registered final statuses except 206 and 304. */
const understoodStatuses = new Set([
  200, 201, 202, 203, 204, 205, 226, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425,
  426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 511
])

/** Whether a response may be stored on a route with a `ttl`. The response's own headers can only shorten the lifetime. */
export function cacheabilityByRoute (response: ResponseToStore, policy: RoutePolicy, ttlMs: number): Cacheability {
  const { status, fields, receivedAt } = response
  if (!ttlStatuses.has(status)) return notCacheable('status')
  if (fields['set-cookie'] !== undefined) return notCacheable('set-cookie')
  const found = controlOf(fields)
  const { control } = found
  if (control.noStore) return notCacheable('no-store')
  if (control.private !== false && policy.partition === undefined) return notCacheable('private')
  if (control.noCache !== false) return notCacheable('no-cache')
  if (!isCovered(fields.vary, policy.coveredVary)) return notCacheable('vary')
  const explicit = explicitSeconds(found, fields, receivedAt)
  const freshMs = Math.min(ttlMs, explicit === undefined ? Infinity : explicit * 1000)
  if (freshMs <= 0) return notCacheable('ttl')
  return { isStorable: true, lifetime: { bornAt: bornAt(fields, response.requestedAt, receivedAt), freshMs, ...staleness(control, policy) }, without: none }
}

/**
 * Whether a shared cache may store a response, and for how long.
 *
 * @see RFC 9111 sections 3 and 4.2
 */
export function cacheabilityByResponse (response: ResponseToStore, policy: RoutePolicy): Cacheability {
  const { status, fields, receivedAt } = response
  const found = controlOf(fields)
  const { control } = found
  const reason = uncacheableReason(response, control, policy)
  if (reason !== undefined) return notCacheable(reason)

  const explicit = explicitSeconds(found, fields, receivedAt)
  // Section 3, last item: storing must be permitted explicitly or by the status.
  const isPermitted = explicit !== undefined || control.public || isHeuristic(status) || (control.private !== false && policy.partition !== undefined)
  if (!isPermitted) return notCacheable('status')
  const isAlwaysValidated = control.noCache === true
  const freshMs = isAlwaysValidated ? 0 : explicit === undefined ? heuristicMs(status, control, fields, receivedAt) : explicit * 1000
  const lifetime = { bornAt: bornAt(fields, response.requestedAt, receivedAt), freshMs, ...staleness(control, policy) }
  if (freshMs <= 0 && !canBeUsedStale(lifetime, fields)) return notCacheable('ttl')
  return { isStorable: true, lifetime: isAlwaysValidated ? { ...lifetime, mustRevalidate: true } : lifetime, without: excludedHeaders(control) }
}

function uncacheableReason ({ status, fields, isAuthorized }: ResponseToStore, control: CacheControl, policy: RoutePolicy): string | undefined {
  if (status < 200 || neverStoredStatuses.has(status)) return 'status'
  if (control.mustUnderstand && !understoodStatuses.has(status)) return 'status'
  // Section 5.2.2.3: a cache that understands the status ignores the no-store next to must-understand.
  if (control.noStore && !control.mustUnderstand) return 'no-store'
  if (control.private === true && policy.partition === undefined) return 'private'
  // Section 7.3 allows storing it, but its body may be about the client that the cookie is for.
  if (fields['set-cookie'] !== undefined) return 'set-cookie'
  // Section 3.5
  const isShared = control.public || control.mustRevalidate || control.sMaxage !== undefined
  if (isAuthorized && !isShared && policy.partition === undefined) return 'authorization'
  return parseVary(fields.vary) === '*' ? 'vary' : undefined
}

function staleness (control: CacheControl, policy: RoutePolicy): Pick<Lifetime, 'mustRevalidate' | 'staleErrorSeconds' | 'staleWhileSeconds'> {
  // s-maxage carries proxy-revalidate (section 5.2.2.10).
  const mustRevalidate = control.mustRevalidate || control.proxyRevalidate || control.sMaxage !== undefined
  return {
    mustRevalidate,
    staleWhileSeconds: mustRevalidate ? 0 : control.staleWhileRevalidate ?? policy.staleWhileSeconds,
    staleErrorSeconds: mustRevalidate ? 0 : control.staleIfError ?? policy.staleErrorSeconds
  }
}

/** A response that is stale at once is stored only if it can be validated or served stale. */
function canBeUsedStale (lifetime: Lifetime, fields: Fields): boolean {
  return fields.etag !== undefined || fields['last-modified'] !== undefined || lifetime.staleWhileSeconds > 0 || lifetime.staleErrorSeconds > 0
}

/** Headers named in `no-cache` or `private` are not stored, the others are (sections 5.2.2.4 and 5.2.2.7). */
function excludedHeaders (control: CacheControl): ReadonlySet<string> {
  return new Set([control.noCache, control.private].flatMap((scope) => typeof scope === 'object' ? scope : []))
}

function isCovered (vary: Fields[string], declared: readonly string[]): boolean {
  if (vary === undefined) return true
  const names = parseVary(vary)
  return names !== '*' && names.every((name) => declared.includes(name))
}

const none: ReadonlySet<string> = new Set()
