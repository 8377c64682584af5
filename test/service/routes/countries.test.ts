import { test } from 'tap'
import { buildTestApp } from '../../support/app.ts'
import { untilHit } from '../../support/signed-in-client.ts'

test('countries', async (t) => {
  const app = await buildTestApp(t)

  t.test('a country is summarised once, and then comes from the cache', async (t) => {
    const first = await app.inject('/countries/FR')
    const second = await untilHit(() => app.inject('/countries/FR'))

    t.match(first.json(), { code: 'FR', name: 'France', cities: 8836, capital: { name: 'Paris' }, bounds: { east: 9.52242 } })
    t.same(second.json(), first.json())
    t.equal((await app.inject('/countries/AQ')).json().capital, null)
  })

  t.test('an invalid country code is rejected', async (t) => {
    t.match((await app.inject('/countries/zz')).json(), { status: 404, code: 'PRISM_ERR_COUNTRY_NOT_FOUND' })
    t.equal((await app.inject('/countries/france')).statusCode, 400)
  })
})
