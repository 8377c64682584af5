import fc from 'fast-check'
import t from 'tap'
import { resolveCachePolicy, resolveRoutePolicy } from '../../../../src/cache/options.ts'
import { cacheabilityByResponse, cacheabilityByRoute } from '../../../../src/cache/response/cacheability.ts'
import { acceptsCoding } from '../../../../src/http/accept-encoding.ts'
import { parseCacheControl } from '../../../../src/http/cache-control.ts'
import { parseGroups } from '../../../../src/http/cache-groups.ts'
import { matchesWeakly } from '../../../../src/http/entity-tag.ts'
import { parseRange } from '../../../../src/http/range.ts'
import { parseTargeted } from '../../../../src/http/cdn-cache-control.ts'
import { normaliseField, parseVary } from '../../../../src/http/vary.ts'

const numRuns = Number(process.env.SOAK_RUNS ?? 2000)
if (numRuns > 2000) t.setTimeout(0)

/** Parts from which valid and invalid fields are generated. */
const piece = fc.oneof(
  fc.constantFrom('max-age', 's-maxage', 'no-store', 'no-cache', 'private', 'public', 'must-revalidate', 'must-understand', 'stale-if-error', 'max-stale', 'No-Store', 'PRIVATE',
    '=', '="', '"', '\\', ',', ', ', ';', ' ', '\t', '0', '1', '-1', '1.5', '99999999999999999999', '1e3', '0x10', 'x-field', '*', 'ü', '(', ')', '\u0000', '=,', ',,', '?1'),
  fc.string({ maxLength: 5 })
)
const field = fc.array(piece, { maxLength: 14 }).map((pieces) => pieces.join(''))
const lines = fc.oneof(field, fc.array(field, { maxLength: 4 }))

t.test('cacheability is decided for any fields without an exception, and nothing is stored against a prohibition', async (t) => {
  const stack = resolveCachePolicy()
  const byRoute = resolveRoutePolicy([{ ttl: '5m' }], stack)
  const byResponse = resolveRoutePolicy([{ ttl: 'response' }], stack)
  if (byRoute === undefined || byResponse === undefined) throw new Error('both routes have a cache option')

  fc.assert(fc.property(lines, lines, lines, lines, fc.constantFrom(200, 203, 301, 404, 206, 304, 500, 299), (control, age, expires, vary, status) => {
    const fields = { 'cache-control': control, age, expires, vary, date: expires, 'last-modified': expires, 'cdn-cache-control': '', 'set-cookie': undefined }
    const response = { status, fields, isAuthorized: false, requestedAt: Date.now(), receivedAt: Date.now() }
    const text = [control].flat().join(',').replace(/"(?:[^"\\]|\\.)*"/g, '')
    const read = parseCacheControl(control)
    for (const judgement of [cacheabilityByRoute(response, byRoute, 300_000), cacheabilityByResponse(response, byResponse)]) {
      if (!judgement.isStorable) continue
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
