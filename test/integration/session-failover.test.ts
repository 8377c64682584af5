import { Redis } from 'ioredis'
import tap, { test } from 'tap'
import { disconnectTimeout } from '../support/redis-process.ts'
import { startSentinel } from '../support/sentinel.ts'
import { buildSessionApp } from '../support/session-app.ts'
import { Browser } from '../support/session-browser.ts'
import { until } from '../support/until.ts'

tap.setTimeout(300_000)

test('a replica that becomes master without a sign-out does not restore the session', { timeout: 300_000 }, async (t) => {
  const group = await startSentinel(t)
  const [master, replica] = group.servers
  if (master === undefined || replica === undefined) throw new Error('a master and a replica')
  const app = await buildSessionApp(t, `redis+sentinel://${group.sentinels.map(({ host, port }) => `${host}:${port}`).join()}/${group.name}`)
  const operator = new Redis(master.url, { disconnectTimeout })
  t.after(() => { operator.disconnect() })
  const [out, stays] = [new Browser(app), new Browser(app)]
  for (const [browser, user] of [[out, 'out'], [stays, 'stays']] as const) await until(async () => (await browser.post(`/sign-in/${user}`)).status === 200, { what: 'the user is signed in' })
  const thief = out.copy()
  t.equal(await operator.wait(1, 5000), 1, 'the replica has both sessions')

  process.kill(replica.pid, 'SIGSTOP')
  await operator.call('CLIENT', 'KILL', 'TYPE', 'replica')
  t.equal((await out.post('/sign-out')).status, 200)
  operator.disconnect()
  await master.kill()
  process.kill(replica.pid, 'SIGCONT')
  const promoted = new Redis(replica.url, { disconnectTimeout })
  t.after(() => { promoted.disconnect() })
  t.equal(await promoted.exists('session:{out}'), 1, 'the new master does not know the sign-out')

  await until(async () => (await stays.get('/required')).status === 200, { what: 'the new master is found', deadlineMs: 60_000 })
  // Another connection may still have the master that was killed: 503. It is never 200.
  const refused = await until(async () => {
    const { status } = await thief.get('/required')
    return status !== 503 && status
  }, { what: 'the session is decided upon' })
  t.equal(refused, 401)
  await until(async () => await promoted.exists('session:{out}') === 0, { what: 'the revocation is repeated at the new master' })
})
