import tap, { test } from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { Browser } from '../support/session-browser.ts'
import { faults, startRig } from '../support/faults.ts'
import { takeSnapshot } from '../support/process-faults.ts'
import { buildSessionApp, openGates } from '../support/session-app.ts'
import { until } from '../support/until.ts'

/** Upper bound for a response during an outage: generous, for a busy machine. */
const patienceMs = 10_000
const away = ['hung', 'blackHole', 'replyLost', 'reset', 'partition'] as const

tap.setTimeout(300_000)

test('sessions during Redis faults', { timeout: 300_000 }, async (t) => {
  const rig = await startRig(t)
  const app = await buildSessionApp(t, rig.url, { commandTimeout: defaultDeadlineMs })
  const signedIn = async (user: string) => {
    const browser = new Browser(app)
    await until(async () => (await browser.post(`/sign-in/${user}`)).status === 200, { what: 'Redis is reachable again' })
    return browser
  }
  const comesBack = async (browser: Browser) => await until(async () => (await browser.get('/required')).status === 200, { what: 'the session is readable again' })

  for (const name of away) {
    const during = async (act: () => Promise<void>) => {
      await faults[name].inject(rig)
      await act().finally(() => faults[name].heal(rig))
    }

    t.test(`${name}: a signed-in client is rejected where a session is required, accepted elsewhere, and never signed out`, async (t) => {
      const browser = await signedIn(`reads-${name}`)
      await during(async () => {
        t.match(await within(browser.get('/required')), { status: 503, body: { code: 'PRISM_ERR_SESSION_UNAVAILABLE' }, setCookie: [] })
        t.match(await within(browser.get('/me')), { status: 200, body: { state: 'unavailable' }, setCookie: [] })
        t.match(await within(browser.post('/set/test-a/1')), { status: 503, setCookie: [] })
        t.match(await within(new Browser(app).get('/required')), { status: 401 })
        t.match(await within(new Browser(app).get('/me')), { status: 200, body: { state: 'anonymous' } })
        t.match(await within(new Browser(app).post('/set/test-a/1')), { status: 503, setCookie: [] })
      })
      await comesBack(browser)
    })

    t.test(`${name}: between load and save no unsaved change is confirmed`, async (t) => {
      const browser = await signedIn(`saves-${name}`)
      const slow = [browser.post(`/set/test-a/1?gate=${name}`), browser.post(`/push/test-b/1?gate=${name}`), browser.get(`/get/test-a?gate=${name}`)]
      await until(async () => (await browser.get(`/gates/${name}`)).body === 3, { what: 'all requests have loaded' })
      await during(async () => {
        await openGates([new Browser(app)], name, 3)
        const responses = await within(Promise.all(slow))

        t.same(responses.map(({ status, setCookie }) => [status, setCookie.length]), [[503, 0], [503, 0], [200, 0]])
      })
      await comesBack(browser)
    })

    t.test(`${name}: a sign-out is not confirmed, a rotation loses no session, a failed sign-in leaves none`, async (t) => {
      const [leaving, rotating, entering] = [await signedIn(`leaves-${name}`), await signedIn(`rotates-${name}`), new Browser(app)]
      await rotating.post('/set/test-a/kept')
      const slow = rotating.post(`/rotate?gate=rotate-${name}`)
      await until(async () => (await rotating.get(`/gates/rotate-${name}`)).body === 1, { what: 'the request has loaded' })
      await during(async () => {
        await openGates([new Browser(app)], `rotate-${name}`, 1)
        const { setCookie } = await within(slow)
        t.equal(setCookie.length, 1, 'a cookie that is valid under either ID')
        t.match(await within(leaving.post('/sign-out')), { status: 503, setCookie: [] })
        t.match(await within(entering.post(`/sign-in/enters-${name}`)), { status: 503, setCookie: [] })
      })
      await comesBack(rotating)
      t.same((await rotating.get('/get/test-a')).body, { value: 'kept' })
      await until(async () => await rig.control.exists(`session:{enters-${name}}`) === 0, { what: 'the session without a cookie is deleted' })
      t.match(await leaving.post('/sign-out'), { status: 200, setCookie: [/Max-Age=0/] })
      t.equal((await leaving.get('/required')).status, 401)
    })
  }

  t.test('killed and empty: all sessions are lost, and a new sign-in works at once', async (t) => {
    const browser = await signedIn('killed')
    const slow = [browser.post('/set/test-a/1?gate=killed'), browser.post('/sign-out?gate=killed')]
    await until(async () => (await browser.get('/gates/killed')).body === 2, { what: 'both requests have loaded' })
    await faults.killed.inject(rig)
    await openGates([new Browser(app)], 'killed', 2)
    t.same((await within(Promise.all(slow))).map(({ status, setCookie }) => [status, setCookie]), [[503, []], [503, []]])
    t.match(await within(browser.get('/required')), { status: 503, setCookie: [] })
    t.match(await within(browser.post('/sign-out')), { status: 503, setCookie: [] })
    await faults.killed.heal(rig)
    await until(async () => (await browser.get('/required')).status === 401, { what: 'Redis is reachable again' })
    t.equal((await browser.post('/sign-in/killed')).status, 200)
  })

  t.test('a loss of the scripts is not visible to clients', async (t) => {
    const browser = await signedIn('scripts')
    await faults.scriptsFlushed.inject(rig)
    t.equal((await browser.post('/set/test-a/1')).status, 200)
    await faults.scriptsFlushed.inject(rig)
    t.equal((await browser.post('/rotate')).status, 200)
    await faults.scriptsFlushed.inject(rig)
    t.equal((await browser.post('/sign-out')).status, 200)
  })

  for (const [name, mayLeave] of [['full', true], ['readOnly', false], ['noReplicas', false]] as const) {
    t.test(`${name}: sessions are read, and no request that needs a write is confirmed`, async (t) => {
      const browser = await signedIn(name)
      const leaving = await signedIn(name)
      await makeStale(rig.control, `session:{${name}}`)
      await faults[name].inject(rig)
      try {
        t.match(await within(browser.get('/required')), { status: 200 }, 'a request whose last use cannot be written succeeds')
        t.match(await within(browser.post('/set/test-a/1')), { status: 503, setCookie: [] })
        t.match(await within(new Browser(app).post('/sign-in/other')), { status: 503, setCookie: [] })
        t.match(await within(leaving.post('/sign-out')), mayLeave ? { status: 200, setCookie: [/Max-Age=0/] } : { status: 503, setCookie: [] })
      } finally {
        await faults[name].heal(rig)
      }
      await comesBack(browser)
      await until(async () => (await browser.post('/set/test-a/1')).status === 200, { what: 'writes work again' })
    })
  }

  t.test('a field that cannot be read: the request fails without a sign-out, and can be repaired', async (t) => {
    const corrupt = async (user: string, value: string) => {
      const browser = await signedIn(user)
      const [field = ''] = await rig.control.hkeys(`session:{${user}}`)
      const whole = await rig.control.hget(`session:{${user}}`, field) ?? ''
      await rig.control.hset(`session:{${user}}`, field, value.replace('HEAD ', whole.slice(0, whole.lastIndexOf('=') + 2)))
      return browser
    }
    const garbage = await corrupt('garbage', '\0ÿ{}')
    const broken = await corrupt('broken', 'HEAD {"test-a":')
    const list = await corrupt('list', 'HEAD []')

    t.match(await garbage.get('/required'), { status: 500, body: { code: 'PRISM_ERR_SESSION_CORRUPT' }, setCookie: [] })
    t.match(await garbage.get('/me'), { status: 200, body: { state: 'unavailable' }, setCookie: [] })
    t.match(await garbage.post('/sign-out'), { status: 200 })
    for (const browser of [broken, list]) {
      t.match(await browser.get('/required'), { status: 200 }, 'fields that are not read are not parsed')
      t.match(await browser.get('/get/test-a'), { status: 500, body: { code: 'PRISM_ERR_SESSION_CORRUPT' } })
      t.match(await browser.post('/set/test-a/1'), { status: 500 })
      t.match(await browser.post('/sign-in/broken', { keep: ['test-a'] }), { status: 200 })
      t.match(await browser.get('/required'), { status: 200 })
    }
    const wrongType = await signedIn('wrong-type')
    await rig.control.set('session:{wrong-type}', 'x')
    t.match(await wrongType.get('/required'), { status: 503, setCookie: [] })
  })

  t.test('a snapshot does not restore a session that was revoked after it', async (t) => {
    const [out, all, rotated, stays] = [await signedIn('snap-out'), await signedIn('snap-all'), await signedIn('snap-rotated'), await signedIn('snap-stays')]
    const before = rotated.copy()
    await takeSnapshot(rig)
    const thief = out.copy()
    await out.post('/sign-out')
    await out.post('/revoke-all/snap-all')
    await rotated.post('/rotate')
    await faults.restored.inject(rig)
    await comesBack(stays)

    for (const browser of [thief, all, before]) t.equal((await browser.get('/required')).status, 401)
    await until(async () => await rig.control.exists('session:{snap-out}', 'session:{snap-all}', 'session:{snap-rotated}') === 0, { what: 'the revocations are repeated' })
    const other = await buildSessionApp(t, rig.url, { commandTimeout: defaultDeadlineMs })
    t.equal((await thief.copy(other).get('/required')).status, 401)
    t.equal((await stays.copy(other).get('/required')).status, 200)
  })
})

async function within<Value> (pending: Promise<Value>): Promise<Value> {
  const started = Date.now()
  const response = await pending
  if (Date.now() - started > patienceMs) throw new Error(`took ${Date.now() - started} ms`)
  return response
}

/** Makes a session look unused for ten minutes, so that the next load updates its last use. */
async function makeStale (client: Awaited<ReturnType<typeof startRig>>['control'], key: string): Promise<void> {
  for (const [field, value] of Object.entries(await client.hgetall(key))) {
    await client.hset(key, field, value.replace(/^\d+ (\d+ \d+ \d+ \d+ \d+) (\d+)/, (_all, head: string, seen: string) => `${'0'.repeat(13)} ${head} ${Number(seen) - 600_000}`))
  }
}

test('a sign-in that cannot keep what it names fails, and leaves the session that has it', async (t) => {
  const rig = await startRig(t)
  const app = await buildSessionApp(t, rig.redis.url, { commandTimeout: 200 })
  const tab = new Browser(app)
  t.equal((await tab.post('/push/test-cart/one')).status, 200)
  rig.redis.signal('SIGSTOP')
  setTimeout(() => rig.redis.signal('SIGCONT'), 350)
  t.match(await tab.post('/sign-in/ann', { keep: ['test-cart'] }), { status: 503, body: { code: 'PRISM_ERR_SESSION_UNAVAILABLE' } })
  await until(async () => (await tab.get('/get/test-cart')).status === 200, { what: 'Redis is back' })

  t.match(JSON.stringify((await tab.get('/get/test-cart')).body), 'one')
})
