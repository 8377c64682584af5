import { test } from 'tap'
import type { CloudEvent } from '../../../plugins/events.ts'
import { buildTestApp, testDatabase } from '../../support/app.ts'
import { startRedisProcess } from '../../support/redis-process.ts'
import { until } from '../../support/until.ts'
import { untilHit, SignedInClient } from '../../support/signed-in-client.ts'

test('cities', async (t) => {
  const app = await buildTestApp(t)
  const get = (url: string) => app.inject(url)

  t.test('a city is read by its GeoNames ID, and again from the cache', async (t) => {
    const first = await get('/cities/2988507')
    const second = await untilHit(() => get('/cities/2988507'))

    t.match(first.json(), { id: 2988507, name: 'Paris', country: 'FR', notes: [] })
    t.match(first.headers['cache-status'], /fwd=/)
    t.same(second.json(), first.json())
  })

  t.test('an unknown city and an invalid ID are problems', async (t) => {
    const missing = await get('/cities/1')

    t.equal(missing.statusCode, 404)
    t.match(missing.headers['content-type'], /^application\/problem\+json/)
    t.match(missing.json(), { code: 'PRISM_ERR_CITY_NOT_FOUND', detail: 'City 1 not found.' })
    for (const id of ['paris', '0', '-1', '1.5', '99999999999']) t.equal((await get(`/cities/${id}`)).statusCode, 400, id)
  })

  t.test('a search finds by name, country and place, in any order of its parameters', async (t) => {
    const first = await get('/cities?q=sao%20pau&country=BR&limit=1')
    const second = await untilHit(() => get('/cities?limit=1&country=BR&q=sao%20pau'))
    const nearest = await get('/cities?near=48.85,2.35&limit=1')

    t.match(first.json(), { cities: [{ name: 'São Paulo' }] })
    t.same(second.json(), first.json())
    t.match(nearest.json(), { cities: [{ name: 'Paris', distanceKm: 0.4 }] })
    t.equal((await get('/cities')).json().cities.length, 20)
  })

  t.test('a search rejects invalid parameters by name', async (t) => {
    const refused = {
      '/cities?near=91,181': /near must be latitude,longitude/,
      '/cities?near=here': /near must be latitude,longitude/,
      '/cities?limit=0': /limit/,
      '/cities?limit=101': /limit/,
      '/cities?limit=many': /limit/,
      '/cities?country=France': /country/,
      '/cities?q=': /q/,
      '/cities?q=a&q=b': /q/,
      '/cities?colour=red': /colour/
    }
    for (const [url, reason] of Object.entries(refused)) {
      const response = await get(url)
      t.equal(response.statusCode, 400, url)
      t.match(response.body, reason, url)
    }
  })

  t.test('a note requires a signed-in user', async (t) => {
    const anonymous = await new SignedInClient(app).send('PUT', '/cities/2988507/notes', { text: 'Hello.' })
    const ada = await new SignedInClient(app).signIn('Ada')

    t.equal(anonymous.statusCode, 401)
    t.match((await ada.send('PUT', '/cities/2988507/notes', { text: 'Lovely.' })).json(), { author: 'Ada', text: 'Lovely.' })
    t.equal((await ada.send('PUT', '/cities/1/notes', { text: 'Where?' })).statusCode, 404)
    t.equal((await ada.send('PUT', '/cities/2988507/notes', { text: '' })).statusCode, 400)
    t.equal((await ada.send('PUT', '/cities/2988507/notes', { text: 'Lovely.', stars: 5 })).statusCode, 400)
    t.equal((await ada.send('PUT', '/cities/2988507/notes', { text: 'x'.repeat(2001) })).statusCode, 400)
  })

  t.test('a note shows in the next read of its city, and replaces the same user\'s older one', async (t) => {
    const grace = await new SignedInClient(app).signIn('Grace')
    await untilHit(() => get('/cities/2643743'))

    for (const text of ['Foggy.', 'Sunny.']) {
      await grace.send('PUT', '/cities/2643743/notes', { text })
      t.match((await get('/cities/2643743')).json().notes, [{ author: 'Grace', text }])
    }
  })

  t.test('a note written in one process shows in the next read in another', async (t) => {
    const shared = { redisUrl: (await startRedisProcess(t)).url, databasePath: testDatabase(t) }
    const here = await buildTestApp(t, shared)
    const there = await buildTestApp(t, shared)
    const alan = await new SignedInClient(here).signIn('Alan')
    await untilHit(() => there.inject('/cities/2988507'))

    for (const text of ['Busy.', 'Quiet.']) {
      await alan.send('PUT', '/cities/2988507/notes', { text })
      t.match((await there.inject('/cities/2988507')).json().notes, [{ author: 'Alan', text }])
    }
  })

  t.test('a note is published on the event bus', async (t) => {
    const received: CloudEvent[] = []
    await app.events.subscribe('events', (event) => received.push(event)).ready
    const linus = await new SignedInClient(app).signIn('Linus')

    await linus.send('PUT', '/cities/2950159/notes', { text: 'Flat.' })

    t.match(await until(() => received[0], { what: 'the event' }), { type: 'city.noted', data: { city: 2950159, name: 'Berlin', author: 'Linus', text: 'Flat.' } })
  })
})
