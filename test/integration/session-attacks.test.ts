import { createHash } from 'node:crypto'
import tap, { test } from 'tap'
import { Browser } from '../support/session-browser.ts'
import { startRedis } from '../support/redis.ts'
import { buildSessionApp, sessionSecrets } from '../support/session-app.ts'
import { until } from '../support/until.ts'
import { atRest, countWrites } from '../support/writes.ts'

/** Each changes a valid cookie into one that must be rejected. */
const forgeries: Record<string, (value: string) => string> = {
  'one bit flipped in the middle': (value) => flip(value, 60),
  'one bit flipped in the tag': (value) => flip(value, value.length - 3),
  'one bit flipped in the nonce': (value) => flip(value, 13),
  cut: (value) => value.slice(0, -4),
  'cut to nothing': () => '',
  lengthened: (value) => `${value}AAAA`,
  'another version': (value) => value.replace(/^v1/, 'v0'),
  'an unknown version': (value) => value.replace(/^v1/, 'v2'),
  'no version': (value) => value.replace(/^v1\./, ''),
  'another key id': (value) => value.replace(/^v1\.[^.]+/, 'v1.AAAAAAAA'),
  padded: (value) => `${value}=`,
  'base64, not base64url': (value) => value.slice(0, 12) + Buffer.from(value.slice(12), 'base64url').toString('base64'),
  quoted: (value) => `"${value}"`,
  'spaces inside': (value) => `${value.slice(0, 40)} ${value.slice(40)}`,
  'ten kilobytes': (value) => value.padEnd(10_000, 'A'),
  'percent-encoded': (value) => value.replace('.', '%2E')
}

tap.setTimeout(300_000)

test('session attacks', { timeout: 300_000 }, async (t) => {
  const redis = await startRedis(t)
  const app = await buildSessionApp(t, redis.url)
  const signedIn = async (user: string) => {
    const browser = new Browser(app)
    await until(async () => (await browser.post(`/sign-in/${user}`)).status === 200, { what: 'the user is signed in' }) // on a busy machine Redis can time out
    return browser
  }
  const valueOf = (browser: Browser, name = 'sid') => browser.cookies.get(name) ?? ''

  t.test('a forged cookie opens no session and sends Redis nothing', async (t) => {
    const good = valueOf(await signedIn('ada'))
    const count = countWrites(t, redis.port)
    await atRest(count, app.redisPool.batch)
    for (const [name, forge] of Object.entries(forgeries)) {
      const browser = new Browser(app)
      browser.cookies.set('sid', forge(good))
      const { status } = await browser.get('/required')
      t.same([name, status, count.commandCount], [name, 401, 0])
    }
    t.same([count.commandCount, count.writes], [0, 0])
  })

  t.test('another base64url spelling of the same bytes is rejected', async (t) => {
    const browser = await signedIn('ada')
    const good = valueOf(browser)
    const twins = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].map((last) => good.slice(0, -1) + last)
      .filter((value) => value !== good && Buffer.from(value.slice(12), 'base64url').equals(Buffer.from(good.slice(12), 'base64url')))
    const count = countWrites(t, redis.port)
    await atRest(count, app.redisPool.batch)

    t.ok(twins.length > 0, 'this user id leaves bits over')
    for (const twin of twins) {
      browser.cookies.set('sid', twin)
      t.equal((await browser.get('/required')).status, 401)
    }
    t.equal(count.commandCount, 0)
  })

  t.test('a cookie is valid only under its own name', async (t) => {
    const overTls = { 'x-forwarded-proto': 'https' }
    const browser = new Browser(app)
    const { setCookie } = await browser.post('/sign-in/ada', undefined, overTls)
    const other = await buildSessionApp(t, redis.url, { cookie: { name: 'other' } })
    const count = countWrites(t, redis.port)
    const tries = [new Browser(app), new Browser(app), new Browser(other)]
    tries[0]?.cookies.set('sid', valueOf(browser, '__Host-sid'))
    tries[1]?.cookies.set('__Host-sid', valueOf(await signedIn('ada')))
    tries[2]?.cookies.set('other', valueOf(await signedIn('ada')))
    count.clear()

    t.match(setCookie, [/^__Host-sid=v1\.[^;]+; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Lax$/])
    t.equal((await browser.get('/required', overTls)).status, 200)
    t.equal((await browser.get('/required')).status, 401, 'over http the secure cookie is not looked at')
    await atRest(count, app.redisPool.batch)
    t.equal((await tries[0]?.get('/required'))?.status, 401)
    t.equal((await tries[1]?.get('/required', overTls))?.status, 401)
    t.equal((await tries[2]?.get('/required'))?.status, 401)
    t.equal(count.commandCount, 0)
  })

  t.test('two different cookies of the name are both rejected, in either order; two equal ones count as one', async (t) => {
    const [victim, attacker] = [await signedIn('victim'), await signedIn('attacker')]
    const sendRequest = (cookie: string) => new Browser(app).get('/required', { cookie })

    t.equal((await sendRequest(`sid=${valueOf(attacker)}; sid=${valueOf(victim)}`)).status, 401)
    t.equal((await sendRequest(`sid=${valueOf(victim)}; sid=${valueOf(attacker)}`)).status, 401)
    t.equal((await sendRequest(`sid=${valueOf(victim)}; sid=`)).status, 401)
    t.equal((await sendRequest(`sid=${valueOf(victim)};sid=${valueOf(victim)}`)).body, 'victim')
    t.equal((await sendRequest(`theme=x,sid=${valueOf(attacker)}; sid=${valueOf(victim)}`)).body, 'victim', 'a name inside a value is not a cookie name')
    t.equal((await sendRequest(`xsid=${valueOf(attacker)}; sid=${valueOf(victim)}`)).body, 'victim')
  })

  t.test('a sign-out with two different cookies ends both sessions', async (t) => {
    const [victim, attacker] = [await signedIn('tossed'), await signedIn('tosser')]
    const both = `sid=${valueOf(attacker)}; sid=${valueOf(victim)}; sid=nonsense`
    const { status, setCookie } = await new Browser(app).post('/sign-out', undefined, { cookie: both })

    t.equal(status, 200)
    t.match(setCookie, [/^sid=; Max-Age=0;/])
    t.equal((await victim.get('/required')).status, 401)
    t.equal((await attacker.get('/required')).status, 401)
  })

  t.test('a planted anonymous cookie is worthless after the sign-in, and its data is not copied', async (t) => {
    const attacker = new Browser(app)
    await attacker.post('/set/test-a/planted')
    await attacker.post('/set/test-b/wanted')
    const victim = attacker.copy()
    await victim.post('/sign-in/victim', { keep: ['test-b'] })

    t.match(await attacker.get('/me'), { body: { state: 'anonymous', isNew: true } })
    t.same((await attacker.get('/get/test-a')).body, {})
    t.same((await victim.get('/get/test-a')).body, {})
    t.same((await victim.get('/get/test-b')).body, { value: 'wanted' })
    await attacker.post('/set/test-a/again')
    t.not(valueOf(attacker), '')
    t.match(await attacker.get('/required'), { status: 401 })
  })

  t.test('an unknown anonymous ID is never adopted: a write under it creates another', async (t) => {
    const planter = new Browser(app)
    await planter.post('/set/test-a/1')
    const [key = ''] = await redis.client.keys('session:{a:*')
    await redis.client.flushall()
    const victim = planter.copy()
    await victim.post('/set/test-a/secret')

    t.not(valueOf(victim), valueOf(planter))
    t.equal(await redis.client.exists(key), 0)
    t.same((await planter.get('/get/test-a')).body, {})
  })

  t.test('the old ID is invalid after a rotation and after another sign-in', async (t) => {
    const browser = await signedIn('mary')
    const thief = browser.copy()
    await browser.post('/set/test-a/1')
    t.equal((await thief.get('/required')).status, 200)
    await browser.post('/rotate')
    const second = browser.copy()
    await browser.post('/sign-in/mary')

    t.equal((await thief.get('/required')).status, 401)
    t.equal((await second.get('/required')).status, 401)
    t.equal((await browser.get('/required')).status, 200)
    t.equal(await redis.client.hlen('session:{mary}'), 1)
  })

  t.test('neither the cookie nor a dump of Redis reveals a secret', async (t) => {
    const browser = await signedIn('someone@example.com')
    const value = valueOf(browser)
    const bytes = Buffer.from(value.split('.')[2] ?? '', 'base64url').toString('latin1')
    const dump = await dumpOf(redis.client)

    t.notMatch(value + bytes, /someone/)
    t.match(dump, /session:\{someone%40example\.com\}/)
    const [, field = ''] = /\{someone%40example\.com\} ([\w-]{22}) /.exec(dump) ?? []
    t.equal(field.length, 22)
    for (const stolen of [field, `v1.${value.split('.')[1]}.${field}`, `v1.${value.split('.')[1]}.${Buffer.from(dump).toString('base64url').slice(0, 400)}`, createHash('sha256').update(field).digest('base64url')]) {
      const thief = new Browser(app)
      thief.cookies.set('sid', stolen)
      t.equal((await thief.get('/required')).status, 401)
    }
  })

  t.test('a user ID cannot escape its key', async (t) => {
    const ids = ['a:x', '{a}', 'ada}', 'ада', '😀', '../ada', 'ada%7D', ' ', 'x'.repeat(100)]
    for (const id of ids) {
      const browser = new Browser(app)
      t.equal((await browser.post(`/sign-in/${encodeURIComponent(id)}`)).status, 200, id.slice(0, 20))
      t.equal((await browser.get('/required')).body, id)
    }
    const keys = await redis.client.keys('session:{*')
    t.ok(keys.every((key) => /^session:\{(?:a:)?[\w.%-]+\}$/.test(key)), 'one pair of braces each')
  })

  t.test('an unsafe request of another origin is rejected, with or without a session, and sends Redis nothing', async (t) => {
    const browser = await signedIn('ada')
    const own = 'http://localhost:80'
    const count = countWrites(t, redis.port)
    await atRest(count, app.redisPool.batch)
    const refused: Record<string, string>[] = [
      { origin: 'https://evil.example' }, { origin: 'null' }, { origin: '' }, { origin: `${own}.evil.example` }, { origin: 'http://localhost:8080' },
      { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: own, 'sec-fetch-site': 'cross-site' }
    ]
    for (const headers of refused) {
      t.match(await browser.post('/sign-out', undefined, headers), { status: 403, body: { code: 'PRISM_ERR_ORIGIN' } }, JSON.stringify(headers))
      t.match(await new Browser(app).post('/sign-in/evil', undefined, headers), { status: 403, setCookie: [] }, 'it cannot sign in')
    }
    t.equal(count.commandCount, 0)
    for (const headers of [{}, { origin: own }, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }] as Record<string, string>[]) {
      t.equal((await browser.post('/set/test-a/1', undefined, headers)).status, 200, JSON.stringify(headers))
    }
    t.equal((await browser.get('/required', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' })).status, 200, 'a safe method is allowed')
    t.equal((await browser.send('POST', '/off', { origin: 'https://evil.example' })).status, 200, 'a route without a session accepts it')
  })

  t.test('listed origins may send unsafe requests, and no others', async (t) => {
    const listed = await buildSessionApp(t, redis.url, { trustedOrigins: ['https://app.example', 'https://admin.example'] })
    const statusFor = async (headers: Record<string, string>) => (await new Browser(listed).post('/set/test-a/1', undefined, headers)).status

    t.equal(await statusFor({ origin: 'https://app.example', 'sec-fetch-site': 'cross-site' }), 200)
    t.equal(await statusFor({ origin: 'https://admin.example' }), 200)
    t.equal(await statusFor({ origin: 'http://app.example' }), 403)
    t.equal(await statusFor({ origin: 'https://localhost:80', 'sec-fetch-site': 'same-origin' }), 200, 'its own origin is allowed too')
    t.equal(await statusFor({ origin: 'https://localhost:8080' }), 403)
    t.equal(await statusFor({}), 200)
  })

  t.test('old secrets open cookies, the newest seals them with the next save, and a removed one opens nothing', async (t) => {
    const [older = ''] = sessionSecrets
    const newer = 'a newer secret of the tests, 32 or more'
    const after = await buildSessionApp(t, redis.url, { secrets: [newer, older] })
    const last = await buildSessionApp(t, redis.url, { secrets: [newer] })
    const browser = (await signedIn('ada')).copy(after)
    const old = browser.copy(last)

    t.match(await browser.get('/required'), { status: 200, setCookie: [] })
    t.match((await browser.post('/set/test-a/kept')).setCookie, [/^sid=v1\./])
    t.same((await browser.copy(last).get('/get/test-a')).body, { value: 'kept' })
    t.match((await browser.post('/set/test-a/again')).setCookie, [])
    t.equal((await old.get('/required')).status, 401)
  })
})

function flip (value: string, at: number): string {
  return value.slice(0, at) + (value[at] === 'A' ? 'B' : 'A') + value.slice(at + 1)
}

async function dumpOf (client: Awaited<ReturnType<typeof startRedis>>['client']): Promise<string> {
  const keys = await client.keys('*')
  const lines = await Promise.all(keys.map(async (key) => `${key} ${Object.entries(await client.hgetall(key)).flat().join(' ')}`))
  return lines.join('\n')
}
