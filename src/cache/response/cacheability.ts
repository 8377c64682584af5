import { parseVary } from '../../http/vary.ts'
import type { CacheControl } from '../../http/cache-control.ts'
import type { Lifetime } from '../storage/entry-codec.ts'
import { bornAt, controlOf, explicitSeconds, heuristicMs, isHeuristic } from '../freshness.ts'
import type { Fields } from '../freshness.ts'
import type { RoutePolicy } from '../options.ts'

/** An answer that a handler made, to be judged. */
export interface ResponseToStore {
  readonly status: number
  /** those that the handler added, names in lower case */
  readonly fields: Fields
  /** the request bore credentials */
  readonly isAuthorized: boolean
  readonly askedAt: number
  readonly receivedAt: number
}

/** What was decided: to keep it, for so long, without some fields; or why not, in one word. */
export type Cacheability =
  | { readonly isKept: true, readonly lifetime: Lifetime, readonly without: ReadonlySet<string> }
  | { readonly isKept: false, readonly reason: string }

const notCacheable = (reason: string): Cacheability => ({ isKept: false, reason })

/** What may be kept for a route's own lifetime: final answers that are no errors. */
const keptStatuses = new Set([200, 203, 204, 300, 301, 302, 307, 308])

/** Statuses that are kept by nobody who does not complete or confirm with them (RFC 9111 section 3). */
const neverKeptStatuses = new Set([206, 304])

/** Final statuses whose meaning this cache knows, for answers that ask for no less (RFC 9111 section 5.2.2.3): all that are defined, but for parts and 304. */
const understoodStatuses = new Set([
  200, 201, 202, 203, 204, 205, 226, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425,
  426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 511
])

/**
 * Whether an answer may be kept where the route decides how long: what the answer says may only shorten it.
 */
export function cacheabilityByRoute (answer: ResponseToStore, policy: RoutePolicy, ttlMs: number): Cacheability {
  const { status, fields, receivedAt } = answer
  if (!keptStatuses.has(status)) return notCacheable('status')
  if (fields['set-cookie'] !== undefined) return notCacheable('set-cookie')
  const found = controlOf(fields)
  const { control } = found
  if (control.noStore) return notCacheable('no-store')
  if (control.private !== false && policy.partition === undefined) return notCacheable('private')
  if (control.noCache !== false) return notCacheable('no-cache')
  if (!isCovered(fields.vary, policy.vary)) return notCacheable('vary')
  const explicit = explicitSeconds(found, fields, receivedAt)
  const freshMs = Math.min(ttlMs, explicit === undefined ? Infinity : explicit * 1000)
  if (freshMs <= 0) return notCacheable('ttl')
  return { isKept: true, lifetime: { bornAt: bornAt(fields, answer.askedAt, receivedAt), freshMs, ...staleness(control, policy) }, without: none }
}

/**
 * Whether an answer may be kept by a shared cache, and for how long, as RFC 9111 sections 3 and 4.2 have it.
 */
export function cacheabilityByResponse (answer: ResponseToStore, policy: RoutePolicy): Cacheability {
  const { status, fields, receivedAt } = answer
  const found = controlOf(fields)
  const { control } = found
  const reason = refusalOf(answer, control, policy)
  if (reason !== undefined) return notCacheable(reason)

  const explicit = explicitSeconds(found, fields, receivedAt)
  // Section 3, last item: something must say that it may be kept.
  const isTold = explicit !== undefined || control.public || isHeuristic(status) || (control.private !== false && policy.partition !== undefined)
  if (!isTold) return notCacheable('status')
  const isAlwaysValidated = control.noCache === true
  const freshMs = isAlwaysValidated ? 0 : explicit === undefined ? heuristicMs(status, control, fields, receivedAt) : explicit * 1000
  const lifetime = { bornAt: bornAt(fields, answer.askedAt, receivedAt), freshMs, ...staleness(control, policy) }
  if (freshMs <= 0 && !canBeUsedStale(lifetime, fields)) return notCacheable('ttl')
  return { isKept: true, lifetime: isAlwaysValidated ? { ...lifetime, mustRevalidate: true } : lifetime, without: named(control) }
}

function refusalOf ({ status, fields, isAuthorized }: ResponseToStore, control: CacheControl, policy: RoutePolicy): string | undefined {
  if (status < 200 || neverKeptStatuses.has(status)) return 'status'
  if (control.mustUnderstand && !understoodStatuses.has(status)) return 'status'
  // Section 5.2.2.3: who understands the status heeds the rest, and not the no-store that is meant for others.
  if (control.noStore && !control.mustUnderstand) return 'no-store'
  if (control.private === true && policy.partition === undefined) return 'private'
  // Section 7.3 lets it be stored; but then its body may speak of the visitor whom the cookie is for.
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

/** What is stale from the start is worth keeping when it can be validated, or stand in for an error. */
function canBeUsedStale (lifetime: Lifetime, fields: Fields): boolean {
  return fields.etag !== undefined || fields['last-modified'] !== undefined || lifetime.staleWhileSeconds > 0 || lifetime.staleErrorSeconds > 0
}

/** Sections 5.2.2.4 and 5.2.2.7: fields that are named are not kept, the rest is. */
function named (control: CacheControl): ReadonlySet<string> {
  return new Set([control.noCache, control.private].flatMap((scope) => typeof scope === 'object' ? scope : []))
}

function isCovered (vary: Fields[string], declared: readonly string[]): boolean {
  if (vary === undefined) return true
  const names = parseVary(vary)
  return names !== '*' && names.every((name) => declared.includes(name))
}

const none: ReadonlySet<string> = new Set()
