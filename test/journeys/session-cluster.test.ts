import tap, { test } from 'tap'
import { startCluster } from '../helpers/cluster.ts'
import { buildSessionApp } from '../helpers/session-app.ts'
import { Browser } from '../helpers/session-browser.ts'
import { until } from '../helpers/until.ts'

tap.setTimeout(120_000)

test('sessions in a Cluster', { timeout: 120_000 }, async (t) => {
  const cluster = await startCluster(t)
  const apps = await Promise.all([0, 1].map(() => buildSessionApp(t, cluster.url)))
  const homeOf = (index: number) => apps[index % 2] ?? ''
  const users = Array.from({ length: 12 }, (_, index) => `user-${index}`)

  t.test('live a whole life, on whatever slot: written, carried, rotated, listed, ended', async (t) => {
    await Promise.all(users.map(async (user, index) => {
      const browser = new Browser(homeOf(index))
      await browser.post('/push/test-a/before')
      t.equal((await browser.post(`/sign-in/${user}`, { carry: ['test-a'] })).status, 200)
      await Promise.all([0, 1, 2, 3].map((other) => browser.copy(homeOf(other)).post('/push/test-a/alike')))
      const thief = browser.copy(homeOf(index + 1))
      t.equal((await browser.post('/rotate')).status, 200)
      t.same((await browser.copy(homeOf(index + 1)).get('/get/test-a')).body, { value: ['before', 'alike', 'alike', 'alike', 'alike'] })
      t.equal(((await browser.get('/devices')).body as unknown[]).length, 1)
      t.equal((await thief.get('/required')).status, 401)
      t.equal((await browser.post('/sign-out')).status, 200)
      t.equal((await browser.copy().get('/required')).status, 401)
    }))
  })

  t.test('stay while their slot moves to another master', async (t) => {
    const browser = new Browser(homeOf(0))
    await browser.post('/sign-in/moving')
    const slot = await cluster.slotOf('session:{moving}')
    const from = await cluster.ownerOf(slot)
    const to = cluster.masters.find((master) => master !== from) ?? from
    const migration = await cluster.openMigration(slot, to)

    t.equal((await browser.post('/push/test-a/during')).status, 200)
    await migration.moveKeys()
    t.equal((await browser.post('/push/test-a/moved')).status, 200)
    await migration.close()
    await until(async () => (await browser.post('/push/test-b/after')).status === 200, { what: 'it can be written at its new place' })
    t.same((await browser.copy(homeOf(1)).get('/get/test-a')).body, { value: ['during', 'moved'] })
  })
})
