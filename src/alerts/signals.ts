import { quantile } from '../histogram.ts'
import { bucketGrowth, growth } from '../metrics/reading.ts'
import type { History, Reading, ReadingCount } from '../metrics/reading.ts'

/** One thing that may be wrong, as this service and as Prometheus read it: the same number. */
export interface Signal {
  /** PromQL; `$window` stands for the rule's window */
  readonly promql: string
  /** undefined while nobody knows */
  readonly read: (history: History, windowSeconds: number) => number | undefined
}

/** Fewer lookups or round trips than this a second say nothing about a share or a percentile. */
export const enoughASecond = 1

/** What rules are made of. */
export const signals = {
  memoryShare: {
    promql: '(redis_memory_used_bytes / (redis_memory_max_bytes > 0))',
    read: ({ last }) => share(figure(last, 'redis_memory_used_bytes'), figure(last, 'redis_memory_max_bytes'))
  },
  evictionsASecond: {
    promql: 'rate(redis_evicted_keys_total[$window])',
    read: (history, seconds) => redisRate(history, seconds, 'redis_evicted_keys_total')
  },
  rejectionsASecond: {
    promql: 'rate(redis_rejected_connections_total[$window])',
    read: (history, seconds) => redisRate(history, seconds, 'redis_rejected_connections_total')
  },
  lossesASecond: {
    promql: 'rate(prism_redis_connections_lost_total[$window])',
    read: (history, seconds) => rate(history, seconds, 'lost')
  },
  redisDown: {
    promql: '(1 - redis_up)',
    read: ({ last }) => last && Number(!last.isRedisUp)
  },
  breakerOpen: {
    promql: 'prism_redis_breaker_open',
    read: ({ last }) => last && Number(last.pool.isBroken)
  },
  missShare: {
    promql: `(1 - (sum without (outcome) (rate(prism_cache_requests_total{outcome=~"hit|stale"}[$window])) / (sum without (outcome) (rate(prism_cache_requests_total{outcome=~"hit|stale|miss"}[$window])) > ${enoughASecond})))`,
    read: missShare
  },
  roundTripP99Seconds: {
    promql: `(histogram_quantile(0.99, rate(prism_redis_round_trip_seconds_bucket[$window])) and ignoring (le) (rate(prism_redis_round_trip_seconds_count[$window]) > ${enoughASecond}))`,
    read: roundTripP99
  },
  exhaustedASecond: {
    promql: 'rate(prism_redis_pool_exhausted_total[$window])',
    read: (history, seconds) => rate(history, seconds, 'exhausted')
  },
  sessionsEvictable: {
    promql: 'max without (redis_version, role, maxmemory_policy) (redis_instance_info{maxmemory_policy=~"allkeys-.*|volatile-(lru|lfu|random)"})',
    read: ({ last }) => last?.redis && Number(/^(allkeys-|volatile-(lru|lfu|random)$)/.test(last.redis.memoryPolicy))
  }
} satisfies Record<string, Signal>

export type SignalName = keyof typeof signals

function figure (reading: Reading | undefined, name: string): number | undefined {
  return reading?.redis?.figures[name]
}

function share (part: number | undefined, whole: number | undefined): number | undefined {
  return part === undefined || !whole ? undefined : part / whole
}

function rate (history: History, seconds: number, name: ReadingCount): number | undefined {
  const window = history.window(seconds)
  return window && growth(window[0].counts[name], window[1].counts[name]) / secondsOf(window)
}

/** By the times at which Redis was looked at: a reading in between repeats the last. */
function redisRate (history: History, seconds: number, name: string): number | undefined {
  const [from, to] = history.window(seconds) ?? []
  const [before, now] = [figure(from, name), figure(to, name)]
  const elapsedMs = (to?.redis?.at ?? 0) - (from?.redis?.at ?? 0)
  return before === undefined || now === undefined || elapsedMs <= 0 ? undefined : growth(before, now) / elapsedMs * 1000
}

function missShare (history: History, seconds: number): number | undefined {
  const window = history.window(seconds)
  if (window === undefined) return undefined
  const [hit, stale, miss] = (['hit', 'stale', 'miss'] as const).map((name) => growth(window[0].counts[name], window[1].counts[name]))
  const all = (hit ?? 0) + (stale ?? 0) + (miss ?? 0)
  return all / secondsOf(window) > enoughASecond ? (miss ?? 0) / all : undefined
}

function roundTripP99 (history: History, seconds: number): number | undefined {
  const window = history.window(seconds)
  if (window === undefined) return undefined
  const counts = bucketGrowth(window[0].roundTrips, window[1].roundTrips)
  const total = counts.reduce((sum, count) => sum + count, 0)
  return total / secondsOf(window) > enoughASecond ? quantile(counts, 0.99) : undefined
}

function secondsOf ([from, to]: readonly [Reading, Reading]): number {
  return Math.max(0.001, (to.at - from.at) / 1000)
}
