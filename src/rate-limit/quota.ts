/** How use is counted: see docs/rate-limits.md. */
export type Algorithm = 'sliding' | 'gcra' | 'fixed'

/** What one counter allows. */
export interface Quota {
  /** `places` counts what is under way, not what was */
  readonly algorithm: Algorithm | 'places'
  /** units in a window; `places`: requests at once */
  readonly quota: number
  /** `places`: how long a place lasts that nobody keeps */
  readonly windowMs: number
  /** `sliding`: how long a bucket is, in milliseconds; `gcra`: the burst, in units; else nothing */
  readonly bucketOrBurst: number
}

/** A quota, and how much of it a request takes. */
export interface QuotaCost {
  readonly quota: Quota
  readonly cost: number
  /** the same for `take.lua` */
  readonly text: string
}

/** Up to so many counted moments a window: below it they are exact, above it they are buckets. */
const bucketsAWindow = 60

/** A crashed process's places are free after this. */
export const leaseMs = 30_000

const tags = { sliding: 's', gcra: 'g', fixed: 'f', places: 'p' } as const

/** The grain of a sliding window: a millisecond while the quota itself keeps the counter small, else a sixtieth. */
export function bucketMsOf (quota: number, windowMs: number): number {
  return quota <= bucketsAWindow ? 1 : Math.max(1, Math.ceil(windowMs / bucketsAWindow))
}

/** So many requests under way at once. */
export function concurrencyQuota (count: number): Quota {
  return Object.freeze({ algorithm: 'places', quota: count, windowMs: leaseMs, bucketOrBurst: 0 })
}

/** Spells a term for Redis; made once where the cost does not change. */
export function quotaCostOf (quota: Quota, cost: number): QuotaCost {
  return Object.freeze({ quota, cost, text: `${tags[quota.algorithm]} ${quota.quota} ${quota.windowMs} ${quota.bucketOrBurst} ${cost}` })
}

/** Whether a term takes a place, which is given back. */
export function isConcurrency ({ quota }: QuotaCost): boolean {
  return quota.algorithm === 'places'
}
