import fc from 'fast-check'
import t from 'tap'
import { judgeByResponse, judgeByRoute } from '../../../src/cache/storing.ts'
import { resolveCachePolicy, resolveRoutePolicy } from '../../../src/cache/policy.ts'
import { acceptsCoding } from '../../../src/http/accept-encoding.ts'
import { parseAge } from '../../../src/http/age.ts'
import { parseCacheControl } from '../../../src/http/cache-control.ts'
import { parseGroups } from '../../../src/http/cache-groups.ts'
import { formatCacheStatus } from '../../../src/http/cache-status.ts'
import { formatHttpDate, parseHttpDate } from '../../../src/http/date.ts'
import { makeEntityTag, matchesStrongly, matchesWeakly } from '../../../src/http/entity-tag.ts'
import { parseRange } from '../../../src/http/range.ts'
import { parseTargeted } from '../../../src/http/targeted.ts'
import { normaliseField, parseVary } from '../../../src/http/vary.ts'

const numRuns = Number(process.env.SOAK_RUNS ?? 2000)
if (numRuns > 2000) t.setTimeout(0)

/** Pieces of which fields are made, and of which broken ones are. */
const piece = fc.oneof(
  fc.constantFrom('max-age', 's-maxage', 'no-store', 'no-cache', 'private', 'public', 'must-revalidate', 'must-understand', 'stale-if-error', 'max-stale', 'No-Store', 'PRIVATE',
    '=', '="', '"', '\\', ',', ', ', ';', ' ', '\t', '0', '1', '-1', '1.5', '99999999999999999999', '1e3', '0x10', 'x-field', '*', 'ü', '(', ')', '\u0000', '=,', ',,', '?1'),
  fc.string({ maxLength: 5 })
)
const field = fc.array(piece, { maxLength: 14 }).map((pieces) => pieces.join(''))
const lines = fc.oneof(field, fc.array(field, { maxLength: 4 }))

t.test('cache-control reads directives in each form that the RFC knows', async (t) => {
  const read = (text: string | string[]) => parseCacheControl(text)

  t.match(read('max-age=60, S-MaxAge="30", no-store'), { maxAge: 60, sMaxage: 30, noStore: true, noCache: false, private: false })
  t.match(read('private="Set-Cookie, x-a", no-cache'), { private: ['set-cookie', 'x-a'], noCache: true })
  t.match(read(['max-age=60', 'public, max-age=10']), { maxAge: 10, public: true })
  t.match(read('max-age=60, max-age=60'), { maxAge: 60 })
  for (const broken of ['max-age', 'max-age=', 'max-age=-1', 'max-age=1.5', 'max-age=1 2', "max-age='60'", 'max-age=x']) t.equal(read(broken).maxAge, 0, broken)
  t.equal(read('max-age=99999999999999999999').maxAge, 2 ** 31)
  t.equal(read('x-max-age=60').maxAge, undefined)
  t.equal(read('x="max-age=60"').maxAge, undefined)
  t.equal(read('x="no-store, private').noStore, true, 'a quote that never ends hides nothing')
  t.equal(read('max-stale').maxStale, Infinity)
  t.equal(read('private="", private=x').private, true)
  t.equal(read('no-cache="a", no-cache').noCache, true)
})

t.test('date reads the three forms of the RFC, and nothing else', async (t) => {
  const at = Date.UTC(1994, 10, 6, 8, 49, 37)

  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994']) t.equal(parseHttpDate(text, Date.UTC(2026, 0)), at, text)
  for (const text of ['', '0', '-1', 'Sun, 06 Nov 1994 08:49:37', 'Sun, 06 Nov 1994 08:49:37 UTC', 'Sun, 6 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 25:49:37 GMT', '1994-11-06T08:49:37Z', 'Sun, 00 Nov 1994 08:49:37 GMT']) {
    t.equal(parseHttpDate(text), undefined, text)
  }
  t.equal(parseHttpDate('Sunday, 06-Nov-77 08:49:37 GMT', Date.UTC(2026, 0)), Date.UTC(1977, 10, 6, 8, 49, 37))
  t.equal(parseHttpDate(formatHttpDate(at)), at)
})

t.test('age takes what it cannot read for old', async (t) => {
  t.same(['0', '7', '7,9', ' 7 '].map((text) => parseAge(text)), [0, 7, 7, 7])
  t.equal(parseAge(undefined), undefined)
  for (const text of ['', 'x', '-1', '1.5', '7;a=b', '0, 0']) t.equal(parseAge(text), 2 ** 31, text)
  t.equal(parseAge(['0', '0']), 2 ** 31)
})

t.test('entity-tag compares weakly and strongly', async (t) => {
  t.equal(makeEntityTag('a'), makeEntityTag(Buffer.from('a')))
  t.match(makeEntityTag('a'), /^"[\w-]{22}"$/)
  t.same(['"a"', 'W/"a"', '"b", "a"', '*', 'a', '"b"', '', '"a', 'w/"a'].map((text) => matchesWeakly(text, '"a"')), [true, true, true, true, false, false, false, false, false])
  t.same(['"a"', 'W/"a"', '*'].map((text) => matchesStrongly(text, '"a"')), [true, false, true])
  t.equal(matchesStrongly('W/"a"', 'W/"a"'), false)
  t.equal(matchesWeakly('"a,b"', '"a,b"'), true)
})

t.test('range reads one range, and lets the others be', async (t) => {
  t.same(['bytes=0-1', 'bytes=2-', 'bytes=-3', 'bytes=0-99', 'bytes=-99'].map((text) => parseRange(text, 10)), [{ first: 0, last: 1 }, { first: 2, last: 9 }, { first: 7, last: 9 }, { first: 0, last: 9 }, { first: 0, last: 9 }])
  t.same(['bytes=10-', 'bytes=-0'].map((text) => parseRange(text, 10)), ['unsatisfiable', 'unsatisfiable'])
  t.same(['bytes=-', 'bytes=3-2', 'bytes=0-1,3-4', 'lines=0-1', 'bytes=x-y', ''].map((text) => parseRange(text, 10)), Array(6).fill(undefined))
})

t.test('accept-encoding, cache-groups and cache-status speak the language of their fields', async (t) => {
  t.same(['br', 'gzip, br;q=0.5', '*', 'br;q=0, *', 'gzip', '', 'xbr', 'br; q=0.000'].map((text) => acceptsCoding(text, 'br')), [true, true, true, false, false, false, false, false])
  t.same(parseGroups('"a", "b";x=1, c, 1'), ['a', 'b'])
  t.same(parseGroups('"a'), [])
  t.equal(formatCacheStatus({ forwarded: 'stale', forwardedStatus: 304, isStored: true, detail: 'read "x"\n' }, 'a; hit'), 'a; hit, prism; fwd=stale; fwd-status=304; stored; detail="read \\"x\\"?"')
})

t.test('fields of any making are read without failing, and nothing is stored that says no', async (t) => {
  const stack = resolveCachePolicy()
  const byRoute = resolveRoutePolicy([{ ttl: '5m' }], stack)
  const byResponse = resolveRoutePolicy([{ ttl: 'response' }], stack)
  if (byRoute === undefined || byResponse === undefined) throw new Error('both name cache')

  fc.assert(fc.property(lines, lines, lines, lines, fc.constantFrom(200, 203, 301, 404, 206, 304, 500, 299), (control, age, expires, vary, status) => {
    const fields = { 'cache-control': control, age, expires, vary, date: expires, 'last-modified': expires, 'cdn-cache-control': '', 'set-cookie': undefined }
    const answer = { status, fields, isAuthorized: false, askedAt: Date.now(), receivedAt: Date.now() }
    const text = [control].flat().join(',').replace(/"(?:[^"\\]|\\.)*"/g, '')
    const read = parseCacheControl(control)
    for (const judgement of [judgeByRoute(answer, byRoute, 300_000), judgeByResponse(answer, byResponse)]) {
      if (!judgement.isKept) continue
      if (/(^|,)\s*no-store\s*(,|$)/i.test(text) && !read.mustUnderstand) throw new Error(`stored in spite of no-store: ${text}`)
      if (/(^|,)\s*private\s*(,|$)/i.test(text)) throw new Error(`stored in spite of private: ${text}`)
      if (parseVary(vary) === '*') throw new Error(`stored in spite of Vary: ${String(vary)}`)
      if (status === 206 || status === 304) throw new Error(`stored a ${status}`)
      if (!(judgement.lifetime.freshMs >= 0 && judgement.lifetime.freshMs <= 2 ** 31 * 1000 * 1000)) throw new Error(`fresh for ${judgement.lifetime.freshMs}`)
    }
    parseTargeted(control)
    parseGroups(vary)
    parseRange(String(age), 100)
    acceptsCoding(String(vary), 'br')
    matchesWeakly(String(control), '"a"')
    normaliseField('accept', vary)
  }), { numRuns })
  t.pass(`${numRuns} blocks of fields`)
})
