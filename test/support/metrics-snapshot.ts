import type { MetricsSnapshot } from '../../plugins/metrics.ts'
import { Histogram } from '../../src/shared/histogram.ts'

const counts = { requests: 0, rejected: 0, failed: 0, hit: 0, stale: 0, miss: 0, bypass: 0, published: 0, delivered: 0, timeouts: 0, lost: 0, exhausted: 0 }

/** A snapshot at a second, with the number of evicted keys in a Redis sample of another time. */
export function snapshotAt (seconds: number, evicted = 0, sampledAt = seconds): MetricsSnapshot {
  const node = { node: '', figures: { redis_evicted_keys_total: evicted }, version: '7', role: 'master', memoryPolicy: 'noeviction', slowLogLength: 0 }
  return {
    at: seconds * 1000,
    counts,
    outcomes: { none: 0, hit: 0, stale: 0, miss: 0, bypass: 0 },
    durations: new Histogram().counts,
    roundTrips: new Histogram().counts,
    pool: { connections: 5, inFlight: 0, isCircuitOpen: false },
    live: { websocket: 0, stream: 0 },
    isRedisUp: true,
    unusable: { redis: undefined, sessions: undefined },
    areSessionsEvictable: false,
    redis: { at: sampledAt * 1000, nodes: [node], silent: 0, latencies: [], namespaces: [] }
  }
}
