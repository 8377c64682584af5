import t from 'tap'
import { History } from '../../../src/metrics/snapshot.ts'
import { snapshotAt } from '../../support/metrics-snapshot.ts'

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
