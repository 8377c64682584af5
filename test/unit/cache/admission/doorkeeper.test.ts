import { hash } from 'node:crypto'
import t from 'tap'
import { Doorkeeper } from '../../../../src/cache/admission/doorkeeper.ts'

const nameOf = (index: number) => `api:cache:GET:/:id:{${hash('sha256', String(index), 'hex').slice(0, 32)}}`

t.test('doorkeeper knows who came before, and hardly anybody else', async (t) => {
  const doorkeeper = new Doorkeeper()
  let strangers = 0
  for (let index = 0; index < 100_000; index++) if (doorkeeper.saw(nameOf(index))) strangers += 1
  let known = 0
  for (let index = 0; index < 1000; index++) if (doorkeeper.saw(nameOf(index))) known += 1

  t.equal(known, 1000)
  t.ok(strangers < 1500, `${strangers} of 100,000 were taken for others`)
})

t.test('doorkeeper forgets in time, so that it never knows everybody', async (t) => {
  const doorkeeper = new Doorkeeper()
  for (let index = 0; index < 400_000; index++) doorkeeper.saw(nameOf(index))
  let known = 0
  for (let index = 0; index < 1000; index++) if (doorkeeper.saw(nameOf(index))) known += 1

  t.ok(known < 200, `${known} of 1,000 that came long ago`)
})
