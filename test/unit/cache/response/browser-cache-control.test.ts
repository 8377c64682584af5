import fc from 'fast-check'
import t from 'tap'
import { browserControl } from '../../../../src/cache/response/browser-cache-control.ts'
import { parseCacheControl } from '../../../../src/http/cache-control.ts'
import { propertyRuns } from '../../../support/property-runs.ts'

const directive = fc.oneof(
  fc.constantFrom('public', 'private', 'no-cache', 'no-store', 'must-revalidate', 'proxy-revalidate', 'no-transform', 'immutable', 'must-understand', 'Public', 'PRIVATE', 'private="x-a, x-b"', 'no-cache="set-cookie"', 'x-own="a, max-age=9"', ''),
  fc.nat(100_000).map((seconds) => `max-age=${seconds}`),
  fc.nat(100_000).map((seconds) => `s-maxage=${seconds}`),
  fc.nat(100_000).map((seconds) => `stale-while-revalidate=${seconds}`)
)
const field = fc.array(directive, { maxLength: 6 }).map((members) => members.join(', '))

t.test('browser control permits nothing that the handler does not, and is private unless the handler set a directive for shared caches', async (t) => {
  fc.assert(fc.property(fc.option(field, { nil: undefined }), fc.nat(100_000), fc.boolean(), fc.nat(10_000), (own, seconds, isGuarded, age) => {
    const said = parseCacheControl(own)
    const left = parseCacheControl(browserControl({ 'cache-control': own }, { seconds, isGuarded }, age))
    const names = said.public || said.sMaxage !== undefined
    if (left.private !== true && (isGuarded || !names || said.private !== false)) throw new Error('shared caches may store it')
    if (isGuarded && (left.public || left.sMaxage !== undefined)) throw new Error('a directive for shared caches is left')
    if (left.maxAge !== undefined && left.maxAge > Math.min(said.maxAge ?? Infinity, seconds + age)) throw new Error(`max-age ${left.maxAge}`)
    for (const kept of ['noStore', 'noTransform', 'mustRevalidate', 'proxyRevalidate', 'mustUnderstand', 'immutable'] as const) if (said[kept] !== left[kept]) throw new Error(kept)
    if (JSON.stringify(said.noCache) !== JSON.stringify(left.noCache)) throw new Error('no-cache')
  }), { numRuns: propertyRuns(1000) })
  t.pass('any combination of fields')
})

t.test('browser control counts max-age from the time of the response, and honours Expires without max-age', async (t) => {
  const policy = { seconds: 60, isGuarded: false }
  const date = new Date(Date.now() - 5000).toUTCString()
  const in20 = new Date(Date.parse(date) + 20_000).toUTCString()

  t.equal(browserControl({}, policy, 0), 'private, max-age=60')
  t.equal(browserControl({}, policy, 7), 'private, max-age=67')
  t.equal(browserControl({ 'cache-control': 'public' }, policy, 7), 'max-age=67, public')
  t.equal(browserControl({ 'cache-control': 's-maxage=600, max-age=5' }, policy, 7), 'max-age=5, s-maxage=600')
  t.equal(browserControl({ 'cache-control': 's-maxage=600, max-age=5' }, { ...policy, isGuarded: true }, 7), 'private, max-age=5')
  t.equal(browserControl({ 'cache-control': 'no-cache, x-own="a, b"' }, policy, 7), 'private, no-cache, x-own="a, b"')
  t.equal(browserControl({ expires: in20, date }, policy, 7), 'private, max-age=20')
  t.equal(browserControl({ expires: '0', date }, policy, 7), 'private, max-age=0')
  t.equal(browserControl({ expires: in20, date, 'cache-control': 'max-age=40' }, policy, 0), 'private, max-age=40')
})
