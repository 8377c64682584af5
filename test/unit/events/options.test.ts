import t from 'tap'
import { resolveEventsPolicy } from '../../../src/events/options.ts'

t.test('policy keeps as many events as the first pattern that fits says', async (t) => {
  const { historyOf } = resolveEventsPolicy({ history: 50, histories: { 'user:7': 7, 'user:*': 10 } })

  t.same(['events', 'user:7', 'user:70', 'users'].map(historyOf), [50, 7, 10, 50])
})

t.test('policy holds events against their schemas, unless it is told not to', async (t) => {
  const schemas = { 'city.noted': { type: 'object', required: ['city'], properties: { city: { type: 'integer' } } } }
  const { check } = resolveEventsPolicy({ schemas })

  t.doesNotThrow(() => check({ type: 'city.noted', data: { city: 1 } }))
  t.doesNotThrow(() => check({ type: 'other', data: null }))
  t.throws(() => check({ type: 'city.noted', data: { city: 'secret' } }), { code: 'PRISM_ERR_EVENT', message: 'An event of type city.noted must have data as its schema says: data/city must be integer.' })
  t.throws(() => check({ type: 'city.noted' }), { code: 'PRISM_ERR_EVENT' })
  t.doesNotThrow(() => resolveEventsPolicy({ schemas, validate: false }).check({ type: 'city.noted' }))
})

t.test('policy refuses what cannot be meant', async (t) => {
  const wrong: [options: object, option: string][] = [
    [{ topics: 1 }, 'events.topics'],
    [{ history: 0 }, 'events.history'],
    [{ histories: { 'a*b': 1 } }, 'events.histories.a*b'],
    [{ histories: { a: 1.5 } }, 'events.histories.a'],
    [{ lifetime: '5s' }, 'events.lifetime'],
    [{ source: '' }, 'events.source'],
    [{ schemas: { n: { type: 'nonsense' } } }, 'events.schemas.n'],
    [{ validate: 'yes' }, 'events.validate']
  ]
  for (const [options, option] of wrong) t.throws(() => resolveEventsPolicy(options), { code: 'PRISM_ERR_OPTION', message: new RegExp(`^Option ${option.replaceAll(/[.*]/g, '.')} `) }, option)
})
