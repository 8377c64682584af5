import { test } from 'tap'
import { buildTestApp } from '../../support/app.ts'
import { SignedInClient } from '../../support/signed-in-client.ts'

test('devices', async (t) => {
  const app = await buildTestApp(t)
  const laptop = await new SignedInClient(app).signIn('Ada')
  const phone = await new SignedInClient(app).signIn('Ada')
  const tablet = await new SignedInClient(app).signIn('Ada')
  const deviceOf = async (client: SignedInClient): Promise<string> => (await client.send('GET', '/session')).json().device

  t.test('an anonymous client sees no devices', async (t) => {
    t.equal((await new SignedInClient(app).send('GET', '/session/devices')).statusCode, 401)
  })

  t.test('all devices of a user are listed', async (t) => {
    const ids = (await laptop.send('GET', '/session/devices')).json().devices.map((device: { id: string }) => device.id)

    t.same(ids.sort(), (await Promise.all([laptop, phone, tablet].map(deviceOf))).sort())
  })

  t.test('one device is signed out by another', async (t) => {
    const id = await deviceOf(phone)

    t.equal((await laptop.send('DELETE', `/session/devices/${id}`)).statusCode, 204)
    t.equal((await phone.send('GET', '/session')).statusCode, 401)
    t.equal((await tablet.send('GET', '/session')).statusCode, 200)
  })

  t.test('all other devices are signed out at once, and this one is not', async (t) => {
    t.equal((await laptop.send('DELETE', '/session/devices')).statusCode, 204)
    t.equal((await tablet.send('GET', '/session')).statusCode, 401)
    t.equal((await laptop.send('GET', '/session')).statusCode, 200)
  })
})
