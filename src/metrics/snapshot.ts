import { Histogram } from '../shared/histogram.ts'
import type { UnreachableReason } from '../redis/health/unreachable-reason.ts'
import { memoryLimit, memoryOther } from './redis-info.ts'
import type { NodeSample, Sample } from './redis-collector.ts'
import type { CacheOutcome } from './requests.ts'

/** Counters and gauges of one process and of Redis at one moment. Counters grow from the start; who wants a rate takes two readings. */
export interface MetricsSnapshot {
  /** milliseconds since 1970 */
  readonly at: number
  readonly counts: Readonly<Record<SnapshotCount, number>>
  /** requests by what the cache did */
  readonly outcomes: Readonly<Record<CacheOutcome, number>>
  /** see {@link Histogram}: bucket counts of requests and of round trips */
  readonly durations: readonly number[]
  readonly roundTrips: readonly number[]
  readonly pool: { readonly connections: number, readonly inFlight: number, readonly isBroken: boolean }
  readonly live: { readonly websocket: number, readonly stream: number }
  /** whether the last look at Redis was answered */
  readonly isRedisUp: boolean
  /** why Redis, or the sessions' own Redis, cannot be used; undefined while it can */
  readonly unusable: { readonly redis: UnreachableReason | undefined, readonly sessions: UnreachableReason | undefined }
  readonly redis: Sample | undefined
  /** undefined while nobody knows */
  readonly areSessionsEvictable: boolean | undefined
}

/** What a reading counts. */
export type SnapshotCount = 'requests' | 'refused' | 'failed' | 'hit' | 'stale' | 'miss' | 'bypass' | 'published' | 'delivered' | 'timeouts' | 'lost' | 'exhausted'

/** The readings of the last hour. */
export class History {
  readonly #most: number
  #snapshots: MetricsSnapshot[] = []

  /** @param most readings to keep */
  constructor (most: number) {
    this.#most = most
  }

  add (snapshot: MetricsSnapshot): void {
    this.#snapshots.push(snapshot)
    if (this.#snapshots.length > this.#most) this.#snapshots.shift()
  }

  get all (): readonly MetricsSnapshot[] {
    return this.#snapshots
  }

  get last (): MetricsSnapshot | undefined {
    return this.#snapshots.at(-1)
  }

  /** The last reading, and the one that stands so far before it, or as far as there are any; undefined while there are not two. */
  window (seconds: number): readonly [from: MetricsSnapshot, to: MetricsSnapshot] | undefined {
    const to = this.last
    if (to === undefined || this.#snapshots.length < 2) return undefined
    const since = to.at - seconds * 1000
    const index = this.#snapshots.findLastIndex(({ at }) => at <= since)
    const from = this.#snapshots[Math.max(0, index)]
    return from === undefined || from === to ? undefined : [from, to]
  }
}

/** Adds up histograms, bucket by bucket. */
export function addUp (histograms: readonly Histogram[]): number[] {
  const sum = new Histogram().counts.slice()
  for (const { counts } of histograms) for (let index = 0; index < sum.length; index++) sum[index] = (sum[index] ?? 0) + (counts[index] ?? 0)
  return sum
}

/** What was added between two moments; a counter that fell was started anew. */
export function growth (from: number, to: number): number {
  return to >= from ? to - from : to
}

/** The same for buckets. */
export function bucketGrowth (from: readonly number[], to: readonly number[]): number[] {
  return to.map((count, index) => growth(from[index] ?? 0, count))
}

/** How much of what a server may use is used by anything but the cache; undefined where there is no limit. */
export function otherMemoryShareOf ({ figures: { redis_memory_used_bytes: used, [memoryOther]: other = used, [memoryLimit]: limit } }: NodeSample): number | undefined {
  return other === undefined || !limit ? undefined : other / limit
}

/** How much of what a server may use it does use; undefined where there is no limit. */
export function memoryShareOf ({ figures: { redis_memory_used_bytes: used, [memoryLimit]: limit } }: NodeSample): number | undefined {
  return used === undefined || !limit ? undefined : used / limit
}

/**
 * What each server counted a second between two readings, by the times at which Redis was looked at: a reading in between repeats the last.
 *
 * @param windowSeconds the shortest time that growth is divided by; default the time between the readings
 */
export function nodeRates (from: MetricsSnapshot, to: MetricsSnapshot, name: string, windowSeconds = 0): number[] {
  const elapsedMs = (to.redis?.at ?? 0) - (from.redis?.at ?? 0)
  if (from.redis === undefined || to.redis === undefined || elapsedMs <= 0) return []
  const before = new Map(from.redis.nodes.map(({ node, figures }) => [node, figures[name]]))
  return to.redis.nodes.flatMap(({ node, figures: { [name]: now } }) => {
    const then = before.get(node)
    return now === undefined || then === undefined ? [] : [growth(then, now) / Math.max(elapsedMs / 1000, windowSeconds)]
  })
}
