import type { Quota } from './quota.ts'
import type { Standing } from './store.ts'

/** One partition's use of one quota, in memory: the same rules as `take.lua`, for a clock that never goes back. */
export interface Counter {
  /** units that may be taken now; below 0 after a quota was lowered */
  free (nowMs: number): number
  take (units: number, nowMs: number): void
  /** @param cost of the request that would be next */
  standing (cost: number, nowMs: number): Standing
}

/** Opens an empty counter for a quota. */
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

  take (units: number, nowMs: number): void {
    const { grain } = this.#quota
    const endMs = (Math.floor(nowMs / grain) + 1) * grain
    const last = this.#buckets.at(-1)
    if (last?.endMs === endMs) last.units += units
    else this.#buckets.push({ endMs, units })
    this.#used += units
  }

  standing (cost: number, nowMs: number): Standing {
    const free = this.free(nowMs)
    const until = (endMs: number) => Math.ceil(endMs + this.#quota.windowMs - nowMs)
    let lacking = cost - free
    const last = lacking > 0 ? this.#buckets.find(({ units }) => (lacking -= units) <= 0) : undefined
    const isHopeless = lacking > 0 && last === undefined
    const [first] = this.#buckets
    return {
      remaining: Math.max(0, free),
      resetMs: first === undefined ? 0 : until(first.endMs),
      retryMs: isHopeless ? this.#quota.windowMs : last === undefined ? 0 : until(last.endMs)
    }
  }
}

class GcraCounter implements Counter {
  #intervalMs: number
  #burstMs: number
  /** when the whole burst is free again */
  #tat = 0

  constructor ({ quota, windowMs, grain }: Quota) {
    this.#intervalMs = Math.ceil(windowMs * 1000 / quota) / 1000
    this.#burstMs = grain * this.#intervalMs
  }

  free (nowMs: number): number {
    return Math.floor((this.#burstMs - this.#usedMs(nowMs)) / this.#intervalMs)
  }

  take (units: number, nowMs: number): void {
    this.#tat = Math.max(this.#tat, nowMs) + units * this.#intervalMs
  }

  standing (cost: number, nowMs: number): Standing {
    const usedMs = this.#usedMs(nowMs)
    return {
      remaining: Math.max(0, this.free(nowMs)),
      resetMs: usedMs === 0 ? 0 : Math.ceil(usedMs % this.#intervalMs || this.#intervalMs),
      retryMs: Math.max(0, Math.ceil(usedMs + cost * this.#intervalMs - this.#burstMs))
    }
  }

  #usedMs (nowMs: number): number {
    return Math.max(0, this.#tat - nowMs)
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

  take (units: number, nowMs: number): void {
    this.#endMs = (Math.floor(nowMs / this.#quota.windowMs) + 1) * this.#quota.windowMs
    this.#used += units
  }

  standing (cost: number, nowMs: number): Standing {
    const free = this.free(nowMs)
    const untilEnd = Math.ceil(this.#endMs - nowMs)
    return { remaining: Math.max(0, free), resetMs: this.#used > 0 ? untilEnd : 0, retryMs: cost <= free ? 0 : Math.max(untilEnd, 1) }
  }
}

const counters = { sliding: SlidingCounter, gcra: GcraCounter, fixed: FixedCounter }
