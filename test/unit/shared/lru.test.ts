import fc from 'fast-check'
import t from 'tap'
import { TwoGenerationLru } from '../../../src/shared/lru.ts'
import { propertyRuns } from '../../support/property-runs.ts'

t.test('LRU cache keeps between its capacity and twice that, most recently used first, with the last value of each key', async (t) => {
  const max = 5
  const step = fc.tuple(fc.constantFrom('get', 'set', 'delete'), fc.integer({ min: 0, max: 12 }))

  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const recent = new TwoGenerationLru<number, string>(max)
    const model = new Map<number, string>()
    let used: number[] = []
    steps.forEach(([what, key], at) => {
      if (what === 'delete') recent.delete(key)
      if (what === 'set') recent.set(key, `${key} at ${at}`)
      if (what === 'set') model.set(key, `${key} at ${at}`)
      if (what === 'delete') model.delete(key)
      const found = what === 'get' ? recent.get(key) : undefined
      if (found !== undefined && found !== model.get(key)) throw new Error(`${key} is ${found}`)
      if (what === 'get' && found === undefined && used.slice(0, max).includes(key)) throw new Error(`${key} was forgotten`)
      if (what === 'get' && found === undefined) model.delete(key)
      used = used.filter((each) => each !== key)
      if (model.has(key)) used.unshift(key)
      if (recent.size > 2 * max) throw new Error(`${recent.size} are kept`)
    })
  }), { numRuns: propertyRuns(500) })
  t.pass('over 1,000 histories')
})

t.test('LRU cache evicts in the order of use, one generation at a time', async (t) => {
  const recent = new TwoGenerationLru<string, string>(2)
  for (const key of ['a', 'b', 'c', 'a', 'd', 'e']) if (recent.get(key) === undefined) recent.set(key, key)

  t.same(['a', 'b', 'd', 'e'].map((key) => recent.get(key)), ['a', undefined, 'd', 'e'])
})
