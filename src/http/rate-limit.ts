import { serializeList } from 'structured-headers'
import type { BareItem } from 'structured-headers'

/** A quota as it is sent to clients. */
interface AdvertisedQuota {
  /** printable ASCII */
  readonly name: string
  /** units for each window */
  readonly quota: number
  /** a quota unit of the draft's registry; `requests` is the default and is omitted */
  readonly unit: string
  /** undefined for concurrency limits, which have no window */
  readonly windowMs: number | undefined
}

/**
 * Formats `RateLimit-Policy`: `"default";q=100;w=60, "concurrency";q=5;qu="concurrent-requests"`. It has no partition key, which would disclose an address.
 *
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 3
 */
export function rateLimitPolicyField (quotas: readonly AdvertisedQuota[]): string {
  return serializeList(quotas.map(({ name, quota, unit, windowMs }) => {
    const parameters = new Map<string, BareItem>([['q', quota]])
    if (unit !== 'requests') parameters.set('qu', unit)
    if (windowMs !== undefined) parameters.set('w', Math.ceil(windowMs / 1000))
    return [name, parameters]
  }))
}

/**
 * Returns a formatter of one quota's item in `RateLimit`: `"default";r=42;t=18`. The constant part is serialized once.
 *
 * `t` is never longer than the window of the policy. `Retry-After` may be one bucket longer: it states when the same request is certain to be allowed.
 *
 * @param windowMs undefined if the reset time is unknown: `t` is then omitted
 * @returns a function of the remaining units and the milliseconds until reset; join items with `, `
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 4
 */
export function rateLimitItem (name: string, windowMs: number | undefined): (remaining: number, resetMs: number) => string {
  const start = `${serializeList([[name, new Map()]])};r=`
  if (windowMs === undefined) return (remaining) => `${start}${remaining}`
  return (remaining, resetMs) => `${start}${remaining};t=${Math.ceil(Math.min(resetMs, windowMs) / 1000)}`
}

/** The `X-RateLimit-*` headers that predate the draft: of the policy with the fewest remaining units; reset in seconds from now. */
export function legacyRateLimitFields (statuses: readonly { quota: number, remaining: number | undefined, resetMs: number | undefined }[]): Record<string, number> {
  const [tightest] = statuses.filter(({ remaining, resetMs }) => remaining !== undefined && resetMs !== undefined).sort((one, other) => Number(one.remaining) - Number(other.remaining))
  if (tightest === undefined) return {}
  return { 'x-ratelimit-limit': tightest.quota, 'x-ratelimit-remaining': Number(tightest.remaining), 'x-ratelimit-reset': Math.ceil(Number(tightest.resetMs) / 1000) }
}

/** Problem type of an exceeded quota. */
export const quotaExceededType = 'https://iana.org/assignments/http-problem-types#quota-exceeded'
