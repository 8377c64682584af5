import t from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { buildTestApp, testDatabase } from '../support/app.ts'
import { startRig } from '../support/faults.ts'
import { startRedis } from '../support/redis.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'
import { untilHit, SignedInClient } from '../support/signed-in-client.ts'

t.setTimeout(300_000)

t.test('a written note shows in the next read in another process, repeatedly', async (t) => {
  const environment = { REDIS_URL: (await startRedis(t)).url, DATABASE_PATH: testDatabase(t) }
  const [here, there] = await Promise.all([startService(t, environment), startService(t, environment)])
  const cookie = await signIn(here.url)
  const read = async () => await (await fetch(`${there.url}/cities/2988507`)).json() as { notes: Array<{ text: string }> }
  await until(async () => /hit/.test((await fetch(`${there.url}/cities/2988507`)).headers.get('cache-status') ?? ''), { what: 'a hit' })

  for (const text of Array.from({ length: 20 }, (_, index) => `Note ${index}.`)) {
    const { status } = await fetch(`${here.url}/cities/2988507/notes`, { method: 'PUT', headers: { cookie, 'content-type': 'application/json' }, body: JSON.stringify({ text }) })
    t.equal(status, 200)
    t.match((await read()).notes, [{ text }])
  }
})

t.test('a note written while another process fills its city shows in the next read there', async (t) => {
  const { url, proxy, redis } = await startRig(t)
  const databasePath = testDatabase(t)
  const here = await buildTestApp(t, { redisUrl: redis.url, databasePath })
  const there = await buildTestApp(t, { redisUrl: url, redisCommandTimeoutMs: defaultDeadlineMs, databasePath })
  const ada = await new SignedInClient(here).signIn('Ada')
  const notesOf = there.atlas.notes.of.bind(there.atlas.notes)
  let written: Promise<unknown> | undefined
  there.atlas.notes.of = (id) => {
    const old = notesOf(id)
    written ??= writeMeanwhile()
    return old
  }
  // From here on, stores of the filling process reach Redis only after the purge.
  async function writeMeanwhile (): Promise<number> {
    await proxy.fault('partition')
    const { statusCode } = await ada.send('PUT', '/cities/2988507/notes', { text: 'Lovely.' })
    await proxy.heal()
    return statusCode
  }

  const filling = await there.inject('/cities/2988507')

  t.same(filling.json().notes, [], 'read before the write')
  t.equal(await written, 200)
  await until(() => there.redisPool.state === 'ready', { what: 'Redis is reachable again' })
  t.match((await there.inject('/cities/2988507')).json().notes, [{ text: 'Lovely.' }])
  t.match((await untilHit(() => here.inject('/cities/2988507'))).json().notes, [{ text: 'Lovely.' }])
})

async function signIn (url: string): Promise<string> {
  const account = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: 'Ada', password: 'correct horse' }) }
  await fetch(`${url}/users`, account)
  const { headers } = await fetch(`${url}/session`, account)
  return headers.getSetCookie()[0]?.split(';')[0] ?? ''
}
