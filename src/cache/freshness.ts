import { parseAge } from '../http/age.ts'
import { parseCacheControl } from '../http/cache-control.ts'
import type { CacheControl } from '../http/cache-control.ts'
import { parseHttpDate } from '../http/date.ts'
import { parseTargeted } from '../http/cdn-cache-control.ts'
import type { Lifetime } from './storage/entry-codec.ts'

/** Response headers, names in lower case. */
export type Fields = Readonly<Record<string, number | string | readonly string[] | undefined>>

/** Statuses that are heuristically cacheable (RFC 9110 section 15.1). 206 is left out, because partial responses are not stored. */
const heuristicStatuses = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])

const longestHeuristicMs = 86_400_000

/** The directives that apply to this cache: a targeted field replaces all others (RFC 9213 section 2.2), unless a value in it has the wrong type. */
export function controlOf (fields: Fields): { control: CacheControl, isTargeted: boolean } {
  const field = fields['cdn-cache-control']
  const targeted = field === undefined ? undefined : parseTargeted(field)
  if (targeted !== undefined && targeted.restrictions === undefined) return { control: targeted.control, isTargeted: true }
  const own = [fields['cache-control'] ?? [], targeted?.restrictions ?? []].flat().map(String)
  return { control: parseCacheControl(own), isTargeted: false }
}

/** Seconds of explicit freshness (RFC 9111 section 4.2.1), with `s-maxage` first; undefined if there is none. */
export function explicitSeconds ({ control, isTargeted }: ReturnType<typeof controlOf>, fields: Fields, receivedAt: number): number | undefined {
  if (control.sMaxage !== undefined) return control.sMaxage
  if (control.maxAge !== undefined) return control.maxAge
  if (isTargeted || fields.expires === undefined) return undefined
  // RFC 9111 section 5.3: an invalid date, in particular "0", is in the past. Several values count as invalid.
  const expires = typeof fields.expires === 'object' ? undefined : parseHttpDate(fields.expires, receivedAt)
  const date = parseHttpDate(fields.date, receivedAt) ?? receivedAt
  return expires === undefined ? 0 : Math.max(0, (expires - date) / 1000)
}

/** Heuristic freshness: a tenth of the time since `Last-Modified` (RFC 9111 section 4.2.2). */
export function heuristicMs (status: number, control: CacheControl, fields: Fields, receivedAt: number): number {
  if (!heuristicStatuses.has(status) && !control.public) return 0
  const modified = parseHttpDate(fields['last-modified'], receivedAt)
  const date = parseHttpDate(fields.date, receivedAt) ?? receivedAt
  return modified === undefined ? 0 : Math.min(Math.max(0, (date - modified) / 10), longestHeuristicMs)
}

/** Whether a status is heuristically cacheable. */
export function isHeuristic (status: number): boolean {
  return heuristicStatuses.has(status)
}

/**
 * When a response was generated, from its headers and the local clock (RFC 9111 section 4.2.3).
 *
 * @param requestedAt when the handler started, in milliseconds since 1970
 * @param receivedAt when it had finished
 */
export function bornAt (fields: Fields, requestedAt: number, receivedAt: number): number {
  const date = parseHttpDate(fields.date, receivedAt) ?? receivedAt
  const apparentAge = Math.max(0, receivedAt - date)
  const age = parseAge(fields.age)
  const correctedAge = age === undefined ? 0 : age * 1000 + (receivedAt - requestedAt)
  return receivedAt - Math.max(apparentAge, correctedAge)
}

/** Milliseconds of freshness left; negative once stale. */
export function freshLeftMs (lifetime: Lifetime, now: number): number {
  return lifetime.bornAt + lifetime.freshMs - now
}

/** Current age in whole seconds. */
export function ageSeconds (lifetime: Lifetime, now: number): number {
  return Math.max(0, Math.floor((now - lifetime.bornAt) / 1000))
}

/** TTL in Redis: freshness plus the stale windows; at least 10 minutes of staleness if the entry has a validator. */
export function keptMs (lifetime: Lifetime, canValidate: boolean, now: number): number {
  const stale = Math.max(lifetime.staleWhileSeconds, lifetime.staleErrorSeconds) * 1000
  return freshLeftMs(lifetime, now) + Math.max(stale, canValidate ? longestValidatedMs : 0)
}

const longestValidatedMs = 600_000

/** Whether a stored response is served fresh, served stale, or must be validated. */
type Reuse = 'fresh' | 'stale' | 'validate'

/**
 * Decides how a stored response may be reused (RFC 9111 section 4.2).
 *
 * @param wanted the request's directives (section 5.2.1), if they are honored
 */
export function reuseDecision (lifetime: Lifetime, wanted: CacheControl | undefined, now: number): Reuse {
  const leftSeconds = freshLeftMs(lifetime, now) / 1000
  if (wanted === undefined) return leftSeconds > 0 ? 'fresh' : 'validate'
  if (wanted.noCache !== false) return 'validate'
  if (wanted.maxAge !== undefined && ageSeconds(lifetime, now) > wanted.maxAge) return 'validate'
  if (wanted.minFresh !== undefined && leftSeconds < wanted.minFresh) return 'validate'
  if (leftSeconds > 0) return wanted.maxAge === 0 ? 'validate' : 'fresh'
  return wanted.maxStale !== undefined && !lifetime.mustRevalidate && -leftSeconds <= wanted.maxStale ? 'stale' : 'validate'
}

/** Whether a stale response may be served while it is revalidated (RFC 5861 section 3). */
export function isWithinSwrWindow (lifetime: Lifetime, now: number): boolean {
  return -freshLeftMs(lifetime, now) / 1000 < lifetime.staleWhileSeconds
}

/** Whether a stale response may be served instead of an error (RFC 5861 section 4). */
export function isWithinStaleIfErrorWindow (lifetime: Lifetime, now: number): boolean {
  return !lifetime.mustRevalidate && -freshLeftMs(lifetime, now) / 1000 < lifetime.staleErrorSeconds
}
