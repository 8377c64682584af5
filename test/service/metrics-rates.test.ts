import t from 'tap'
import { growth, nodeRates } from '../../service/metrics-rates.ts'
import { snapshotAt } from '../support/metrics-snapshot.ts'

t.test('a rate is computed by the time of the Redis samples, and a lower counter is a restart', async (t) => {
  t.same(nodeRates(snapshotAt(0, 100), snapshotAt(10, 600), 'redis_evicted_keys_total'), [50])
  t.same(nodeRates(snapshotAt(0, 600), snapshotAt(10, 30), 'redis_evicted_keys_total'), [3])
  t.same(nodeRates(snapshotAt(0, 100, 0), snapshotAt(10, 600, 5), 'redis_evicted_keys_total'), [100])
  t.same(nodeRates(snapshotAt(5, 100, 5), snapshotAt(10, 100, 5), 'redis_evicted_keys_total'), [])
  t.equal(growth(7, 3), 3)
})
