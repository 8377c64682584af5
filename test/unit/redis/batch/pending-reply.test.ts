import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import { PendingReply } from '../../../../src/redis/batch/pending-reply.ts'

/** What hearers were told, in order. */
function listen (): { told: unknown[], hearer: (name: string) => { onReply (value: unknown): void, onError (error: Error): void } } {
  const told: unknown[] = []
  return { told, hearer: (name) => ({ onReply: (value) => told.push([name, value]), onError: (error) => told.push([name, error.message]) }) }
}

t.test('answer settles once, and tells all hearers at once and in their order, late ones too', async (t) => {
  const [{ told, hearer }, reply] = [listen(), new PendingReply<number>()]
  for (const name of ['a', 'b', 'c']) reply.subscribe(hearer(name))
  t.equal(reply.value, undefined)

  reply.resolve(1)
  reply.resolve(2)
  reply.reject(new Error('late'))
  reply.subscribe(hearer('d'))

  t.equal(reply.value, 1)
  t.same(told, [['a', 1], ['b', 1], ['c', 1], ['d', 1]])
  t.equal(await reply.promise(), 1)
})

t.test('answer fails whoever waits, and leaves nobody behind when a hearer throws', async (t) => {
  const [{ told, hearer }, reply] = [listen(), new PendingReply<number>()]
  reply.subscribe({ onReply: () => {}, onError: () => { throw new Error('a fault of the hearer') } })
  reply.subscribe(hearer('next'))
  const waiting = reply.promise()
  const settled = reply.settled()

  t.throws(() => reply.reject(new Error('away')), { message: 'a fault of the hearer' })

  t.same(told, [['next', 'away']])
  await t.rejects(waiting, { message: 'away' })
  await settled
})

t.test('answer becomes another, or the failure of what makes it that', async (t) => {
  const [one, two, three] = [new PendingReply<number>(), new PendingReply<number>(), new PendingReply<number>()]
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
  const [one, two] = [new PendingReply<number>(), new PendingReply<number>()]
  const [both, failing] = [PendingReply.all([one, two, PendingReply.of(3)]), PendingReply.all([one, PendingReply.of(1).map(() => { throw new Error('no') })])]
  two.resolve(2)
  t.equal(both.value, undefined)
  one.resolve(1)

  t.same(both.value, [1, 2, 3])
  t.throws(() => failing.value, { message: 'no' })
  t.end()
})

t.test('answer goes on in the async context of who waits, not of who brings it', async (t) => {
  const [contexts, reply] = [new AsyncLocalStorage<string>(), new PendingReply<number>()]
  const seen = contexts.run('who waits', () => reply.settled().then(() => contexts.getStore()))

  contexts.run('who brings it', () => reply.resolve(1))

  t.equal(await seen, 'who waits')
})
