import t from 'tap'
import { parseList } from 'structured-headers'
import { formatCacheStatus } from '../../../src/http/cache-status.ts'

t.test('cache-status appends its member after those of caches nearer to the origin', async (t) => {
  t.equal(formatCacheStatus({ isHit: true }, undefined, 5.9), 'prism; hit; ttl=5')
  t.equal(formatCacheStatus({ forwarded: 'miss', isStored: true, isCollapsed: true }), 'prism; fwd=miss; stored; collapsed')
  t.equal(formatCacheStatus({ forwarded: 'stale', forwardedStatus: 304, isStored: true, detail: 'read "x"\n' }, 'a; hit'), 'a; hit, prism; fwd=stale; fwd-status=304; stored; detail="read \\"x\\"?"')
})

t.test('cache-status is a valid list of structured fields, whatever its detail contains', async (t) => {
  for (const detail of ['unkeyed', 'two words', '"', '\\', 'ü', '1st', '', 'a,b', '\u0000']) {
    const [[name, parameters] = ['', new Map()]] = parseList(formatCacheStatus({ forwarded: 'bypass', detail }))
    t.equal(String(name), 'prism', JSON.stringify(detail))
    t.ok(parameters.has('detail'), JSON.stringify(detail))
  }
})
