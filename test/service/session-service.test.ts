import tap, { test } from 'tap'
import { testDatabase } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { startService } from '../support/service.ts'
import { Browser } from '../support/session-browser.ts'

tap.setTimeout(300_000)

test('sessions of the service', { timeout: 300_000 }, async (t) => {
  const [shared, own] = [await startRedis(t), await startRedis(t, { args: ['--maxmemory', '64mb', '--maxmemory-policy', 'noeviction'] })]
  const environment = { REDIS_URL: shared.url, SESSION_REDIS_URL: own.url, DATABASE_PATH: testDatabase(t) }
  const [one, other] = [await startService(t, environment), await startService(t, environment)]

  t.test('are shared by two processes, and stored in a separate Redis', async (t) => {
    const browser = new Browser(one.url)
    await browser.post('/users', { name: 'Ada', password: 'correct horse' })
    t.equal((await browser.post('/session', { name: 'Ada', password: 'correct horse' })).status, 200)
    const elsewhere = browser.copy(other.url)

    t.match((await elsewhere.get('/session')).body, { name: 'Ada' })
    t.match(await own.client.keys('session:*'), [/^session:\{[\w-]+\}$/])
    t.same(await shared.client.keys('session:*'), [])
    await shared.client.flushall()
    t.match((await elsewhere.get('/session')).body, { name: 'Ada' })
    t.equal((await browser.delete('/session')).status, 204)
    t.equal((await elsewhere.get('/session')).status, 401)
  })

  t.test('reject a page of another origin before it can sign in', async (t) => {
    const response = await new Browser(one.url).post('/session', { name: 'Ada', password: 'correct horse' }, { origin: 'https://evil.example' })

    t.match(response, { status: 403, setCookie: [], body: { code: 'PRISM_ERR_ORIGIN', title: 'Forbidden' } })
  })

  t.test('are not in the log: no cookie, no ID, no password', async (t) => {
    const browser = new Browser(one.url)
    await browser.post('/session', { name: 'Ada', password: 'correct horse' })
    const [value = ''] = browser.cookies.values()
    await browser.get('/session')
    const log = [...one.logs, ...other.logs].join('\n')

    t.notMatch(log, /may evict sessions/, 'for their own server does not')
    t.ok(value.length > 50 && log.length > 0)
    t.equal(log.includes(value) || log.includes(value.slice(20, 60)) || log.includes('correct horse'), false)
  })
})
