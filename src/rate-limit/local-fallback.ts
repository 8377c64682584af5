import { LRUCache } from 'lru-cache'
import { openCounter } from './local-counter.ts'
import type { Counter } from './local-counter.ts'
import type { Slot } from './concurrency-slots.ts'
import type { QuotaCost } from './quota.ts'
import type { Decision } from './script-reply.ts'

/** The maximum number of counters; the least recently used are evicted first. */
const maxCounters = 50_000

/**
 * Counters of this process, used only while Redis is unavailable. They are not reset when Redis recovers: part of a Cluster may still be down,
 * and a reset with each recovery would grant the quota again.
 */
export class LocalFallback {
  /** Created by the first use: it allocates for all of its counters at once, and most processes never need it. */
  #counters: LRUCache<string, Counter> | undefined

  /** Consumes units from all counters of one request, or from none. */
  consume (keys: readonly string[], costs: readonly QuotaCost[], nowMs = steadyNow()): Decision & { slots: Slot[] } {
    const requested = costs.map((cost, index) => ({ counter: this.#counter(keys[index] ?? '', cost), cost: cost.cost }))
    const isAllowed = requested.every(({ counter, cost }) => cost === 0 || cost <= counter.free(nowMs))
    if (isAllowed) for (const { counter, cost } of requested) counter.consume(cost, nowMs)
    const slots = isAllowed ? requested.flatMap(({ counter, cost }) => counter.release === undefined ? [] : new LocalSlot(counter, cost)) : []
    return { isAllowed, statuses: requested.map(({ counter, cost }) => counter.status(cost, nowMs)), slots }
  }

  /** Clients with different quotas, such as users and anonymous clients of an address, are counted apart here. */
  #counter (key: string, { quota }: QuotaCost): Counter {
    this.#counters ??= new LRUCache({ max: maxCounters })
    const name = `${key} ${quota.quota} ${quota.windowMs}`
    const known = this.#counters.get(name)
    if (known !== undefined) return known
    const counter = openCounter(quota)
    this.#counters.set(name, counter)
    return counter
  }
}

/** Releases once, to the counter that granted it, even if that has been evicted since. */
class LocalSlot implements Slot {
  #counter: Counter | undefined
  #units: number

  constructor (counter: Counter, units: number) {
    this.#counter = counter
    this.#units = units
  }

  release (): void {
    this.#counter?.release?.(this.#units)
    this.#counter = undefined
  }
}

/** Milliseconds since 1970 by a monotonic clock. */
function steadyNow (): number {
  return performance.timeOrigin + performance.now()
}
