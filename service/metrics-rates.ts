import type { MetricsSnapshot, NodeSample } from '../plugins/metrics.ts'

/** Increase of a counter; a lower value means that the process restarted and the counter began at 0. */
export function growth (from: number, to: number): number {
  return to >= from ? to - from : to
}

/** Increase of histogram buckets. */
export function bucketGrowth (from: readonly number[], to: readonly number[]): number[] {
  return to.map((count, index) => growth(from[index] ?? 0, count))
}

/** Ratio of memory used by other data than cached responses to the limit; undefined without a limit. */
export function otherMemoryShareOf ({ figures: { redis_memory_used_bytes: used, prism_redis_memory_other_bytes: other = used, prism_redis_memory_limit_bytes: limit } }: NodeSample): number | undefined {
  return other === undefined || !limit ? undefined : other / limit
}

/** Ratio of used memory to the limit; undefined without a limit. */
export function memoryShareOf ({ figures: { redis_memory_used_bytes: used, prism_redis_memory_limit_bytes: limit } }: NodeSample): number | undefined {
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
