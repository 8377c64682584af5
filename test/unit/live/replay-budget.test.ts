import t from 'tap'
import { ReplayBudget } from '../../../src/live/replay-budget.ts'
import { until } from '../../support/until.ts'

/** Asks for replays of so many events each; counts those that have begun. */
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

t.test('replays are charged by events, and wait when a client has used up its own', async (t) => {
  const replayBudget = new ReplayBudget(100)

  const large = flood(replayBudget, 'address 192.0.2.1', 100, 200)
  const small = flood(replayBudget, 'address 192.0.2.2', 10, 10)

  const atOnce = large.begun
  t.ok(atOnce >= 4 && atOnce <= 5, 'the events of 8 s at once, and what a slow machine adds')
  t.equal(small.begun, 10, 'another client has its own')
  const at = performance.now()
  await until(() => large.begun > atOnce, { what: 'the next one' })
  t.ok(large.begun - atOnce <= Math.ceil((performance.now() - at) / 2000) + 1, 'not before it may')
})

t.test('replays that do not finish keep what was reserved for them', async (t) => {
  const replayBudget = new ReplayBudget(8)
  const [kept, given] = [{ begun: 0 }, flood(replayBudget, 'user bob', 10, 0)]
  for (let n = 0; n < 10; n++) replayBudget.begin('user ann', () => { kept.begun += 1 })

  t.equal(kept.begun, 1)
  t.equal(given.begun, 10)
})

t.test('replays that are cancelled while they wait do not begin', async (t) => {
  const replayBudget = new ReplayBudget(1000)
  flood(replayBudget, 'user ann', 1, 8500)
  let isBegun = false
  const cancel = replayBudget.begin('user ann', () => { isBegun = true })
  const after = flood(replayBudget, 'user ann', 1, 1)
  cancel()

  await until(() => after.begun === 1, { what: 'the one behind it' })
  t.equal(isBegun, false)
})

t.test('replays tell who asks at once what went wrong', async (t) => {
  t.throws(() => new ReplayBudget(1).begin('user ann', () => { throw new Error('full') }), /full/)
})
