import t from 'tap'
import { Histogram } from '../../../src/shared/histogram.ts'
import { History, growth, nodeRates } from '../../../src/metrics/snapshot.ts'
import type { MetricsSnapshot } from '../../../src/metrics/snapshot.ts'

const counts = { requests: 0, refused: 0, failed: 0, hit: 0, stale: 0, miss: 0, bypass: 0, published: 0, delivered: 0, timeouts: 0, lost: 0, exhausted: 0 }

/** A snapshot at a second, with the time of the last Redis sample, and its evicted keys. */
function readingAt (seconds: number, evicted = 0, lookedAt = seconds): MetricsSnapshot {
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
    redis: { at: lookedAt * 1000, nodes: [node], silent: 0, latencies: [], namespaces: [] }
  }
}

t.test('snapshots of an hour are kept, one every 5 s', async (t) => {
  const history = new History(720)

  for (let index = 0; index < 1000; index++) history.add(readingAt(index * 5))

  t.equal(history.all.length, 720)
  t.equal(history.all[0]?.at, 280 * 5000)
  t.equal(history.last?.at, 999 * 5000)
  t.equal(history.window(60)?.[0].at, (999 - 12) * 5000)
  t.equal(history.window(86_400)?.[0].at, 280 * 5000)
})

t.test('a rate needs two snapshots', async (t) => {
  const history = new History(10)
  t.equal(history.window(60), undefined)

  history.add(readingAt(5))

  t.equal(history.window(60), undefined)
})

t.test('a rate is computed by the time of the Redis samples, and a lower counter is a restart', async (t) => {
  t.same(nodeRates(readingAt(0, 100), readingAt(10, 600), 'redis_evicted_keys_total'), [50])
  t.same(nodeRates(readingAt(0, 600), readingAt(10, 30), 'redis_evicted_keys_total'), [3])
  t.same(nodeRates(readingAt(0, 100, 0), readingAt(10, 600, 5), 'redis_evicted_keys_total'), [100])
  t.same(nodeRates(readingAt(5, 100, 5), readingAt(10, 100, 5), 'redis_evicted_keys_total'), [])
  t.equal(growth(7, 3), 3)
})
