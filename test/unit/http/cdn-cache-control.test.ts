import t from 'tap'
import { parseTargeted } from '../../../src/http/cdn-cache-control.ts'

t.test('CDN-Cache-Control is parsed as a dictionary, and an invalid one is ignored', async (t) => {
  t.match(parseTargeted('max-age=60, no-store, s-maxage=5'), { maxAge: 60, noStore: true, sMaxage: 5 })
  t.match(parseTargeted(['max-age=60', 'must-revalidate']), { maxAge: 60, mustRevalidate: true })
  t.match(parseTargeted('max-age=60, max-age=10'), { maxAge: 10 }, 'the last one counts')
  t.match(parseTargeted('max-age="60"'), { maxAge: 60 })
  t.match(parseTargeted('max-age=-1'), { maxAge: 0 })
  for (const broken of ['', ' ', 'max-age=&', 'max-age=', 'max-age=60,', 'Max-Age=60', undefined]) t.equal(parseTargeted(broken), undefined, String(broken))
})
