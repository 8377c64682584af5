import { test } from 'tap'
import { buildTestApp } from '../../support/app.ts'
import { until } from '../../support/until.ts'
import { SignedInClient } from '../../support/signed-in-client.ts'

test('session', { timeout: 300_000 }, async (t) => {
  const app = await buildTestApp(t)
  const ada = new SignedInClient(app)

  t.test('a client is anonymous before the sign-in, signed in after it, and anonymous after the sign-out', async (t) => {
    t.equal((await ada.send('GET', '/session')).statusCode, 401)
    t.match((await (await ada.signIn('Ada')).send('GET', '/session')).json(), { name: 'Ada' })
    t.equal((await ada.send('DELETE', '/session')).statusCode, 204)
    t.equal((await ada.send('GET', '/session')).statusCode, 401)
    t.equal((await ada.send('DELETE', '/session')).statusCode, 204)
  })

  t.test('an unknown name and a wrong password have the same response', async (t) => {
    const responses = [
      await new SignedInClient(app).send('POST', '/session', { name: 'ada', password: 'wrong horse' }),
      await new SignedInClient(app).send('POST', '/session', { name: 'unknown', password: 'correct horse' })
    ]

    const [wrong, unknown] = responses.map((response) => ({ status: response.statusCode, fields: Object.keys(response.headers), body: { ...response.json(), instance: '' } }))
    t.match(wrong, { status: 401, body: { code: 'PRISM_ERR_CREDENTIALS' } })
    t.same(unknown, wrong)
  })

  t.test('the sixth sign-in of a minute is rejected', async (t) => {
    const app = await buildTestApp(t)
    let clients = 0
    const triesOfOne = async () => {
      const remoteAddress = `192.0.2.${++clients}`
      const tries: number[] = []
      for (let count = 0; count < 6; count++) tries.push((await app.inject({ method: 'POST', url: '/session', payload: { name: 'x', password: 'y' }, remoteAddress })).statusCode)
      return tries
    }

    // A Redis timeout leaves it unknown whether the attempt was counted: another client tries.
    t.same(await until(async () => {
      const tries = await triesOfOne()
      return !tries.includes(503) && tries
    }, { what: 'six attempts with a reply of Redis in time' }), [401, 401, 401, 401, 401, 429])
  })

  t.test('the eleventh attempt of a minute at one account is rejected from any address, in any spelling, whether the account exists or not', async (t) => {
    const app = await buildTestApp(t)
    let clients = 0
    const attempt = async (name: string) => (await app.inject({ method: 'POST', url: '/session', payload: { name, password: 'y' }, remoteAddress: `192.0.2.${++clients}` }))
    const spellings = ['Grace', 'GRACE', 'grace', '\uff27race']

    const replies = await Promise.all(Array.from({ length: 14 }, (_none, count) => attempt(spellings[count % spellings.length] ?? '')))
    const statuses = replies.map(({ statusCode }) => statusCode)
    const refused = await attempt('grace')
    // 503 after a Redis timeout, or if too many passwords wait on a busy machine.
    t.ok(statuses.filter((status) => status === 429).length <= 4 && statuses.filter((status) => status === 401).length <= 10, statuses.join())
    t.same(statuses.filter((status) => ![401, 429, 503].includes(status)), [])
    t.match([refused.statusCode, refused.json().code, Number(refused.headers['retry-after']) > 0], [429, 'PRISM_ERR_ATTEMPTS_FULL', true])
    t.not((await attempt('another')).statusCode, 429, 'other accounts are not')
  })
})
