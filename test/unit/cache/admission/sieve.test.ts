import fc from 'fast-check'
import t from 'tap'
import { Sieve } from '../../../../src/cache/admission/sieve.ts'

const later = Number.MAX_SAFE_INTEGER

function taken (sieve: Sieve, count: number, now = 0): string[] {
  return Array.from({ length: count }, () => sieve.take(now)?.name ?? '')
}

t.test('sieve evicts the oldest key first, and spares a visited key once', async (t) => {
  const sieve = new Sieve(10)
  for (const name of ['a', 'b', 'c', 'd']) sieve.add(name, 1, later)
  sieve.recordAccess('a')
  sieve.recordAccess('c')

  t.same(taken(sieve, 5), ['b', 'd', 'a', 'c', ''])
})

t.test('sieve continues from the position of its hand, so that new keys are spared for a round', async (t) => {
  const sieve = new Sieve(10)
  for (const name of ['a', 'b', 'c']) sieve.add(name, 1, later)
  sieve.recordAccess('a')
  t.same(taken(sieve, 1), ['b'])

  sieve.add('d', 1, later)

  t.same(taken(sieve, 3), ['c', 'd', 'a'])
})

t.test('sieve counts no bytes of expired keys, and uses the last size of a key', async (t) => {
  const sieve = new Sieve(10)
  sieve.add('a', 100, 50)
  sieve.recordAccess('a')
  sieve.add('b', 1, later)
  sieve.add('b', 2, later)

  t.same(sieve.take(60), { name: 'a', bytes: 0 })
  t.same(sieve.take(60), { name: 'b', bytes: 2 })
  t.equal(sieve.take(60), undefined)
})

t.test('sieve never exceeds its maximum, and evicts each key once, for any sequence of calls', async (t) => {
  const act = fc.record({ what: fc.constantFrom('add', 'recordAccess', 'take'), name: fc.constantFrom(...'abcdefgh') })

  fc.assert(fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
    const sieve = new Sieve(5)
    const held = new Set<string>()
    for (const { what, name } of acts) {
      if (what === 'recordAccess') sieve.recordAccess(name)
      if (what === 'add') {
        sieve.add(name, 1, later)
        held.add(name)
      }
      if (what === 'take') {
        const next = sieve.take(0)
        if (next === undefined ? sieve.size !== 0 : !held.delete(next.name)) return false
      }
      for (const each of held) if (!sieve.has(each)) held.delete(each)
      if (sieve.size > 5 || sieve.size !== held.size) return false
    }
    return true
  }))
  t.pass('in any order')
})
