import fastify from 'fastify'
import t from 'tap'
import prism from '../../plugins/index.ts'
import type { SessionOptions } from '../../plugins/index.ts'
import { resolveSessionPolicy } from '../../src/session/options.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

const secrets = ['a secret of the tests: 32 or more']
type Cookie = NonNullable<SessionOptions['cookie']>

t.test('the session cookie has the configured attributes, a prefix where browsers allow it, and is cleared with the same attributes', async (t) => {
  const { url } = await startRedisProcess(t)
  const cases: [Cookie, isSecure: boolean, name: string, attributes: string[]][] = [
    [{}, true, '__Host-sid', ['Path=/', 'SameSite=Lax']],
    [{}, false, 'sid', ['Path=/', 'SameSite=Lax']],
    [{ domain: 'example.com' }, true, '__Secure-sid', ['Domain=example.com', 'Path=/']],
    [{ domain: 'example.com' }, false, 'sid', ['Domain=example.com', 'Path=/']],
    [{ path: '/app' }, true, '__Secure-sid', ['Path=/app']],
    [{ sameSite: 'strict' }, true, '__Host-sid', ['SameSite=Strict']],
    [{ sameSite: 'none', secure: true }, false, '__Host-sid', ['SameSite=None', 'Secure']],
    [{ lifetime: 'session' }, true, '__Host-sid', ['Path=/']]
  ]
  for (const [cookie, isSecure, name, attributes] of cases) {
    const app = fastify()
    t.after(() => app.close())
    await app.register(prism, { redis: { url, commandTimeout }, session: { secrets, cookie } })
    app.post('/in', async (request) => { await request.session.signIn('ann'); return {} })
    app.post('/out', async (request) => { await request.session.signOut(); return {} })
    app.get('/', async (request) => request.session.userId ?? 'none')
    await app.ready()
    await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
    const headers = isSecure ? { 'x-forwarded-proto': 'https' } : {}
    const set = String((await app.inject({ method: 'POST', url: '/in', headers })).headers['set-cookie'])
    const own = set.split(';')[0] ?? ''
    const what = JSON.stringify(cookie)
    t.equal(own.split('=')[0], name, what)
    t.equal(/Max-Age/.test(set), cookie.lifetime !== 'session', what)
    t.equal((await app.inject({ url: '/', headers: { ...headers, cookie: own } })).body, 'ann', what)
    const cleared = String((await app.inject({ method: 'POST', url: '/out', headers: { ...headers, cookie: own } })).headers['set-cookie'])
    t.match(cleared, /Max-Age=0/, what)
    const rest = (field: string) => field.split('; ').slice(1).filter((each) => !/^(?:Max-Age|Expires)=/.test(each)).sort()
    t.same(rest(cleared), rest(set), what)
    for (const attribute of attributes) t.ok(rest(set).includes(attribute), `${what}: ${attribute} in ${set}`)
  }
})

t.test('attributes that a browser would reject are refused at start, by name', async (t) => {
  const wrong: [string, unknown[]][] = [
    ['domain', ['.example.com', 'com', 'example.com:80', 'https://example.com', 'EXAMPLE.com', 'a;b.example', '', 1, null, 'localhost']],
    ['path', ['', 'app', '/a;b', '/a\n', '/ä', 1]],
    ['sameSite', ['None', true, '', 'none']],
    ['lifetime', ['1h', 0, null]],
    ['maxAge', [1]]
  ]
  for (const [option, values] of wrong) {
    for (const value of values) t.throws(() => resolveSessionPolicy({ secrets, cookie: { [option]: value } as Cookie }), { code: 'PRISM_ERR_OPTION', message: new RegExp(option) }, `${option}: ${String(value)}`)
  }
})

t.test('trusted origins may have the schemes of apps and extensions', async (t) => {
  for (const origin of ['capacitor://localhost', 'ionic://localhost', 'tauri://localhost', 'chrome-extension://abcdef', 'app://app.example:8080']) t.same(resolveSessionPolicy({ secrets, trustedOrigins: [origin] }).trustedOrigins, [origin])
  for (const origin of ['capacitor://', 'capacitor://localhost/', 'Capacitor://localhost', 'capacitor://*', 'file://', 'file://host', 'null', 'data:text', 'javascript://x', 'app://user@host']) t.throws(() => resolveSessionPolicy({ secrets, trustedOrigins: [origin] }), { code: 'PRISM_ERR_OPTION' }, origin)
})
