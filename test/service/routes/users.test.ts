import { test } from 'tap'
import { buildTestApp } from '../../support/app.ts'
import { unlessLate } from '../../support/wait-for-redis.ts'
import { SignedInClient } from '../../support/signed-in-client.ts'

test('users', async (t) => {
  const app = await buildTestApp(t)
  const become = (name: string, password = 'correct horse') => unlessLate(() => new SignedInClient(app).send('POST', '/users', { name, password }))

  t.test('a sign-up creates a user, and its response does not contain the password', async (t) => {
    const response = await become('Ada Lovelace')

    t.equal(response.statusCode, 201)
    t.same(response.json(), { name: 'Ada Lovelace' })
    t.equal(response.headers['set-cookie'], undefined)
  })

  t.test('a name is assigned once, whatever its case and width', async (t) => {
    t.match((await become('ＡDA lovelace')).json(), { status: 409, code: 'PRISM_ERR_NAME_TAKEN' })
  })

  t.test('a deceptive name and a weak password are rejected', async (t) => {
    for (const name of ['', ' Ada', 'Ad\u200ba', 'Ada\u202e', 'Ada\n', '<b>', 'Ada ', 'Ada  L', 'Ada\u034f', 'Ada\ufe0f', '\u3164', 'x'.repeat(41)]) t.equal((await become(name)).statusCode, 400, JSON.stringify(name))
    for (const password of ['', 'seven77', 'x'.repeat(201)]) t.equal((await become('Grace', password)).statusCode, 400, password)
    t.equal((await new SignedInClient(app).send('POST', '/users', { name: 'Grace', password: 'correct horse', admin: true })).statusCode, 400)
  })
})
