import { cacheOutcomes, quantile } from '../../plugins/metrics.ts'
import type { CacheOutcome, MetricsSnapshot, NodeSample, SnapshotCount } from '../../plugins/metrics.ts'
import { bucketGrowth, growth, memoryShareOf, nodeRates } from '../metrics-rates.ts'

/** One point of the dashboard's charts; null: unknown. Rates per second, durations in milliseconds, sizes in bytes. */
interface ChartPoint {
  readonly at: number
  readonly requests: number
  readonly rejected: number
  readonly failed: number
  /** requests by cache outcome */
  readonly outcomes: Readonly<Record<CacheOutcome, number>>
  readonly hitShare: number | null
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  readonly roundTripP50Ms: number | null
  readonly roundTripP99Ms: number | null
  /** of a Cluster's fullest node */
  readonly memoryUsed: number | null
  readonly memoryMax: number | null
  /** part of it that is not the cache's */
  readonly memoryOther: number | null
  readonly evictions: number | null
  readonly commands: number | null
  readonly clients: number | null
  readonly connections: number
  readonly live: number
  readonly published: number
  readonly delivered: number
}

/** Differences between two snapshots. */
export function pointOf (from: MetricsSnapshot, to: MetricsSnapshot): ChartPoint {
  const seconds = Math.max(0.001, (to.at - from.at) / 1000)
  const rate = (name: SnapshotCount) => growth(from.counts[name], to.counts[name]) / seconds
  const [hit, stale, miss] = [rate('hit'), rate('stale'), rate('miss')]
  const durations = bucketGrowth(from.durations, to.durations)
  const roundTrips = bucketGrowth(from.roundTrips, to.roundTrips)
  const { figures } = fullest(to) ?? {}
  return {
    at: to.at,
    requests: rate('requests'),
    rejected: rate('rejected'),
    failed: rate('failed'),
    outcomes: Object.fromEntries(cacheOutcomes.map((name) => [name, growth(from.outcomes[name], to.outcomes[name]) / seconds])) as Record<CacheOutcome, number>,
    hitShare: hit + stale + miss === 0 ? null : (hit + stale) / (hit + stale + miss),
    p50Ms: milliseconds(durations, 0.5),
    p99Ms: milliseconds(durations, 0.99),
    roundTripP50Ms: milliseconds(roundTrips, 0.5),
    roundTripP99Ms: milliseconds(roundTrips, 0.99),
    memoryUsed: figures?.redis_memory_used_bytes ?? null,
    memoryMax: figures?.prism_redis_memory_limit_bytes ?? null,
    memoryOther: figures?.prism_redis_memory_other_bytes ?? figures?.redis_memory_used_bytes ?? null,
    evictions: sum(nodeRates(from, to, 'redis_evicted_keys_total')),
    commands: sum(nodeRates(from, to, 'redis_commands_processed_total')),
    clients: sum((to.redis?.nodes ?? []).flatMap((node) => node.figures.redis_connected_clients ?? [])),
    connections: to.pool.connections,
    live: to.live.websocket + to.live.stream,
    published: rate('published'),
    delivered: rate('delivered')
  }
}

/** The charts of all snapshots. */
export function pointsOf (snapshots: readonly MetricsSnapshot[]): ChartPoint[] {
  return snapshots.slice(1).flatMap((snapshot, index) => {
    const before = snapshots[index]
    return before === undefined ? [] : [pointOf(before, snapshot)]
  })
}

function milliseconds (counts: readonly number[], share: number): number | null {
  const seconds = quantile(counts, share)
  return seconds === undefined ? null : seconds * 1000
}

/** A Cluster is as full as its fullest node. */
function fullest ({ redis }: MetricsSnapshot): NodeSample | undefined {
  return redis?.nodes.reduce((most, node) => (memoryShareOf(node) ?? 0) > (memoryShareOf(most) ?? 0) ? node : most)
}

function sum (values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((all, each) => all + each, 0)
}
