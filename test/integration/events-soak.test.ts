import t from 'tap'
import { faultsOf, soak } from '../support/soak.ts'

t.setTimeout(300_000)

t.test('three processes lose, duplicate or reorder no event in any fault, and receive one reset for each loss of the log', { timeout: 300_000 }, async (t) => {
  const { reports, resets } = await soak(t, { seconds: 10, perSecond: 200, kills: 5, halfOpens: 2, stops: 1, stopMs: 1500, note: (text) => t.comment(text) })

  const acked = new Set(reports.flatMap((report) => report.acked))
  t.ok(acked.size > 1000)
  for (const report of reports) t.same(faultsOf(report, acked).slice(0, 5), [])
  t.same(resets['in all'], [4, 4, 4], 'one for each of the four ways to lose the log')
})
