import t from 'tap'
import { cachingApp } from '../../support/caching.ts'
import { until } from '../../support/until.ts'

t.test('wrap: a value whose computation started before a purge is not returned to a later call', async (t) => {
  const app = await cachingApp(t)
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let made = 0
  const wrapped = () => app.cache.wrap('rows', {}, { ttl: '1m', tags: ['a'] }, async () => {
    const run = made++
    await gates[run]?.promise
    return run
  })
  await app.cache.purge('a')

  const old = wrapped()
  await until(() => made === 1, { what: 'the first runs' })
  await app.cache.purge('a')
  const young = wrapped()
  await until(() => made === 2, { what: 'the second runs' })
  for (const gate of gates) gate.resolve()

  t.equal(await old, 0)
  t.equal(await young, 1)
})
