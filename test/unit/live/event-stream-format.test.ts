import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import t from 'tap'
import { nameOf, readPositions, writeBlock, writePositions } from '../../../src/live/event-stream-format.ts'

t.test('event stream: an independent parser reads what was written, with any line breaks', async (t) => {
  const line = fc.string({ unit: fc.constantFrom('a', ':', ' ', '\n', '\r', '\r\n', '\u2028', 'ü', 'data', 'id: 9', '\uFEFF'), maxLength: 12 })
  let runs = 0

  fc.assert(fc.property(fc.array(line, { minLength: 1, maxLength: 4 }), (texts) => {
    const events: string[] = []
    const parser = createParser({ onEvent: ({ data, event, id }) => { events.push(data); if (event !== 'n' || id !== '1-0') throw new Error(`${event} ${id}`) } })
    parser.feed(texts.map((text) => writeBlock([['id', '1-0'], ['event', 'n'], ['data', text]])).join(''))
    runs += 1
    return JSON.stringify(events) === JSON.stringify(texts.map((text) => text.replace(/\r\n|\r/g, '\n')))
  }))

  t.ok(runs >= 100)
})

t.test('event stream: the event\'s type is its name, unless the name is reserved', async (t) => {
  const named = (type: string) => nameOf({ specversion: '1.0', source: 'x', type })

  t.same(['city.noted', 'open', 'error', 'reset', 'a\nb', 'a\rb', 'a\0b'].map(named), ['city.noted', ...Array(6).fill('message')])
})

t.test('event stream: positions are parsed as they were written', async (t) => {
  const positions = new Map([['events', '5-1'], ['user:7', '6-0'], ['new', undefined]])

  t.equal(writePositions(new Map([['events', '5-1']])), '5-1')
  t.equal(writePositions(positions), 'events=5-1;user:7=6-0')
  t.same(readPositions('events=5-1;user:7=6-0', ['events', 'user:7', 'new']), positions)
  t.same(readPositions('5-1', ['a', 'b']), new Map([['a', '5-1'], ['b', '5-1']]))
  t.same(readPositions('gone=5-1', ['a']), new Map([['a', undefined]]))
  for (const wrong of ['', '5', '5-', '-1', 'a', 'a=', 'a=5', 'a=5-1;', 'a=5-1=2', `${'9'.repeat(21)}-0`]) t.equal(readPositions(wrong, ['a']), undefined, wrong)
})
