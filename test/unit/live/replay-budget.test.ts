import t from 'tap'
import { ReplayBudget } from '../../../src/live/replay-budget.ts'
import { until } from '../../support/until.ts'

/** Requests this many replays of this many events; counts the replays that have begun. */
function flood (replayBudget: ReplayBudget, client: string, count: number, events: number): { begun: number } {
  const seen = { begun: 0 }
  for (let n = 0; n < count; n++) {
    replayBudget.begin(client, (meter) => {
      seen.begun += 1
      for (let event = 0; event < events; event++) meter.count()
      meter.finish()
    })
  }
  return seen
}

t.test('replay budget charges replays by events, and delays clients that have used up theirs', async (t) => {
  const replayBudget = new ReplayBudget(100)

  const large = flood(replayBudget, 'address 192.0.2.1', 100, 200)
  const small = flood(replayBudget, 'address 192.0.2.2', 10, 10)

  const atOnce = large.begun
  t.ok(atOnce >= 4 && atOnce <= 5, 'the events of 8 s at once, plus the refill on a slow machine')
  t.equal(small.begun, 10, 'another client has its own budget')
  const at = performance.now()
  await until(() => large.begun > atOnce, { what: 'the next replay' })
  t.ok(large.begun - atOnce <= Math.ceil((performance.now() - at) / 2000) + 1, 'not before the refill')
})

t.test('unfinished replays hold their reserved budget', async (t) => {
  const replayBudget = new ReplayBudget(8)
  const [unfinished, finished] = [{ begun: 0 }, flood(replayBudget, 'user bob', 10, 0)]
  for (let n = 0; n < 10; n++) replayBudget.begin('user ann', () => { unfinished.begun += 1 })

  t.equal(unfinished.begun, 1)
  t.equal(finished.begun, 10)
})

t.test('replays cancelled while they wait do not begin', async (t) => {
  const replayBudget = new ReplayBudget(1000)
  flood(replayBudget, 'user ann', 1, 8500)
  let isBegun = false
  const cancel = replayBudget.begin('user ann', () => { isBegun = true })
  const after = flood(replayBudget, 'user ann', 1, 1)
  cancel()

  await until(() => after.begun === 1, { what: 'the next replay' })
  t.equal(isBegun, false)
})

t.test('a replay that begins at once throws its error to the caller', async (t) => {
  t.throws(() => new ReplayBudget(1).begin('user ann', () => { throw new Error('full') }), /full/)
})
