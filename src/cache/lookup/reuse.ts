import type { CacheControl } from '../../http/cache-control.ts'
import type { Lifetime } from '../storage/entry-codec.ts'
import { ageSeconds, freshLeftMs } from '../freshness.ts'

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
