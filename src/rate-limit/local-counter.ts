import type { Quota } from './quota.ts'
import type { QuotaStatus } from './script-reply.ts'

/** One partition's use of one quota, in memory. Follows the rules of `consume.lua`, for a monotonic clock. */
export interface Counter {
  /** units available now; negative after a quota was lowered */
  free (nowMs: number): number
  consume (units: number, nowMs: number): void
  /** @param cost of the next request */
  status (cost: number, nowMs: number): QuotaStatus
  /** Releases units; only concurrency slots are released. */
  release? (units: number): void
}

/** `retryMs` of a concurrency limit: when a slot is released is unknown. */
const slotRetryMs = 1000

/** Creates an empty counter for a quota. */
export function openCounter (quota: Quota): Counter {
  return new counters[quota.algorithm](quota)
}

class SlidingCounter implements Counter {
  #quota: Quota
  #used = 0
  #buckets: { endMs: number, units: number }[] = []

  constructor (quota: Quota) {
    this.#quota = quota
  }

  free (nowMs: number): number {
    while (this.#buckets[0] !== undefined && this.#buckets[0].endMs + this.#quota.windowMs <= nowMs) this.#used -= this.#buckets.shift()?.units ?? 0
    return this.#quota.quota - this.#used
  }

  consume (units: number, nowMs: number): void {
    const { bucketOrBurst } = this.#quota
    const endMs = (Math.floor(nowMs / bucketOrBurst) + 1) * bucketOrBurst
    const last = this.#buckets.at(-1)
    if (last?.endMs === endMs) last.units += units
    else this.#buckets.push({ endMs, units })
    this.#used += units
  }

  status (cost: number, nowMs: number): QuotaStatus {
    const free = this.free(nowMs)
    const [first] = this.#buckets
    return {
      remaining: Math.max(0, free),
      resetMs: first === undefined ? 0 : this.#leavesInMs(first, nowMs),
      retryMs: cost > this.#quota.quota ? this.#quota.windowMs : this.#waitMs(cost - free, nowMs)
    }
  }

  /** Time until enough buckets have left the window. */
  #waitMs (lacking: number, nowMs: number): number {
    if (lacking <= 0) return 0
    const last = this.#buckets.find(({ units }) => (lacking -= units) <= 0)
    return last === undefined ? 0 : this.#leavesInMs(last, nowMs)
  }

  #leavesInMs ({ endMs }: { endMs: number }, nowMs: number): number {
    return Math.ceil(endMs + this.#quota.windowMs - nowMs)
  }
}

class GcraCounter implements Counter {
  #intervalUs: number
  #burstUs: number
  /** when the whole burst is free again */
  #freeAtUs = 0

  constructor ({ quota, windowMs, bucketOrBurst }: Quota) {
    this.#intervalUs = Math.ceil(windowMs * 1000 / quota)
    this.#burstUs = bucketOrBurst * this.#intervalUs
  }

  free (nowMs: number): number {
    return Math.floor((this.#burstUs - this.#usedUs(nowMs)) / this.#intervalUs)
  }

  consume (units: number, nowMs: number): void {
    this.#freeAtUs = Math.max(this.#freeAtUs, Math.round(nowMs * 1000)) + units * this.#intervalUs
  }

  status (cost: number, nowMs: number): QuotaStatus {
    const usedUs = this.#usedUs(nowMs)
    return {
      remaining: Math.max(0, this.free(nowMs)),
      resetMs: usedUs === 0 ? 0 : Math.ceil((usedUs % this.#intervalUs || this.#intervalUs) / 1000),
      retryMs: Math.max(0, Math.ceil((usedUs + cost * this.#intervalUs - this.#burstUs) / 1000))
    }
  }

  #usedUs (nowMs: number): number {
    return Math.max(0, this.#freeAtUs - Math.round(nowMs * 1000))
  }
}

class FixedCounter implements Counter {
  #quota: Quota
  #endMs = 0
  #used = 0

  constructor (quota: Quota) {
    this.#quota = quota
  }

  free (nowMs: number): number {
    if (nowMs >= this.#endMs) this.#used = 0
    return this.#quota.quota - this.#used
  }

  consume (units: number, nowMs: number): void {
    this.#endMs = this.#endAt(nowMs)
    this.#used += units
  }

  status (cost: number, nowMs: number): QuotaStatus {
    const free = this.free(nowMs)
    const untilEnd = Math.ceil(this.#endAt(nowMs) - nowMs)
    return { remaining: Math.max(0, free), resetMs: this.#used > 0 ? untilEnd : 0, retryMs: cost <= free ? 0 : untilEnd }
  }

  #endAt (nowMs: number): number {
    return (Math.floor(nowMs / this.#quota.windowMs) + 1) * this.#quota.windowMs
  }
}

class ConcurrencyCounter implements Counter {
  #quota: Quota
  #held = 0

  constructor (quota: Quota) {
    this.#quota = quota
  }

  free (): number {
    return this.#quota.quota - this.#held
  }

  consume (units: number): void {
    this.#held += units
  }

  release (units: number): void {
    this.#held -= units
  }

  status (cost: number): QuotaStatus {
    const free = this.free()
    return { remaining: Math.max(0, free), resetMs: 0, retryMs: cost <= free ? 0 : slotRetryMs }
  }
}

const counters = { sliding: SlidingCounter, gcra: GcraCounter, fixed: FixedCounter, concurrency: ConcurrencyCounter }
