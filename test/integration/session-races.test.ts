import { randomInt } from 'node:crypto'
import tap, { test } from 'tap'
import { Browser } from '../support/session-browser.ts'
import type { BrowserResponse } from '../support/session-browser.ts'
import { startRedis } from '../support/redis.ts'
import { buildSessionApp, openGates } from '../support/session-app.ts'
import { startSessionProcess } from '../support/session-process.ts'
import { until } from '../support/until.ts'

tap.setTimeout(300_000)

test('sessions in two processes', { timeout: 300_000 }, async (t) => {
  const redis = await startRedis(t)
  const homes = await Promise.all([startSessionProcess(t, redis.url), startSessionProcess(t, redis.url)])
  const homeOf = (index: number) => homes[index % 2] ?? ''
  const signedIn = async (user: string, options?: object) => {
    const browser = new Browser(homeOf(0))
    await until(async () => (await browser.post(`/sign-in/${user}`, options)).status === 200, { what: 'the user is signed in' }) // on a busy machine Redis can time out
    return browser
  }
  const statusesOf = (responses: BrowserResponse[]) => Object.entries(Object.groupBy(responses, ({ status }) => status)).map(([status, group]) => [status, group?.length])

  t.test('fifty concurrent writes of fifty keys are all saved', async (t) => {
    const browser = await signedIn('ada')
    const responses = await Promise.all(numbers(50).map((index) => browser.copy(homeOf(index)).post(`/set/test-${index}/${index}`)))
    const values = await Promise.all(numbers(50).map(async (index) => (await browser.get(`/get/test-${index}`)).body))

    t.same(statusesOf(responses), [['200', 50]])
    t.same(values, numbers(50).map((index) => ({ value: String(index) })))
  })

  t.test('fifty concurrent updates of one list are all saved', async (t) => {
    const browser = await signedIn('ada')
    const responses = await Promise.all(numbers(50).map((index) => browser.copy(homeOf(index)).post('/push/test-list/alike')))
    const { value } = (await browser.get('/get/test-list')).body as { value: string[] }

    t.same(statusesOf(responses), [['200', 50]])
    t.equal(value.length, 50)
  })

  t.test('two requests read one key and then set or delete it: one succeeds, the other gets 409, which names update', async (t) => {
    for (const [what, change] of Object.entries({ set: '/replace/test-a', delete: '/read-and-delete/test-a' })) {
      const browser = await signedIn(`reads-${what}`)
      await browser.post('/set/test-a/before')
      const slow = [0, 1].map((index) => browser.copy(homeOf(index)).post(what === 'set' ? `${change}/${index}?gate=${what}` : `${index === 0 ? change : '/replace/test-a/1'}?gate=${what}`))
      await openGates(homes.map((home) => new Browser(home)), what, 1)
      const responses = await Promise.all(slow)
      const { value } = (await browser.get('/get/test-a')).body as { value?: string }

      t.same(responses.map(({ status }) => status).sort(), [200, 409])
      t.match(responses.find(({ status }) => status === 409)?.body, { code: 'PRISM_ERR_SESSION_CONFLICT', message: /session\.update\(\)/ })
      t.equal(responses[what === 'set' ? Number(value) : Number(value ?? 0)]?.status, 200)
    }
  })

  t.test('requests that set or delete one key without reading it all succeed, the last save wins, and each overwrite is counted', async (t) => {
    const browser = await signedIn('blind')
    const overwritten = async () => {
      const counts = await Promise.all(homes.map(async (home) => ((await new Browser(home).get('/saves')).body as { overwritten: number }).overwritten))
      return counts.reduce((sum, count) => sum + count)
    }
    const before = await overwritten()
    const slow = numbers(6).map((index) => browser.copy(homeOf(index)).post(`/set/test-seen/${index}?gate=blind`))
    await openGates(homes.map((home) => new Browser(home)), 'blind', 3)
    const responses = await Promise.all(slow)
    const { value } = (await browser.get('/get/test-seen')).body as { value: string }

    t.same(statusesOf(responses), [['200', 6]])
    t.match(value, /^[0-5]$/)
    t.equal(await overwritten() - before, 5)
    const mixed = ['/delete/test-seen', '/set/test-seen/x'].map((path, index) => browser.copy(homeOf(index)).post(`${path}?gate=mixed`))
    await openGates(homes.map((home) => new Browser(home)), 'mixed', 1)
    t.same(statusesOf(await Promise.all(mixed)), [['200', 2]])
    t.equal(await overwritten() - before, 6)
  })

  t.test('a set without a read gets 401 after a sign-in, rotation or revocation, and is not in the new session', async (t) => {
    for (const [act, path] of Object.entries({ 'sign-in': '/sign-in/crossing-sign-in', rotate: '/rotate', 'sign-out': '/sign-out', 'revoke-all': '/revoke-all/crossing-revoke-all' })) {
      const browser = await signedIn(`crossing-${act}`)
      await browser.post('/set/test-a/before')
      const slow = browser.copy(homeOf(1)).post(`/set/test-a/after?gate=${act}`)
      await until(async () => (await new Browser(homeOf(1)).get(`/gates/${act}`)).body === 1, { what: 'the request has loaded its session' })
      t.equal((await browser.post(path)).status, 200)
      await new Browser(homeOf(1)).post(`/gates/${act}`)

      t.match(await slow, { status: 401, body: { code: 'PRISM_ERR_SESSION_ENDED' } }, act)
      t.notSame((await browser.get('/get/test-a')).body, { value: 'after' })
    }
  })

  t.test('keys of widely used plugins that read and then set do not conflict, although no rule names them', async (t) => {
    const browser = await signedIn('plugins')
    for (const key of ['_csrf', 'flash', 'passport', 'messages', 'returnTo']) {
      const slow = numbers(3).map((index) => browser.copy(homeOf(index)).post(`/replace/${key}/${index}?gate=${key}`))
      await until(async () => (await Promise.all(homes.map(async (home) => Number((await new Browser(home).get(`/gates/${key}`)).body)))).reduce((sum, waiting) => sum + waiting) === 3, { what: 'three requests have loaded the session' })
      for (const home of homes) await new Browser(home).post(`/gates/${key}`)

      t.same(statusesOf(await Promise.all(slow)), [['200', 3]], key)
    }
  })

  t.test('a slow request that ends after the sign-out does not restore the session, and its write is reported as lost', async (t) => {
    const browser = await signedIn('slow')
    const posted = (path: string) => browser.copy(homeOf(1)).post(path)
    const slow = [posted('/set/test-a/1?gate=out'), posted('/push/test-b/1?gate=out'), posted('/rotate?gate=out'), browser.copy(homeOf(1)).get('/get/test-a?gate=out')]
    const thief = browser.copy(homeOf(1))
    const gated = new Browser(homeOf(1))
    await until(async () => (await gated.get('/gates/out')).body === 4, { what: 'four requests have loaded' })
    await browser.post('/sign-out')
    await gated.post('/gates/out')
    const responses = await Promise.all(slow)

    t.same(responses.map(({ status, setCookie }) => [status, setCookie.length]), [[401, 0], [401, 0], [401, 0], [200, 0]])
    t.match(responses[0]?.body, { code: 'PRISM_ERR_SESSION_ENDED' })
    t.equal((await thief.get('/required')).status, 401)
    t.equal(await redis.client.exists('session:{slow}'), 0)
  })

  t.test('sign-ins that copy a list while ten requests push to it: each push is in the new session\'s list, or reported as lost', async (t) => {
    for (const round of numbers(5)) {
      const browser = new Browser(homeOf(round))
      await until(async () => (await browser.post('/push/test-list/first')).status === 200, { what: 'an anonymous session' })
      const tabs = numbers(10).map((index) => browser.copy(homeOf(index)))
      const gate = `carry-${round}`
      const slow = browser.post(`/sign-in/carrying-${round}?gate=${gate}`, { keep: ['test-list'] })
      const pushes = tabs.map(async (tab, index) => ({ index, ...await tab.post(`/push/test-list/${index}${index < 3 ? '' : `?gate=${gate}`}`) }))
      await until(async () => (await Promise.all(homes.map(async (home) => Number((await new Browser(home).get(`/gates/${gate}`)).body)))).reduce((sum, waiting) => sum + waiting) === 8, { what: 'eight requests have loaded the session' })
      await Promise.all(homes.map((home) => new Browser(home).post(`/gates/${gate}`)))
      const responses = await Promise.all(pushes)
      t.equal((await slow).status, 200)
      const { value } = (await browser.get('/get/test-list')).body as { value: string[] }

      t.same(responses.filter(({ status }) => ![200, 401].includes(status)), [])
      t.same(responses.filter(({ status, index }) => status === 200 && !value.includes(String(index))).map(({ index }) => index), [])
      t.equal(value[0], 'first')
    }
  })

  t.test('two concurrent rotations: one succeeds, and one ID is valid', async (t) => {
    for (const round of numbers(20)) {
      const user = `rotating-${round}`
      const browser = await signedIn(user)
      const tabs = [0, 1].map((index) => browser.copy(homeOf(index)))
      const responses = await Promise.all(tabs.map((tab) => tab.post('/rotate')))
      const alive = await Promise.all([browser, ...tabs].map(async (tab) => (await tab.get('/required')).status))

      t.same(responses.map(({ status }) => status).sort(), [200, 401])
      t.same(alive, [401, ...responses.map(({ status }) => status)])
      t.equal(await redis.client.hlen(`session:{${user}}`), 1)
    }
  })

  t.test('three hundred interleavings of sign-out, save, touch and rotate restore no ended session', async (t) => {
    const mix = async (round: number) => {
      const user = `mixed-${round}`
      const browser = await signedIn(user)
      await age(redis.client, `session:{${user}}`)
      const acts = ['/sign-out', '/set/test-a/1', '/push/test-b/1', '/rotate', '/rotate', '/me', '/required']
      const tabs = shuffled(acts).map((path, index) => {
        const tab = browser.copy(homeOf(index + round))
        return { path, tab, pending: path.startsWith('/me') || path.startsWith('/required') ? tab.get(path) : tab.post(path) }
      })
      const responses = await Promise.all(tabs.map(async ({ path, pending }) => ({ path, ...await pending })))
      const alive = await Promise.all([browser, ...tabs.map(({ tab }) => tab)].map(async (tab) => (await tab.get('/required')).status))
      return { signedOut: responses.find(({ path }) => path === '/sign-out')?.status, odd: responses.filter(({ status }) => ![200, 401].includes(status)), alive: alive.filter((status) => status !== 401), left: await redis.client.exists(`session:{${user}}`) }
    }
    const outcomes = []
    for (const batch of numbers(30)) outcomes.push(...await Promise.all(numbers(10).map((index) => mix(batch * 10 + index))))

    t.equal(outcomes.length, 300)
    t.same(outcomes.filter(({ signedOut, odd, alive, left }) => signedOut !== 200 || odd.length > 0 || alive.length > 0 || left !== 0), [])
  })

  t.test('a sign-out with the ID from before a rotation ends the session', async (t) => {
    const browser = await signedIn('rotated')
    const stale = browser.copy(homeOf(1))
    await browser.post('/rotate')

    t.equal((await stale.get('/required')).status, 401)
    t.equal((await stale.post('/sign-out')).status, 200)
    t.equal((await browser.get('/required')).status, 401)
  })

  t.test('signing out all devices during saves leaves no session', async (t) => {
    const devices = await Promise.all(numbers(8).map(() => signedIn('everywhere')))
    const saves = devices.flatMap((device, index) => [device.copy(homeOf(index)).post('/push/test-a/1'), device.copy(homeOf(index + 1)).post('/rotate')])
    const revoked = new Browser(homeOf(1)).post('/revoke-all/everywhere')
    const responses = await Promise.all(saves)

    t.equal((await revoked).status, 200)
    t.same(responses.filter(({ status }) => ![200, 401].includes(status)), [])
    // For some milliseconds the key holds the last creation; a session lives for an hour.
    await until(async () => await redis.client.exists('session:{everywhere}') === 0, { what: 'no session is left' })
  })

  t.test('twenty-two concurrent sign-ins in two processes leave ten devices', async (t) => {
    const first = await signedIn('many')
    await age(redis.client, 'session:{many}')
    const browsers = numbers(22).map((index) => new Browser(homeOf(index)))
    await Promise.all(browsers.map((browser) => browser.post('/sign-in/many')))
    const statuses = await Promise.all(browsers.map(async (browser) => (await browser.get('/required')).status))
    const ids = ((await browsers[statuses.indexOf(200)]?.get('/devices'))?.body as { id: string }[]).map(({ id }) => id)

    t.equal(await redis.client.hlen('session:{many}'), 10)
    t.equal(statuses.filter((status) => status === 200).length, 10)
    t.equal((await first.get('/required')).status, 401, 'the least recently used ends first')
    t.equal(new Set(ids).size, 10, 'all IDs differ')
  })

  t.test('keys with a rule do not conflict', async (t) => {
    const merge = (base: unknown, mine: unknown, theirs: unknown) => Number(mine) + Number(theirs) - Number(base)
    const keys = { 'test-theme': 'lastWriteWins', 'test-sum': merge } as const
    const apps = await Promise.all([0, 1].map(() => buildSessionApp(t, redis.url, { onConflict: keys })))
    const browser = new Browser(apps[0] ?? '')
    await browser.post('/sign-in/ruled')
    await browser.post('/set/test-sum/10')
    const slow = apps.flatMap((app, index) => [browser.copy(app).post(`/set/test-theme/${index}?gate=on`), browser.copy(app).post(`/set/test-sum/${index + 11}?gate=on`)])
    await openGates(apps.map((app) => new Browser(app)), 'on', 2)
    const responses = await Promise.all(slow)

    t.same(statusesOf(responses), [['200', 4]])
    t.same((await browser.get('/get/test-sum')).body, { value: 13 })
    const defaults = await Promise.all([0, 1].map(() => buildSessionApp(t, redis.url, { onConflict: { default: 'lastWriteWins' } })))
    const parallel = defaults.map((app, index) => browser.copy(app).post(`/replace/test-any/${index}?gate=any`))
    await openGates(defaults.map((app) => new Browser(app)), 'any', 1)

    t.same(statusesOf(await Promise.all(parallel)), [['200', 2]], 'other keys do not conflict if `default` has a rule')
  })
})

/** Makes a session look unused for ten minutes, so that the next load updates its last use. */
async function age (client: Awaited<ReturnType<typeof startRedis>>['client'], key: string): Promise<void> {
  for (const [field, value] of Object.entries(await client.hgetall(key))) {
    await client.hset(key, field, value.replace(/^\d+ (\d+ \d+ \d+ \d+ \d+) (\d+)/, (_all, head: string, seen: string) => `${'0'.repeat(13)} ${head} ${Number(seen) - 600_000}`))
  }
}

function numbers (count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

function shuffled<Thing> (things: readonly Thing[]): Thing[] {
  return things.map((thing) => ({ thing, rank: randomInt(2 ** 32) })).sort((one, other) => one.rank - other.rank).map(({ thing }) => thing)
}
