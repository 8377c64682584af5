import { quantile } from '../../plugins/metrics.ts'
import type { History, MetricsSnapshot, SnapshotCount } from '../../plugins/metrics.ts'
import type { UnreachableReason } from '../../plugins/redis.ts'
import { bucketGrowth, growth, nodeRates, otherMemoryShareOf } from '../metrics-rates.ts'

type ReasonCode = UnreachableReason['code']

/** A measured value, read by the service and expressed in PromQL; both give the same number. */
interface Signal {
  /** PromQL; `$window` is replaced with the rule's window */
  readonly promql: string
  /** undefined: unknown */
  readonly read: (history: History, windowSeconds: number) => number | undefined
}

/** Minimum rate per second for a ratio or a percentile to be meaningful. */
const enoughASecond = 1

/** All processes export the same figures of Redis: aggregate them to one alert instead of one per process. */
const once = (expression: string) => `max without (instance) (${expression})`
const unusable = (holds: 'all' | 'sessions', reasons: readonly ReasonCode[] = []) =>
  `max without (instance) (prism_redis_unusable{holds="${holds}"${reasons.length === 0 ? '' : `,reason=~"${reasons.join('|')}"`}})`
const refusingWrites: readonly ReasonCode[] = ['out_of_memory', 'disk_write_failed', 'too_few_replicas']
const readOnly: readonly ReasonCode[] = ['read_only', 'master_down']
const denied: readonly ReasonCode[] = ['permission_denied', 'command_missing', 'version_too_old']
const isOneOf = (reasons: readonly ReasonCode[]) => ({ last }: History) => last && Number(reasons.some((code) => code === last.unusable.redis?.code))

/** All signals by name. */
export const signals = {
  /** excludes cached responses: the cache uses memory up to 85 % by design and evicts its entries under pressure */
  memoryShare: {
    promql: once('prism_redis_memory_other_bytes / (prism_redis_memory_limit_bytes > 0)'),
    read: ({ last }) => most((last?.redis?.nodes ?? []).map(otherMemoryShareOf))
  },
  evictionsASecond: {
    promql: once('rate(redis_evicted_keys_total[$window])'),
    read: (history, seconds) => redisRate(history, seconds, 'redis_evicted_keys_total')
  },
  rejectionsASecond: {
    promql: once('rate(redis_rejected_connections_total[$window])'),
    read: (history, seconds) => redisRate(history, seconds, 'redis_rejected_connections_total')
  },
  lossesASecond: {
    promql: 'rate(prism_redis_connections_lost_total[$window])',
    read: (history, seconds) => rate(history, seconds, 'lost')
  },
  /** no process reaches Redis; if only some do, the others report an open circuit breaker. From a replica the processes disconnect every second, to find the master: it is not down. */
  redisDown: {
    promql: '((1 - max without (instance) (redis_up)) unless on (job) prism_redis_unusable{holds="all",reason="read_only"})',
    read: ({ last }) => last && Number(!last.isRedisUp && last.unusable.redis?.code !== 'read_only')
  },
  writesRefused: { promql: unusable('all', refusingWrites), read: isOneOf(refusingWrites) },
  readOnly: { promql: unusable('all', readOnly), read: isOneOf(readOnly) },
  permissionDenied: { promql: unusable('all', denied), read: isOneOf(denied) },
  sessionRedisUnusable: {
    promql: unusable('sessions'),
    read: ({ last }) => last && Number(last.unusable.sessions !== undefined)
  },
  breakerOpen: {
    promql: 'prism_redis_circuit_breaker_open',
    read: ({ last }) => last && Number(last.pool.isCircuitOpen)
  },
  missShare: {
    promql: `(1 - (sum without (outcome) (rate(prism_cache_requests_total{outcome=~"hit|stale"}[$window])) / (sum without (outcome) (rate(prism_cache_requests_total{outcome=~"hit|stale|miss"}[$window])) > ${enoughASecond})))`,
    read: missShare
  },
  roundTripP99Seconds: {
    promql: `(histogram_quantile(0.99, rate(prism_redis_round_trip_seconds_bucket[$window])) and ignoring (le) (rate(prism_redis_round_trip_seconds_count[$window]) > ${enoughASecond}))`,
    read: (history, seconds) => p99(history, seconds, 'roundTrips')
  },
  exhaustedASecond: {
    promql: 'rate(prism_redis_pool_exhausted_total[$window])',
    read: (history, seconds) => rate(history, seconds, 'exhausted')
  },
  sessionsEvictable: {
    promql: once('prism_sessions_evictable'),
    read: ({ last }) => last?.areSessionsEvictable === undefined ? undefined : Number(last.areSessionsEvictable)
  },
  failedShare: {
    promql: `((sum without (method, route, status, cache) (rate(prism_http_requests_total{status=~"5.."}[$window])) or 0 * sum without (method, route, status, cache) (rate(prism_http_requests_total[$window]))) / (sum without (method, route, status, cache) (rate(prism_http_requests_total[$window])) > ${enoughASecond}))`,
    read: failedShare
  },
  responseP99Seconds: {
    promql: `(histogram_quantile(0.99, sum without (method, route) (rate(prism_http_request_duration_seconds_bucket[$window]))) and sum without (method, route) (rate(prism_http_request_duration_seconds_count[$window])) > ${enoughASecond})`,
    read: (history, seconds) => p99(history, seconds, 'durations')
  }
} satisfies Record<string, Signal>

export type SignalName = keyof typeof signals

/** In a Cluster the worst node counts: a full node rejects writes to its slots even if the others are empty. */
function most (values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

/** Divides by the whole window even if the process has run for less: otherwise a single event after a start is a high rate. */
function rate (history: History, seconds: number, name: SnapshotCount): number | undefined {
  const window = history.window(seconds)
  return window && growth(window[0].counts[name], window[1].counts[name]) / secondsOf(window, seconds)
}

function redisRate (history: History, seconds: number, name: string): number | undefined {
  const window = history.window(seconds)
  return window && most(nodeRates(...window, name, seconds))
}

function missShare (history: History, seconds: number): number | undefined {
  const window = history.window(seconds)
  if (window === undefined) return undefined
  const [hit, stale, miss] = (['hit', 'stale', 'miss'] as const).map((name) => growth(window[0].counts[name], window[1].counts[name]))
  const all = (hit ?? 0) + (stale ?? 0) + (miss ?? 0)
  return all / secondsOf(window, seconds) > enoughASecond ? (miss ?? 0) / all : undefined
}

function failedShare (history: History, seconds: number): number | undefined {
  const window = history.window(seconds)
  if (window === undefined) return undefined
  const [failed = 0, requests = 0] = (['failed', 'requests'] as const).map((name) => growth(window[0].counts[name], window[1].counts[name]))
  return requests / secondsOf(window, seconds) > enoughASecond ? failed / requests : undefined
}

function p99 (history: History, seconds: number, name: 'roundTrips' | 'durations'): number | undefined {
  const window = history.window(seconds)
  if (window === undefined) return undefined
  const counts = bucketGrowth(window[0][name], window[1][name])
  const total = counts.reduce((sum, count) => sum + count, 0)
  return total / secondsOf(window, seconds) > enoughASecond ? quantile(counts, 0.99) : undefined
}

function secondsOf ([from, to]: readonly [MetricsSnapshot, MetricsSnapshot], atLeast: number): number {
  return Math.max(atLeast, (to.at - from.at) / 1000)
}
