import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import { Answer } from '../../../src/redis/answer.ts'

/** What hearers were told, in order. */
function listen (): { told: unknown[], hearer: (name: string) => { answered (value: unknown): void, failed (error: Error): void } } {
  const told: unknown[] = []
  return { told, hearer: (name) => ({ answered: (value) => told.push([name, value]), failed: (error) => told.push([name, error.message]) }) }
}

t.test('answer settles once, and tells all hearers at once and in their order, late ones too', async (t) => {
  const [{ told, hearer }, answer] = [listen(), new Answer<number>()]
  for (const name of ['a', 'b', 'c']) answer.hear(hearer(name))
  t.equal(answer.value, undefined)

  answer.resolve(1)
  answer.resolve(2)
  answer.reject(new Error('late'))
  answer.hear(hearer('d'))

  t.equal(answer.value, 1)
  t.same(told, [['a', 1], ['b', 1], ['c', 1], ['d', 1]])
  t.equal(await answer.promise(), 1)
})

t.test('answer fails whoever waits, and leaves nobody behind when a hearer throws', async (t) => {
  const [{ told, hearer }, answer] = [listen(), new Answer<number>()]
  answer.hear({ answered: () => {}, failed: () => { throw new Error('a fault of the hearer') } })
  answer.hear(hearer('next'))
  const waiting = answer.promise()
  const settled = answer.settled()

  t.throws(() => answer.reject(new Error('away')), { message: 'a fault of the hearer' })

  t.same(told, [['next', 'away']])
  await t.rejects(waiting, { message: 'away' })
  await settled
})

t.test('answer becomes another, or the failure of what makes it that', async (t) => {
  const [one, two, three] = [new Answer<number>(), new Answer<number>(), new Answer<number>()]
  const [doubled, thrown, away] = [one.map((value) => value * 2), two.map(() => { throw new Error('no') }), three.map((value) => value)]
  one.resolve(2)
  two.resolve(2)
  three.reject(new Error('away'))

  t.equal(await doubled.promise(), 4)
  await t.rejects(thrown.promise(), { message: 'no' })
  await t.rejects(away.promise(), { message: 'away' })
  t.throws(() => away.value, { message: 'away' })
})

t.test('answer of several is here with the last of them, in their order, or fails with the first that does', (t) => {
  const [one, two] = [new Answer<number>(), new Answer<number>()]
  const [both, failing] = [Answer.all([one, two, Answer.of(3)]), Answer.all([one, Answer.of(1).map(() => { throw new Error('no') })])]
  two.resolve(2)
  t.equal(both.value, undefined)
  one.resolve(1)

  t.same(both.value, [1, 2, 3])
  t.throws(() => failing.value, { message: 'no' })
  t.end()
})

t.test('answer goes on in the async context of who waits, not of who brings it', async (t) => {
  const [contexts, answer] = [new AsyncLocalStorage<string>(), new Answer<number>()]
  const seen = contexts.run('who waits', () => answer.settled().then(() => contexts.getStore()))

  contexts.run('who brings it', () => answer.resolve(1))

  t.equal(await seen, 'who waits')
})
