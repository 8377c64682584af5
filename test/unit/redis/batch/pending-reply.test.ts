import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import { PendingReply } from '../../../../src/redis/batch/pending-reply.ts'

/** Calls of the listeners, in order. */
function listen (): { calls: unknown[], listener: (name: string) => { onReply (value: unknown): void, onError (error: Error): void } } {
  const calls: unknown[] = []
  return { calls, listener: (name) => ({ onReply: (value) => calls.push([name, value]), onError: (error) => calls.push([name, error.message]) }) }
}

t.test('pending reply settles once, and calls all listeners in order, also late ones', async (t) => {
  const [{ calls, listener }, reply] = [listen(), new PendingReply<number>()]
  for (const name of ['a', 'b', 'c']) reply.subscribe(listener(name))
  t.equal(reply.value, undefined)

  reply.resolve(1)
  reply.resolve(2)
  reply.reject(new Error('late'))
  reply.subscribe(listener('d'))

  t.equal(reply.value, 1)
  t.same(calls, [['a', 1], ['b', 1], ['c', 1], ['d', 1]])
  t.equal(await reply.promise(), 1)
})

t.test('pending reply rejects all callers, even if a listener throws', async (t) => {
  const [{ calls, listener }, reply] = [listen(), new PendingReply<number>()]
  reply.subscribe({ onReply: () => {}, onError: () => { throw new Error('error of the listener') } })
  reply.subscribe(listener('next'))
  const waiting = reply.promise()
  const settled = reply.settled()

  t.throws(() => reply.reject(new Error('away')), { message: 'error of the listener' })

  t.same(calls, [['next', 'away']])
  await t.rejects(waiting, { message: 'away' })
  await settled
})

t.test('pending reply maps to another value, or to the error of the mapping', async (t) => {
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

t.test('the combination of pending replies settles with the last of them, in order, or rejects with the first error', (t) => {
  const [one, two] = [new PendingReply<number>(), new PendingReply<number>()]
  const [both, failing] = [PendingReply.all([one, two, PendingReply.of(3)]), PendingReply.all([one, PendingReply.of(1).map(() => { throw new Error('no') })])]
  two.resolve(2)
  t.equal(both.value, undefined)
  one.resolve(1)

  t.same(both.value, [1, 2, 3])
  t.throws(() => failing.value, { message: 'no' })
  t.end()
})

t.test('pending reply continues in the async context of the listener', async (t) => {
  const [contexts, reply] = [new AsyncLocalStorage<string>(), new PendingReply<number>()]
  const seen = contexts.run('listener', () => reply.settled().then(() => contexts.getStore()))

  contexts.run('sender', () => reply.resolve(1))

  t.equal(await seen, 'listener')
})
