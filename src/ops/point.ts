import { quantile } from '../histogram.ts'
import { bucketGrowth, growth } from '../metrics/reading.ts'
import type { Reading, ReadingCount } from '../metrics/reading.ts'

/** One step of the dashboard's curves; null where nothing is known. Rates are a second, durations in milliseconds, sizes in bytes. */
export interface Point {
  readonly at: number
  readonly requests: number
  readonly refused: number
  readonly failed: number
  readonly hitShare: number | null
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  readonly roundTripP50Ms: number | null
  readonly roundTripP99Ms: number | null
  readonly memoryUsed: number | null
  readonly memoryMax: number | null
  readonly evictions: number | null
  readonly commands: number | null
  readonly clients: number | null
  readonly connections: number
  readonly live: number
}

/** What happened between two readings. */
export function pointOf (from: Reading, to: Reading): Point {
  const seconds = Math.max(0.001, (to.at - from.at) / 1000)
  const rate = (name: ReadingCount) => growth(from.counts[name], to.counts[name]) / seconds
  const [hit, stale, miss] = [rate('hit'), rate('stale'), rate('miss')]
  const durations = bucketGrowth(from.durations, to.durations)
  const roundTrips = bucketGrowth(from.roundTrips, to.roundTrips)
  return {
    at: to.at,
    requests: rate('requests'),
    refused: rate('refused'),
    failed: rate('failed'),
    hitShare: hit + stale + miss === 0 ? null : (hit + stale) / (hit + stale + miss),
    p50Ms: milliseconds(durations, 0.5),
    p99Ms: milliseconds(durations, 0.99),
    roundTripP50Ms: milliseconds(roundTrips, 0.5),
    roundTripP99Ms: milliseconds(roundTrips, 0.99),
    memoryUsed: figure(to, 'redis_memory_used_bytes'),
    memoryMax: figure(to, 'redis_memory_max_bytes'),
    evictions: redisRate(from, to, 'redis_evicted_keys_total'),
    commands: redisRate(from, to, 'redis_commands_processed_total'),
    clients: figure(to, 'redis_connected_clients'),
    connections: to.pool.connections,
    live: to.live.websocket + to.live.stream
  }
}

/** The curves of all readings. */
export function pointsOf (readings: readonly Reading[]): Point[] {
  return readings.slice(1).flatMap((reading, index) => {
    const before = readings[index]
    return before === undefined ? [] : [pointOf(before, reading)]
  })
}

function milliseconds (counts: readonly number[], share: number): number | null {
  const seconds = quantile(counts, share)
  return seconds === undefined ? null : seconds * 1000
}

function figure (reading: Reading, name: string): number | null {
  return reading.redis?.figures[name] ?? null
}

function redisRate (from: Reading, to: Reading, name: string): number | null {
  const [before, now] = [figure(from, name), figure(to, name)]
  const elapsedMs = (to.redis?.at ?? 0) - (from.redis?.at ?? 0)
  return before === null || now === null || elapsedMs <= 0 ? null : growth(before, now) / elapsedMs * 1000
}
