import { test } from 'tap'
import { isExactOrigin, isOpaqueOrigin, isSafeMethod, isAllowedOrigin, readOrigins } from '../../../src/http/origin.ts'

const host = 'example.com'

test('isAllowedOrigin', async (t) => {
  t.test('without a list: the origin of the request\'s host, and clients that are not browsers', async (t) => {
    const cases: [origin: string | undefined, site: string | undefined, isWelcome: boolean][] = [
      [undefined, undefined, true],
      [undefined, 'same-origin', true],
      [undefined, 'none', true],
      [undefined, 'same-site', false],
      [undefined, 'cross-site', false],
      [undefined, '', false],
      ['https://example.com', undefined, true],
      ['https://example.com', 'same-origin', true],
      ['https://example.com', 'cross-site', false],
      ['https://example.com:444', undefined, false],
      ['https://example.com.evil.example', undefined, false],
      ['https://evil.example', undefined, false],
      ['https://evil.example', 'same-origin', true],
      ['null', undefined, false],
      ['null', 'same-origin', true],
      ['null', 'cross-site', false],
      ['', undefined, false],
      ['example.com', undefined, false],
      ['https://example.com/', undefined, false],
      ['https://example.com:443', undefined, true],
      ['https://me@example.com', undefined, false],
      ['ftp://example.com', undefined, false],
      ['https://example.com', 'same-origin, cross-site', false],
      ['file://', undefined, false]
    ]
    for (const [origin, site, expected] of cases) t.equal(isAllowedOrigin({ host, origin, site }, []), expected, `${origin} ${site}`)
    t.equal(isAllowedOrigin({ host: 'example.com:443', origin: 'https://example.com', site: undefined }, []), true)
    t.equal(isAllowedOrigin({ host: '[::1]:3000', origin: 'http://[::1]:3000', site: undefined }, []), true)
    t.equal(isAllowedOrigin({ host: '', origin: 'https://evil.example', site: undefined }, []), false)
  })

  t.test('over TLS: no origin without TLS', async (t) => {
    t.equal(isAllowedOrigin({ host, origin: 'http://example.com', site: undefined, isSecure: true }, []), false)
    t.equal(isAllowedOrigin({ host, origin: 'https://example.com', site: undefined, isSecure: true }, []), true)
    t.equal(isAllowedOrigin({ host, origin: 'https://example.com', site: undefined, isSecure: false }, []), true, 'a proxy can terminate TLS')
  })

  t.test('with a list: the same origin, or an exact origin of the list', async (t) => {
    const origins = ['https://app.example']
    const cases: [origin: string | undefined, site: string | undefined, isWelcome: boolean][] = [
      ['https://app.example', 'cross-site', true],
      ['https://app.example', undefined, true],
      ['http://app.example', undefined, false],
      ['https://example.com', 'same-origin', true],
      ['https://example.com', undefined, true],
      ['https://example.com', 'cross-site', false],
      ['null', 'same-origin', true],
      ['null', 'cross-site', false],
      ['null', undefined, false],
      ['https://shop.app.example', undefined, false],
      [undefined, 'cross-site', false],
      [undefined, 'same-origin', true],
      [undefined, undefined, true]
    ]
    for (const [origin, site, expected] of cases) t.equal(isAllowedOrigin({ host, origin, site }, origins), expected, `${origin} ${site}`)
  })
})

test('isSafeMethod', async (t) => {
  t.same(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY'].map(isSafeMethod), [true, true, true, true, false, false, false, false, false])
})

test('isOpaqueOrigin', async (t) => {
  for (const origin of ['null', '', 'example.com']) t.equal(isOpaqueOrigin(origin), true, origin)
  for (const origin of [undefined, 'https://example.com', 'chrome-extension://abc']) t.equal(isOpaqueOrigin(origin), false, String(origin))
})

test('origin lists contain exact origins, and no error prints them', async (t) => {
  const wrong = ['*', 'null', '', 'https://*', 'https://*.example.com', 'https://example.*', 'https://%2A.example.com', 'http*://example.com', 'https://example.com:*', 'https://example.com/', 'https://example.com:443', 'HTTPS://example.com', 'example.com', 'ftp://example.com', 'https://me:hidden@example.com', 'wss://example.com']
  for (const origin of wrong) {
    t.equal(isExactOrigin(origin), false, origin)
    t.throws(() => readOrigins('session.trustedOrigins', ['https://a.example', origin]), { code: 'PRISM_ERR_OPTION', message: /^(?!.*hidden).*session\.trustedOrigins\[1\]/ }, origin)
  }
  t.same(readOrigins('live.origins', ['https://example.com', 'http://localhost:3000', 'http://[::1]:3000']), ['https://example.com', 'http://localhost:3000', 'http://[::1]:3000'])
})
