import { test } from 'tap'
import { isSafeMethod, isWelcome } from '../../../src/http/origin.ts'

const host = 'example.com'

test('isWelcome', async (t) => {
  t.test('without a list: the request\'s own host, and whoever is no browser', async (t) => {
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
      ['file://', undefined, false]
    ]
    for (const [origin, site, expected] of cases) t.equal(isWelcome({ host, origin, site }, []), expected, `${origin} ${site}`)
    t.equal(isWelcome({ host: 'example.com:443', origin: 'https://example.com', site: undefined }, []), true)
    t.equal(isWelcome({ host: '[::1]:3000', origin: 'http://[::1]:3000', site: undefined }, []), true)
    t.equal(isWelcome({ host: '', origin: 'https://evil.example', site: undefined }, []), false)
  })

  t.test('with a list: an origin that is named, exactly', async (t) => {
    const origins = ['https://app.example']
    const cases: [origin: string | undefined, site: string | undefined, isWelcome: boolean][] = [
      ['https://app.example', 'cross-site', true],
      ['https://app.example', undefined, true],
      ['http://app.example', undefined, false],
      ['https://example.com', 'same-origin', false],
      ['null', 'same-origin', false],
      [undefined, 'cross-site', false],
      [undefined, 'same-origin', true],
      [undefined, undefined, true]
    ]
    for (const [origin, site, expected] of cases) t.equal(isWelcome({ host, origin, site }, origins), expected, `${origin} ${site}`)
  })
})

test('isSafeMethod', async (t) => {
  t.same(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY'].map(isSafeMethod), [true, true, true, true, false, false, false, false, false])
})
