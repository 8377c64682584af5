import { test } from 'tap'
import { DenyCache } from '../../../src/rate-limit/deny-cache.ts'
import { quotaCostOf } from '../../../src/rate-limit/quota.ts'

const costOf = (cost: number, quota = 10) => quotaCostOf({ algorithm: 'fixed', quota, windowMs: 60_000, bucketOrBurst: 0 }, cost)
const refused = { remaining: 0, resetMs: 400, retryMs: 1000 }

test('deny cache rejects until the time that Redis returned, exclusive', (t) => {
  const denyCache = new DenyCache()
  denyCache.add('key', costOf(1), refused, 5000)

  t.same(denyCache.status('key', costOf(1), 5000), { remaining: 0, resetMs: 400, retryMs: 1000 })
  t.same(denyCache.status('key', costOf(1), 5999), { remaining: 0, resetMs: 0, retryMs: 1 })
  t.equal(denyCache.status('key', costOf(1), 6000), undefined)
  t.ok(denyCache.isEmpty, 'expired entries are removed')
  t.end()
})

test('deny cache allows a request that costs less than the rejected one', (t) => {
  const denyCache = new DenyCache()
  denyCache.add('key', costOf(3), refused, 0)

  t.equal(denyCache.status('key', costOf(2), 10), undefined)
  t.same(denyCache.status('key', costOf(4), 10), { remaining: 0, resetMs: 390, retryMs: 990 })
  t.end()
})

test('deny cache denies no request with another quota: users and anonymous clients of an address share its counter', (t) => {
  const denyCache = new DenyCache()
  denyCache.add('key', costOf(1, 3), refused, 0)

  t.equal(denyCache.status('key', costOf(1, 1000), 10), undefined)
  t.ok(denyCache.status('key', costOf(1, 3), 10))
  t.end()
})

test('deny cache deletes one key and no other', (t) => {
  const denyCache = new DenyCache()
  denyCache.add('one', costOf(1), refused, 0)
  denyCache.add('other', costOf(1), refused, 0)

  denyCache.delete('one')

  t.equal(denyCache.status('one', costOf(1), 10), undefined)
  t.ok(denyCache.status('other', costOf(1), 10))
  t.end()
})

test('deny cache holds 10,000 entries and evicts the least recently used', (t) => {
  const denyCache = new DenyCache()
  for (let index = 0; index < 10_000; index++) denyCache.add(`key-${index}`, costOf(1), refused, 0)
  denyCache.status('key-0', costOf(1), 10)

  denyCache.add('one more', costOf(1), refused, 0)

  t.ok(denyCache.status('key-0', costOf(1), 10))
  t.equal(denyCache.status('key-1', costOf(1), 10), undefined)
  t.ok(denyCache.status('one more', costOf(1), 10))
  t.end()
})

test('deny cache has one caller verify an entry after 10 s', (t) => {
  const denyCache = new DenyCache()
  denyCache.add('key', costOf(1), { ...refused, retryMs: 60_000 }, 0)

  t.same([9999, 10_000, 10_001, 19_999, 20_000].map((now) => denyCache.isDue('key', now)), [false, true, false, false, true])
  t.end()
})
