import { hash } from 'node:crypto'
import t from 'tap'
import { Doorkeeper } from '../../../../src/cache/admission/doorkeeper.ts'

const nameOf = (index: number) => `api:cache:GET:/:id:{${hash('sha256', String(index), 'hex').slice(0, 32)}}`

t.test('doorkeeper recognizes recorded keys, with few false positives', async (t) => {
  const doorkeeper = new Doorkeeper()
  let falsePositives = 0
  for (let index = 0; index < 100_000; index++) if (doorkeeper.saw(nameOf(index))) falsePositives += 1
  let known = 0
  for (let index = 0; index < 1000; index++) if (doorkeeper.saw(nameOf(index))) known += 1

  t.equal(known, 1000)
  t.ok(falsePositives < 1500, `${falsePositives} of 100,000 were false positives`)
})

t.test('doorkeeper forgets old keys, so that false positives stay bounded', async (t) => {
  const doorkeeper = new Doorkeeper()
  for (let index = 0; index < 400_000; index++) doorkeeper.saw(nameOf(index))
  let known = 0
  for (let index = 0; index < 1000; index++) if (doorkeeper.saw(nameOf(index))) known += 1

  t.ok(known < 200, `${known} of 1,000 old keys are still recorded`)
})
