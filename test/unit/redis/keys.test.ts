import fc from 'fast-check'
import { Command } from 'ioredis'
import t from 'tap'
import { encodePart, Keys } from '../../../src/redis/keys.ts'

t.test('keys percent-encode their parts', async (t) => {
  const keys = new Keys()

  t.equal(keys.userSession('42'), 'session:{42}')
  t.equal(keys.anonymousSession('r4nd0m'), 'session:{a:r4nd0m}')
  t.equal(keys.cacheEntry('GET', '/cities/:id')('h4sh'), 'api:cache:GET:/cities/:id:{h4sh}')
  t.equal(keys.cacheEntry('GET', '/{a}/*')('h4sh'), 'api:cache:GET:/%7Ba%7D/%2A:{h4sh}')
  t.equal(keys.cacheWrap('top cities', 'h4sh'), 'api:cache:wrap:top%20cities:{h4sh}')
  t.equal(keys.cacheTag('city:42'), 'api:cache:tag:city%3A42')
  t.equal(keys.cacheSequence(), 'api:cache:seq')
  t.match(keys.cacheEpoch('a run id'), /^api:cache:epoch:[0-9a-f]{16}$/)
  t.equal(keys.cacheLock('api:cache:GET:/cities/:id:{h4sh}'), 'api:cache:lock:GET:/cities/:id:{h4sh}')
  t.equal(keys.cacheFilled(), 'api:cache:filled')
  t.equal(keys.websocket('1d'), 'websocket:{1d}')
  t.equal(keys.topicChannel('user:42'), 'prism:user:42')
  t.equal(keys.topicLog('user:42'), 'prism:user:42:log')
})

t.test('counter keys are in the slot of their client', async (t) => {
  const keys = new Keys()
  const limit = keys.rateLimit('GET:/cities/:id')

  t.equal(limit('ip', '2001:db8::/64'), 'ratelimit:{ip:2001%3Adb8%3A%3A%2F64}:GET:/cities/:id')
  t.equal(limit('user', '42', keys.userSession('42')), 'ratelimit:{42}:GET:/cities/:id')
  t.equal(slotOf(limit('user', 'a}b', keys.userSession('a}b'))), slotOf(keys.userSession('a}b')))
  t.equal(slotOf(limit('session', 'device', keys.anonymousSession('x'))), slotOf(keys.anonymousSession('x')))
})

t.test('keys begin with their prefix', async (t) => {
  const keys = new Keys('shop:')

  t.equal(keys.userSession('42'), 'shop:session:{42}')
  t.equal(keys.cacheEntry('GET', '/')('h'), 'shop:api:cache:GET:/:{h}')
  t.equal(keys.rateLimit('stack')('ip', '::1'), 'shop:ratelimit:{ip:%3A%3A1}:stack')
  t.equal(keys.topicChannel('events'), 'shop:prism:events')
})

t.test('keys of users and of anonymous sessions never collide', async (t) => {
  const keys = new Keys()

  t.equal(keys.userSession('a:x'), 'session:{a%3Ax}')
  t.not(keys.userSession('a:x'), keys.anonymousSession('x'))
})

t.test('keys encode each text differently, and none escapes its slot', async (t) => {
  const text = fc.string({ unit: 'grapheme' })

  fc.assert(fc.property(text, (part) => /^[A-Za-z0-9_.%-]*$/.test(encodePart(part)) && decodeURIComponent(encodePart(part)) === part))
  fc.assert(fc.property(text.filter((id) => id !== ''), (id) => {
    const key = new Keys().userSession(id)
    return key.indexOf('}') === key.length - 1 && key.lastIndexOf('{') === 'session:'.length
  }))
  t.pass('for 200 texts')
})

/** As ioredis and Redis Cluster compute it. */
function slotOf (key: string): number {
  return Number(new Command('get', [key]).getSlot())
}
