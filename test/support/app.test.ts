import t from 'tap'
import { buildTestApp } from './app.ts'

t.test('test apps on one Redis and one database form one service', async (t) => {
  const first = await buildTestApp(t)
  const { redisUrl, databasePath } = first.testConfig
  const second = await buildTestApp(t, { redisUrl, databasePath })

  const made = await first.inject({ method: 'POST', url: '/users', payload: { name: 'ada', password: 'correct horse' } })
  const signedIn = await second.inject({ method: 'POST', url: '/session', payload: { name: 'ada', password: 'correct horse' } })

  t.equal(made.statusCode, 201)
  t.equal(signedIn.statusCode, 200)
})

t.test('test apps are independent otherwise', async (t) => {
  const [first, second] = await Promise.all([buildTestApp(t), buildTestApp(t)])

  await first.inject({ method: 'POST', url: '/users', payload: { name: 'ada', password: 'correct horse' } })
  const elsewhere = await second.inject({ method: 'POST', url: '/session', payload: { name: 'ada', password: 'correct horse' } })

  t.equal(elsewhere.statusCode, 401)
  t.equal(elsewhere.json().code, 'PRISM_ERR_CREDENTIALS')
})
