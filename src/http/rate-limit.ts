import { serializeList } from 'structured-headers'
import type { BareItem } from 'structured-headers'

/** A quota as clients are told of it. */
export interface AdvertisedQuota {
  /** printable ASCII */
  readonly name: string
  /** units in a window */
  readonly quota: number
  readonly windowMs: number
}

/**
 * Spells `RateLimit-Policy`: `"default";q=100;w=60`. It says nothing about who is counted: a partition key would tell an address.
 *
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 3
 */
export function rateLimitPolicyField (quotas: readonly AdvertisedQuota[]): string {
  return serializeList(quotas.map(({ name, quota, windowMs }) => [name, new Map<string, BareItem>([['q', quota], ['w', Math.ceil(windowMs / 1000)]])]))
}

/**
 * Makes the speller of one quota's item in `RateLimit`: `"default";r=42;t=18`. What does not change is serialised once.
 *
 * `t` is never longer than the window that the policy tells; `Retry-After` says when the same request surely fits, which may be a bucket later.
 *
 * @returns from units left and milliseconds until more come to the item; items are joined by `, `
 * @see draft-ietf-httpapi-ratelimit-headers-11 section 4
 */
export function rateLimitItem (name: string, windowMs: number): (remaining: number, resetMs: number) => string {
  const start = `${serializeList([[name, new Map()]])};r=`
  return (remaining, resetMs) => `${start}${remaining};t=${Math.ceil(Math.min(resetMs, windowMs) / 1000)}`
}

/** The type of the problem that a used-up quota is. */
export const quotaExceededType = 'https://iana.org/assignments/http-problem-types#quota-exceeded'
