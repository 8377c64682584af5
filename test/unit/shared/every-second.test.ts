import t from 'tap'
import { everySecond } from '../../../src/shared/every-second.ts'
import { until } from '../../support/until.ts'

t.test('listeners are called every second, all in one turn of the event loop, until they are stopped', async (t) => {
  const calls: string[] = []
  let turns = 0
  const stopFirst = everySecond(() => {
    calls.push('first')
    setImmediate(() => { turns += 1 })
  })
  const since = performance.now()
  await until(() => performance.now() - since > 300, { what: 'a part of a second' })
  // Registered later than the first, and called with it.
  const stopSecond = everySecond(() => calls.push('second'))
  await until(() => turns === 1, { what: 'the first turn' })
  t.same(calls, ['first', 'second'])

  stopFirst()
  await until(() => calls.length === 3, { what: 'the next second' })
  t.equal(calls[2], 'second')
  stopSecond()
  let later = 0
  const stopThird = everySecond(() => { later += 1 })
  await until(() => later === 2, { what: 'two more calls of another listener' })
  stopThird()
  t.equal(calls.length, 3)
})
