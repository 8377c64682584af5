import t from 'tap'
import { parseTargeted } from '../../../src/http/cdn-cache-control.ts'

t.test('CDN-Cache-Control is parsed as a dictionary, and an invalid one is ignored', async (t) => {
  t.match(parseTargeted('max-age=60, no-store, s-maxage=5'), { control: { maxAge: 60, noStore: true, sMaxage: 5 }, restrictions: undefined })
  t.match(parseTargeted(['max-age=60', 'must-revalidate']), { control: { maxAge: 60, mustRevalidate: true }, restrictions: undefined })
  t.match(parseTargeted('max-age=60, max-age=10'), { control: { maxAge: 10 } }, 'the last one counts')
  t.match(parseTargeted('max-age=-1'), { control: { maxAge: 0 } })
  t.match(parseTargeted('max-age=60, no-cache="set-cookie", x-of-others="60", immutable=2'), { control: { maxAge: 60, noCache: ['set-cookie'] }, restrictions: undefined })
  for (const broken of ['', ' ', 'max-age=&', 'max-age=', 'max-age=60,', 'Max-Age=60', undefined]) t.equal(parseTargeted(broken), undefined, String(broken))
})

t.test('a directive of CDN-Cache-Control with a value of the wrong type permits nothing, and the others still forbid', async (t) => {
  const wrong = ['max-age="60"', 'max-age', 'max-age=?1', 'max-age=60.0', 'max-age=sixty', 'max-age=(60)', 'max-age=:YQ==:', 's-maxage="60"', 'stale-if-error="9"', 'stale-while-revalidate=?0', 'public=1', 'public="yes"', 'must-understand=?0']
  for (const member of wrong) t.match(parseTargeted(`max-age=10000, ${member}`), { restrictions: '' }, member)
  for (const [field, restrictions] of [['max-age="60", no-store', 'no-store'], ['no-store=1', 'no-store'], ['private=(a b), s-maxage=9', 'private'], ['max-age=60, no-cache=1, must-revalidate', 'no-cache,must-revalidate']] as const) {
    t.match(parseTargeted(field), { restrictions }, field)
  }
})
