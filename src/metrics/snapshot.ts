import { Histogram } from '../shared/histogram.ts'
import type { UnreachableReason } from '../redis/health/unreachable-reason.ts'
import { memoryLimit, memoryOther } from './redis-info.ts'
import type { NodeSample, Sample } from './redis-collector.ts'
import type { CacheOutcome } from './requests.ts'

/** Counters and gauges of one process and of Redis at one moment. Counters start at 0 with the process; a rate needs two snapshots. */
export interface MetricsSnapshot {
  /** milliseconds since 1970 */
  readonly at: number
  readonly counts: Readonly<Record<SnapshotCount, number>>
  /** requests by cache outcome */
  readonly outcomes: Readonly<Record<CacheOutcome, number>>
  /** see {@link Histogram}: bucket counts of requests and of round trips */
  readonly durations: readonly number[]
  readonly roundTrips: readonly number[]
  readonly pool: { readonly connections: number, readonly inFlight: number, readonly isBroken: boolean }
  readonly live: { readonly websocket: number, readonly stream: number }
  /** whether the last collection from Redis succeeded */
  readonly isRedisUp: boolean
  /** why Redis, or the sessions' dedicated Redis, is unusable; undefined while it is usable */
  readonly unusable: { readonly redis: UnreachableReason | undefined, readonly sessions: UnreachableReason | undefined }
  readonly redis: Sample | undefined
  /** undefined: unknown */
  readonly areSessionsEvictable: boolean | undefined
}

/** Names of the counters. */
export type SnapshotCount = 'requests' | 'refused' | 'failed' | 'hit' | 'stale' | 'miss' | 'bypass' | 'published' | 'delivered' | 'timeouts' | 'lost' | 'exhausted'

/** Ring of the latest snapshots. */
export class History {
  readonly #capacity: number
  #snapshots: MetricsSnapshot[] = []

  /** @param capacity maximum number of snapshots */
  constructor (capacity: number) {
    this.#capacity = capacity
  }

  add (snapshot: MetricsSnapshot): void {
    this.#snapshots.push(snapshot)
    if (this.#snapshots.length > this.#capacity) this.#snapshots.shift()
  }

  get all (): readonly MetricsSnapshot[] {
    return this.#snapshots
  }

  get last (): MetricsSnapshot | undefined {
    return this.#snapshots.at(-1)
  }

  /** @returns the latest snapshot and the one `seconds` before it, or the oldest; undefined with fewer than two snapshots */
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

/** Increase of a counter; a lower value means that the process restarted and the counter began at 0. */
export function growth (from: number, to: number): number {
  return to >= from ? to - from : to
}

/** Increase of histogram buckets. */
export function bucketGrowth (from: readonly number[], to: readonly number[]): number[] {
  return to.map((count, index) => growth(from[index] ?? 0, count))
}

/** Ratio of memory used by other data than cached responses to the limit; undefined without a limit. */
export function otherMemoryShareOf ({ figures: { redis_memory_used_bytes: used, [memoryOther]: other = used, [memoryLimit]: limit } }: NodeSample): number | undefined {
  return other === undefined || !limit ? undefined : other / limit
}

/** Ratio of used memory to the limit; undefined without a limit. */
export function memoryShareOf ({ figures: { redis_memory_used_bytes: used, [memoryLimit]: limit } }: NodeSample): number | undefined {
  return used === undefined || !limit ? undefined : used / limit
}

/**
 * Rate per second of a counter of each server, by the times of the Redis samples: snapshots between two samples repeat the previous one.
 *
 * @param windowSeconds minimum divisor in seconds; default: the time between the samples
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
