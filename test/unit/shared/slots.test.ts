import t from 'tap'
import { Slots } from '../../../src/shared/slots.ts'

t.test('slots hold the same items as a set, over random additions and deletions, and grow to the most at one time only', async (t) => {
  const slots = new Slots<{ slot: number }>()
  const set = new Set<{ slot: number }>()
  const items = Array.from({ length: 40 }, () => ({ slot: -1 }))
  let most = 0
  let highest = -1
  for (let step = 0; step < 5000; step++) {
    const item = items[Math.floor(Math.random() * items.length)] as { slot: number }
    if (set.has(item)) {
      slots.delete(item.slot, item)
      set.delete(item)
    } else {
      item.slot = slots.add(item)
      set.add(item)
    }
    most = Math.max(most, set.size)
    highest = Math.max(highest, item.slot)
    if (slots.size !== set.size) t.fail(`size ${slots.size} in place of ${set.size}`)
  }
  const held: object[] = []
  slots.forEach((item) => { held.push(item) })
  t.equal(held.length, set.size)
  t.ok(held.every((item) => set.has(item as { slot: number })))
  t.equal(highest, most - 1)
})

t.test('an item can be deleted while the items are visited, and a late second deletion leaves the next holder of its slot', async (t) => {
  const slots = new Slots<{ name: string }>()
  const [first, second] = [{ name: 'first' }, { name: 'second' }]
  const slot = slots.add(first)
  slots.add(second)
  const visited: string[] = []
  slots.forEach((item, at) => {
    visited.push(item.name)
    slots.delete(at, item)
  })
  t.same(visited, ['first', 'second'])
  t.equal(slots.size, 0)

  const third = { name: 'third' }
  const reused = slots.add(third)
  slots.delete(reused, first)
  slots.delete(slot, second)
  t.equal(slots.size, 1)
})
