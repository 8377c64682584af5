import { test } from 'tap'
import { buildTestApp } from '../../support/app.ts'
import { untilHit, SignedInClient } from '../../support/signed-in-client.ts'

test('places', async (t) => {
  const app = await buildTestApp(t)
  const ada = await new SignedInClient(app).signIn('Ada')
  const namesFor = async (client: SignedInClient): Promise<string[]> =>
    (await client.send('GET', '/me/places')).json().places.map((place: { name: string }) => place.name)

  t.test('an anonymous client has no places', async (t) => {
    t.equal((await new SignedInClient(app).send('GET', '/me/places')).statusCode, 401)
  })

  t.test('an added place shows in the next read, and a removed one does not', async (t) => {
    t.same(await namesFor(ada), [])
    t.equal((await ada.send('PUT', '/me/places/2988507')).statusCode, 204)
    t.same(await namesFor(ada), ['Paris'])
    await ada.send('PUT', '/me/places/2950159')
    await ada.send('PUT', '/me/places/2988507')
    t.same(await namesFor(ada), ['Berlin', 'Paris'])
    await ada.send('DELETE', '/me/places/2950159')
    t.same(await namesFor(ada), ['Paris'])
    t.equal((await ada.send('PUT', '/me/places/1')).statusCode, 404)
  })

  t.test('a later read comes from the cache, for the same client only', async (t) => {
    const again = await untilHit(() => ada.send('GET', '/me/places'))
    const grace = await new SignedInClient(app).signIn('Grace')
    const otherDevice = await new SignedInClient(app).signIn('Ada')

    t.match(again.json(), { places: [{ name: 'Paris' }] })
    t.match(again.headers['cache-control'], /private/)
    t.same(await namesFor(grace), [])
    t.same(await namesFor(otherDevice), [], 'places live in the session, and each device has its own')
  })
})
