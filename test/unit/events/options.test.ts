import t from 'tap'
import { resolveEventsPolicy } from '../../../src/events/options.ts'

t.test('a topic retains the count of the first matching pattern', async (t) => {
  const { retainCount } = resolveEventsPolicy({ retain: { count: 50, topics: { 'user:7': 7, 'user:*': 10 } } })

  t.same(['events', 'user:7', 'user:70', 'users'].map(retainCount), [50, 7, 10, 50])
})

t.test('events are validated against their schemas unless `validate` is false', async (t) => {
  const schemas = { 'city.noted': { type: 'object', required: ['city'], properties: { city: { type: 'integer' } } } }
  const { check } = resolveEventsPolicy({ schemas })

  t.doesNotThrow(() => check({ type: 'city.noted', data: { city: 1 } }))
  t.doesNotThrow(() => check({ type: 'other', data: null }))
  t.throws(() => check({ type: 'city.noted', data: { city: 'secret' } }), { code: 'PRISM_ERR_EVENT', message: 'An event of type city.noted must match its schema: data/city must be integer.' })
  t.throws(() => check({ type: 'city.noted' }), { code: 'PRISM_ERR_EVENT' })
  t.doesNotThrow(() => resolveEventsPolicy({ schemas, validate: false }).check({ type: 'city.noted' }))
})

t.test('invalid options are rejected by name', async (t) => {
  const wrong: [options: object, option: string][] = [
    [{ topics: 1 }, 'events.topics'],
    [{ retain: 10 }, 'events.retain'],
    [{ retain: { lifetime: '1m' } }, 'events.retain.lifetime'],
    [{ retain: { count: 0 } }, 'events.retain.count'],
    [{ retain: { topics: { 'a*b': 1 } } }, 'events.retain.topics.a*b'],
    [{ retain: { topics: { a: 1.5 } } }, 'events.retain.topics.a'],
    [{ retain: { time: '5s' } }, 'events.retain.time'],
    [{ source: '' }, 'events.source'],
    [{ schemas: { n: { type: 'nonsense' } } }, 'events.schemas.n'],
    [{ validate: 'yes' }, 'events.validate']
  ]
  for (const [options, option] of wrong) t.throws(() => resolveEventsPolicy(options), { code: 'PRISM_ERR_OPTION', message: new RegExp(`^(?:Unknown o|O)ption ${option.replaceAll(/[.*]/g, '.')}[ .]`) }, option)
})

t.test('the error for a renamed option names the new one', async (t) => {
  const renamed: [options: object, newName: string][] = [
    [{ history: 10 }, 'events.retain.count'],
    [{ histories: { a: 10 } }, 'events.retain.topics'],
    [{ lifetime: '1m' }, 'events.retain.time']
  ]
  for (const [options, newName] of renamed) t.throws(() => resolveEventsPolicy(options), { code: 'PRISM_ERR_OPTION', message: new RegExp(`\\b${newName.replaceAll('.', '\\.')}\\b`) }, newName)
})
