import { test } from 'tap'
import { Keys } from '../../../src/redis/keys.ts'
import { SessionCookies } from '../../../src/session/session-cookie.ts'
import type { CookieAttributes } from '../../../src/session/session-cookie.ts'
import { resolveSessionPolicy } from '../../../src/session/options.ts'
import type { SessionCookieOptions } from '../../../src/session/options.ts'
import { newToken, userSubject } from '../../../src/session/session-token.ts'

const keys = new Keys()
const token = newToken(keys, userSubject('ada'), 1)
const overHttp = { protocol: 'http', headers: {} }

test('session cookies', async (t) => {
  const written = (cookie: SessionCookieOptions, carrier: { protocol: string, headers: Record<string, string> }) => {
    const seen: { name: string, value: string, attributes: CookieAttributes }[] = []
    const cookies = new SessionCookies(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'], cookie }), keys, (name, value, attributes) => {
      seen.push({ name, value, attributes })
      return ''
    })
    cookies.write({ token, maxAgeSeconds: 60 }, carrier)
    cookies.write('clear', carrier)
    const [set, cleared] = seen
    if (set === undefined || cleared === undefined) throw new Error('nothing was written')
    return { cookies, set, cleared }
  }

  t.test('are Secure over TLS, also behind a proxy, and not over http', async (t) => {
    const securely = { name: '__Host-sid', attributes: { path: '/', httpOnly: true, secure: true, sameSite: 'lax', partitioned: false, maxAge: 60 } }

    t.match(written({}, { ...overHttp, protocol: 'https' }).set, securely)
    t.match(written({}, { ...overHttp, headers: { 'x-forwarded-proto': 'https, http' } }).set, securely)
    t.match(written({ secure: true }, overHttp).set, securely)
    for (const headers of [{}, { 'x-forwarded-proto': 'http' }, { 'x-forwarded-proto': 'httpsx' }] as Record<string, string>[]) t.match(written({}, { ...overHttp, headers }).set, { name: 'sid', attributes: { secure: false } })
    t.match(written({ secure: false }, { ...overHttp, protocol: 'https' }).set, { name: 'sid', attributes: { secure: false } })
  })

  t.test('are partitioned only if browsers accept that', async (t) => {
    t.match(written({ partitioned: true, secure: true }, overHttp).set.attributes, { partitioned: true, sameSite: 'none' })
    t.match(written({ partitioned: true }, overHttp).set.attributes, { partitioned: false, sameSite: 'lax' })
  })

  t.test('are cleared with the same attributes', async (t) => {
    const { set, cleared } = written({ secure: true, partitioned: true }, overHttp)
    const { maxAge: _set, ...attributes } = set.attributes
    const { maxAge, expires, ...others } = cleared.attributes

    t.same(others, attributes)
    t.match([cleared.name, cleared.value, maxAge, expires?.getTime()], ['__Host-sid', '', 0, 0])
  })

  t.test('invalidate the decrypted token when another is set, or none', async (t) => {
    const { cookies, set } = written({}, overHttp)
    const carrier = { ...overHttp, headers: { cookie: `sid=${set.value}` } }
    for (const change of [{ token, maxAgeSeconds: 60 }, 'clear'] as const) {
      const before = cookies.open(carrier).token
      t.equal(cookies.open(carrier).token, before)
      cookies.write(change, carrier)
      t.not(cookies.open(carrier).token, before)
    }
  })

  t.test('report which token the request had, and whether it had any cookie', async (t) => {
    const { cookies, set } = written({}, overHttp)
    const open = (cookie: string) => cookies.open({ ...overHttp, headers: { cookie } })

    t.match(open(`sid=${set.value}`), { token: { userId: 'ada', field: token.field }, isSealedWithOldKey: false, hasCookie: true })
    t.same(open('sid=forged'), { token: undefined, isSealedWithOldKey: false, hasCookie: true })
    t.same(open('theme=dark'), { hasCookie: false, conflictingTokens: undefined })
    t.match(open(`sid=${set.value}; sid=forged`), { token: undefined, hasCookie: true, conflictingTokens: [{ userId: 'ada' }] })
  })
})
