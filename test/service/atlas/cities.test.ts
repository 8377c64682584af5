import fc from 'fast-check'
import { test } from 'tap'
import { openAtlas } from '../../../service/atlas/atlas.ts'
import { distanceKm } from '../../../service/atlas/place.ts'
import { matchOf } from '../../../service/atlas/spelling.ts'
import { atlasPath, testAtlas } from '../../support/atlas.ts'
import { propertyRuns } from '../../support/property-runs.ts'

test('cities', { timeout: 300_000 }, async (t) => {
  const { cities } = testAtlas(t)
  const names = (search: Partial<Parameters<typeof cities.search>[0]>) => cities.search({ limit: 3, ...search }).map((city) => city.name)

  t.test('a city is found by its GeoNames id', async (t) => {
    t.same(cities.find(2988507), {
      id: 2988507,
      name: 'Paris',
      country: 'FR',
      admin: '11',
      feature: 'PPLC',
      population: 2138551,
      lat: 48.85341,
      lon: 2.3488
    })
    t.throws(() => cities.find(1), { code: 'PRISM_ERR_CITY_NOT_FOUND', statusCode: 404 })
  })

  t.test('a search without words returns the largest first, up to the limit', async (t) => {
    t.same(names({}), ['Shanghai', 'Istanbul', 'Buenos Aires'])
    t.equal(cities.search({ limit: 100 }).length, 100)
    t.same(names({ country: 'fr' }), ['Paris', 'Marseille', 'Lyon'])
  })

  t.test('a search ignores accents, case, letters that are not on the keyboard, and missing word endings', async (t) => {
    t.same(names({ q: 'zurich', limit: 1 }), ['Zürich'])
    t.same(names({ q: 'ZÜRI', limit: 1 }), ['Zürich'])
    t.same(names({ q: 'sao pau', limit: 1 }), ['São Paulo'])
    t.same(names({ q: 'pau são', limit: 1 }), ['São Paulo'])
    t.same(names({ q: 'lodz', limit: 1 }), ['Łódź'])
    t.same(names({ q: 'Łódź', limit: 1 }), ['Łódź'])
    t.same(names({ q: 'saint-etien', country: 'FR', limit: 1 }), ['Saint-Étienne'])
  })

  t.test('a search treats index syntax as plain text', async (t) => {
    for (const q of ['"', 'a"b', '*', 'paris OR', 'NEAR(paris', 'name:paris', '^paris', '-paris', '(', '\0', '   ', '', "'; DROP TABLE cities; --"]) {
      t.doesNotThrow(() => cities.search({ q, limit: 1 }), JSON.stringify(q))
    }
    t.same(names({ q: 'paris OR london' }), [])
    t.same(names({ q: '!!!' }), [])
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (q) => Array.isArray(cities.search({ q, limit: 1 }))))
  })

  t.test('the nearest cities come first, with their distance', async (t) => {
    const found = cities.search({ near: '48.85,2.35', limit: 2 })

    t.match(found, [{ name: 'Paris', distanceKm: 0.4 }, { name: 'Le Kremlin-Bicêtre', distanceKm: 4 }])
    t.throws(() => cities.search({ near: '91,181', limit: 1 }), { code: 'PRISM_ERR_PLACE' })
  })

  t.test('the nearest cities are found across the antimeridian and at the poles', async (t) => {
    t.same(names({ near: '-17,180', limit: 2 }), ['Labasa', 'Levuka'])
    t.same(names({ near: '-17,-180', limit: 2 }), ['Labasa', 'Levuka'])
    t.same(names({ near: '90,0', limit: 1 }), ['Longyearbyen'])
    t.same(names({ near: '-90,123', limit: 1 }), ['McMurdo Station'])
  })

  t.test('the nearest city of a country or name can be far away', async (t) => {
    t.match(cities.search({ near: '48,2', country: 'NZ', limit: 1 })[0], { country: 'NZ' })
    t.match(cities.search({ near: '34,-96', q: 'paris', limit: 1 })[0], { name: 'Paris', country: 'US' })
  })

  t.test('the nearest cities are the nearest of all, at any place', async (t) => {
    const everywhere = cities.search({ limit: 200_000 })
    const lat = fc.integer({ min: -90, max: 90 })
    const lon = fc.integer({ min: -180, max: 180 })

    fc.assert(fc.property(lat, lon, fc.integer({ min: 1, max: 100 }), (lat, lon, limit) => {
      const distances = everywhere.map((city) => distanceKm({ lat, lon }, city)).sort((a, b) => a - b)
      const found = cities.search({ near: `${lat},${lon}`, limit })
      return found.every((city, index) => Math.abs((city.distanceKm ?? NaN) - (distances[index] ?? NaN)) < 0.06)
    }), { numRuns: propertyRuns(8) })
  })

  t.test('a search uses the words that no other word implies, at most eight', async (t) => {
    const words = (q: string) => matchOf(q).split(' ')

    t.same(words('s S san SAN  sa'), ['"san"*'])
    t.same(words('a b a'), ['"a"*', '"b"*'])
    t.equal(words('abcdefghijklmnopqrstuvwxyz'.split('').join(' ')).length, 8)
    t.same(words(`a b c d e f g paris ${'h '.repeat(20)} i`).includes('"paris"*'), true)
    t.same(names({ q: 'p pa par paris PARIS paris' }), names({ q: 'paris' }))
  })

  t.test('any search blocks the event loop for less than 10 ms of CPU time', async (t) => {
    const atlas = openAtlas(atlasPath(t))
    t.teardown(() => atlas.close())
    await atlas.searches.find({ q: 'paris', limit: 1 })
    const letters = 'abcdefghijklmnopqrstuvwxyz'.split('')
    const searches = [{ q: [...letters, ...letters].join(' ') }, { q: 'a', near: '48,2' }, { q: 'a s m b c', country: 'US', near: '48,2' }, { near: '-50,-120' }, { country: 'US', near: '48,2' }, { q: 'a.'.repeat(50) }]

    for (const search of searches) {
      const find = () => atlas.searches.find({ ...search, limit: 100 })
      const least = Math.min(await cpuMs(find), await cpuMs(find), await cpuMs(find))
      t.ok(least < 10, `${JSON.stringify(search)} takes ${least} ms`)
    }
  })

  t.test('searches on the worker thread return the same, reject the same places, and continue after the thread has ended', async (t) => {
    const atlas = openAtlas(atlasPath(t))
    t.teardown(() => atlas.close())

    for (const search of [{ q: 'sao pau', country: 'BR', limit: 2 }, { near: '48.85,2.35', limit: 3 }, { limit: 5 }]) t.same(await atlas.searches.find(search), atlas.cities.search(search))
    await t.rejects(atlas.searches.find({ near: '91,181', limit: 1 }), { code: 'PRISM_ERR_PLACE' })
    const broken = Promise.allSettled([atlas.searches.find({ q: 'a', near: '48,2', limit: 100 }), atlas.searches.close()])
    t.equal((await broken).length, 2)
    t.match(await atlas.searches.find({ q: 'paris', limit: 1 }), [{ name: 'Paris' }])
  })

  t.test('searches that would wait longer than 2 s are rejected at once', async (t) => {
    const atlas = openAtlas(atlasPath(t))
    t.teardown(() => atlas.close())

    const outcomes = await Promise.allSettled(Array.from({ length: 1000 }, () => atlas.searches.find({ q: 'zzzz', limit: 1 })))
    t.match(outcomes.filter(({ status }) => status === 'rejected').at(-1), { reason: { code: 'PRISM_ERR_SEARCHES_FULL', statusCode: 503, retryAfterSeconds: Number } })
    t.match(outcomes[0], { status: 'fulfilled', value: [] })
  })
})

/** CPU time of this thread alone, whatever else the machine does. */
async function cpuMs (work: () => Promise<unknown>): Promise<number> {
  const before = process.threadCpuUsage()
  await work()
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000
}
