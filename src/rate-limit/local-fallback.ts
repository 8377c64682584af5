import { LRUCache } from 'lru-cache'
import { openCounter } from './local-counter.ts'
import type { Counter } from './local-counter.ts'
import type { Slot } from './concurrency-slots.ts'
import type { QuotaCost } from './quota.ts'
import type { Decision } from './script-reply.ts'

/** How many counters a process keeps while Redis is away; the least used are forgotten first. */
const countersKept = 50_000

/**
 * Counts in this process alone, and only what Redis cannot be asked for. What it has counted ages by its window, and by nothing else: part of a
 * Cluster may be away while another part comes back, and a quota that began again with each recovery would be no quota.
 */
export class LocalFallback {
  #counters = new LRUCache<string, Counter>({ max: countersKept })

  /** Takes units from all counters of one request, or from none. */
  take (keys: readonly string[], costs: readonly QuotaCost[], nowMs = steadyNow()): Decision & { slots: Slot[] } {
    const asked = costs.map((cost, index) => ({ counter: this.#counter(keys[index] ?? '', cost), cost: cost.cost }))
    const isAllowed = asked.every(({ counter, cost }) => cost === 0 || cost <= counter.free(nowMs))
    if (isAllowed) for (const { counter, cost } of asked) counter.take(cost, nowMs)
    const places = isAllowed ? asked.flatMap(({ counter, cost }) => counter.release === undefined ? [] : new LocalSlot(counter, cost)) : []
    return { isAllowed, statuses: asked.map(({ counter, cost }) => counter.status(cost, nowMs)), slots: places }
  }

  #counter (key: string, { quota }: QuotaCost): Counter {
    const known = this.#counters.get(key)
    if (known !== undefined) return known
    const counter = openCounter(quota)
    this.#counters.set(key, counter)
    return counter
  }
}

/** Gives back once, to the counter that it came from, though that was forgotten since. */
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

/** Milliseconds since 1970 by a clock that nobody sets back. */
function steadyNow (): number {
  return performance.timeOrigin + performance.now()
}
