import { test } from 'tap'
import { testAtlas } from '../../support/atlas.ts'

test('countries', async (t) => {
  const { countries } = testAtlas(t)

  t.test('a country is summarised from its cities', async (t) => {
    const france = countries.find('fr')

    t.match(france, { code: 'FR', name: 'France', cities: 8836, capital: { id: 2988507, name: 'Paris' } })
    t.same(france.largest.map((city) => city.name).slice(0, 3), ['Paris', 'Marseille', 'Lyon'])
    t.equal(france.divisions.reduce((total, division) => total + division.cities, 0), 8836)
    t.same(france.bounds, { south: 41.38723, north: 51.07786, west: -4.77086, east: 9.52242 })
  })

  t.test('the west of a country across the antimeridian is greater than its east', async (t) => {
    t.match(countries.find('FJ').bounds, { west: 177.05, east: -178.81232 })
  })

  t.test('a country without a city is not found', async (t) => {
    t.throws(() => countries.find('zz'), { code: 'PRISM_ERR_COUNTRY_NOT_FOUND', statusCode: 404, message: 'Country ZZ not found in the atlas.' })
  })
})
