import t from 'tap'
import { Histogram } from '../../src/shared/histogram.ts'
import { growth, nodeRates } from '../../service/metrics-rates.ts'
import type { MetricsSnapshot } from '../../plugins/metrics.ts'

const counts = { requests: 0, refused: 0, failed: 0, hit: 0, stale: 0, miss: 0, bypass: 0, published: 0, delivered: 0, timeouts: 0, lost: 0, exhausted: 0 }

/** A snapshot at a second, with the number of evicted keys in a Redis sample of another time. */
function snapshotAt (seconds: number, evicted = 0, sampledAt = seconds): MetricsSnapshot {
  const node = { node: '', figures: { redis_evicted_keys_total: evicted }, version: '7', role: 'master', memoryPolicy: 'noeviction', slowLogLength: 0 }
  return {
    at: seconds * 1000,
    counts,
    outcomes: { none: 0, hit: 0, stale: 0, miss: 0, bypass: 0 },
    durations: new Histogram().counts,
    roundTrips: new Histogram().counts,
    pool: { connections: 5, inFlight: 0, isBroken: false },
    live: { websocket: 0, stream: 0 },
    isRedisUp: true,
    unusable: { redis: undefined, sessions: undefined },
    areSessionsEvictable: false,
    redis: { at: sampledAt * 1000, nodes: [node], silent: 0, latencies: [], namespaces: [] }
  }
}

t.test('a rate is computed by the time of the Redis samples, and a lower counter is a restart', async (t) => {
  t.same(nodeRates(snapshotAt(0, 100), snapshotAt(10, 600), 'redis_evicted_keys_total'), [50])
  t.same(nodeRates(snapshotAt(0, 600), snapshotAt(10, 30), 'redis_evicted_keys_total'), [3])
  t.same(nodeRates(snapshotAt(0, 100, 0), snapshotAt(10, 600, 5), 'redis_evicted_keys_total'), [100])
  t.same(nodeRates(snapshotAt(5, 100, 5), snapshotAt(10, 100, 5), 'redis_evicted_keys_total'), [])
  t.equal(growth(7, 3), 3)
})
