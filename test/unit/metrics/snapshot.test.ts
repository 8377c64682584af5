import t from 'tap'
import { Histogram } from '../../../src/shared/histogram.ts'
import { History } from '../../../src/metrics/snapshot.ts'
import type { MetricsSnapshot } from '../../../src/metrics/snapshot.ts'

const counts = { requests: 0, refused: 0, failed: 0, hit: 0, stale: 0, miss: 0, bypass: 0, published: 0, delivered: 0, timeouts: 0, lost: 0, exhausted: 0 }

/** A snapshot at a second. */
function snapshotAt (seconds: number): MetricsSnapshot {
  const node = { node: '', figures: { redis_evicted_keys_total: 0 }, version: '7', role: 'master', memoryPolicy: 'noeviction', slowLogLength: 0 }
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
    redis: { at: seconds * 1000, nodes: [node], silent: 0, latencies: [], namespaces: [] }
  }
}

t.test('snapshots of an hour are kept, one every 5 s', async (t) => {
  const history = new History(720)

  for (let index = 0; index < 1000; index++) history.add(snapshotAt(index * 5))

  t.equal(history.all.length, 720)
  t.equal(history.all[0]?.at, 280 * 5000)
  t.equal(history.last?.at, 999 * 5000)
  t.equal(history.window(60)?.[0].at, (999 - 12) * 5000)
  t.equal(history.window(86_400)?.[0].at, 280 * 5000)
})

t.test('a rate needs two snapshots', async (t) => {
  const history = new History(10)
  t.equal(history.window(60), undefined)

  history.add(snapshotAt(5))

  t.equal(history.window(60), undefined)
})
