/** How a quota is counted: see docs/rate-limits.md. */
export type Algorithm = 'sliding' | 'gcra' | 'fixed'

/** A quota with its resolved parameters. */
export interface Quota {
  /** `concurrency` counts requests in progress */
  readonly algorithm: Algorithm | 'concurrency'
  /** units in a window; `concurrency`: concurrent requests */
  readonly quota: number
  /** `concurrency`: after how long a slot expires that is not renewed */
  readonly windowMs: number
  /** `sliding`: length of a bucket in milliseconds; `gcra`: the burst in units; otherwise 0 */
  readonly bucketOrBurst: number
}

/** A quota and the units that a request consumes. */
export interface QuotaCost {
  readonly quota: Quota
  readonly cost: number
  /** the same as an argument of `consume.lua` */
  readonly text: string
}

/** Quotas up to this size are counted exactly, larger ones in this number of buckets per window. */
const bucketsPerWindow = 60

/** The slots of a crashed process expire after this time. */
export const leaseMs = 30_000

const algorithmCodes = { sliding: 's', gcra: 'g', fixed: 'f', concurrency: 'p' } as const

/** The bucket length of a sliding window: 1 ms for a quota that bounds the counter's size by itself, else a sixtieth of the window. */
export function bucketMsOf (quota: number, windowMs: number): number {
  return quota <= bucketsPerWindow ? 1 : Math.max(1, Math.ceil(windowMs / bucketsPerWindow))
}

/** A limit of concurrent requests. */
export function concurrencyQuota (count: number): Quota {
  return Object.freeze({ algorithm: 'concurrency', quota: count, windowMs: leaseMs, bucketOrBurst: 0 })
}

/** Encodes a quota and a cost for Redis; created once if the cost is constant. */
export function quotaCostOf (quota: Quota, cost: number): QuotaCost {
  return Object.freeze({ quota, cost, text: `${algorithmCodes[quota.algorithm]} ${quota.quota} ${quota.windowMs} ${quota.bucketOrBurst} ${cost}` })
}

/** Whether the quota limits concurrency: its slots are released when the request ends. */
export function isConcurrency ({ quota }: QuotaCost): boolean {
  return quota.algorithm === 'concurrency'
}
