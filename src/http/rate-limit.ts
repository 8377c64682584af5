import { serializeList } from 'structured-headers'
import type { BareItem } from 'structured-headers'

/** A quota as clients are told of it. */
export interface AdvertisedQuota {
  /** printable ASCII */
  readonly name: string
  /** units in a window */
  readonly quota: number
  /** a word of the draft's registry of quota units; `requests` goes without saying */
  readonly unit: string
  /** undefined where nothing is counted by time, but what is under way */
  readonly windowMs: number | undefined
}

/**
 * Spells `RateLimit-Policy`: `"default";q=100;w=60, "places";q=5;qu="concurrent-requests"`. It says nothing about who is counted: a partition key would tell an address.
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
 * Makes the speller of one quota's item in `RateLimit`: `"default";r=42;t=18`. What does not change is serialised once.
 *
 * `t` is never longer than the window that the policy tells; `Retry-After` says when the same request surely fits, which may be a bucket later.
 *
 * @param windowMs undefined where nobody knows when more units come: then there is no `t`
 * @returns from units left and milliseconds until more come to the item; items are joined by `, `
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 4
 */
export function rateLimitItem (name: string, windowMs: number | undefined): (remaining: number, resetMs: number) => string {
  const start = `${serializeList([[name, new Map()]])};r=`
  if (windowMs === undefined) return (remaining) => `${start}${remaining}`
  return (remaining, resetMs) => `${start}${remaining};t=${Math.ceil(Math.min(resetMs, windowMs) / 1000)}`
}

/** What clients read before there was a draft: of the policy with the least left, with seconds from now. */
export function legacyRateLimitFields (standings: readonly { quota: number, remaining: number | undefined, resetMs: number | undefined }[]): Record<string, number> {
  const [tightest] = standings.filter(({ remaining, resetMs }) => remaining !== undefined && resetMs !== undefined).sort((one, other) => Number(one.remaining) - Number(other.remaining))
  if (tightest === undefined) return {}
  return { 'x-ratelimit-limit': tightest.quota, 'x-ratelimit-remaining': Number(tightest.remaining), 'x-ratelimit-reset': Math.ceil(Number(tightest.resetMs) / 1000) }
}

/** The type of the problem that a used-up quota is. */
export const quotaExceededType = 'https://iana.org/assignments/http-problem-types#quota-exceeded'
