import { quantile } from '../histogram.ts'
import { bucketGrowth, growth, memoryShareOf, nodeRates } from '../metrics/reading.ts'
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
    promql: '(redis_memory_used_bytes / (prism_redis_memory_limit_bytes > 0))',
    read: ({ last }) => most((last?.redis?.nodes ?? []).map(memoryShareOf))
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
    promql: 'prism_sessions_evictable',
    read: ({ last }) => last?.areSessionsEvictable === undefined ? undefined : Number(last.areSessionsEvictable)
  }
} satisfies Record<string, Signal>

export type SignalName = keyof typeof signals

/** Of a Cluster the worst node counts: who is full refuses its slots, however empty the others are. */
function most (values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

function rate (history: History, seconds: number, name: ReadingCount): number | undefined {
  const window = history.window(seconds)
  return window && growth(window[0].counts[name], window[1].counts[name]) / secondsOf(window)
}

function redisRate (history: History, seconds: number, name: string): number | undefined {
  const window = history.window(seconds)
  return window && most(nodeRates(...window, name))
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
