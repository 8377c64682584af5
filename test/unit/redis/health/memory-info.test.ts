import t from 'tap'
import { MemoryReader, mayEvictSessions, readMemoryInfo, usedShareOf } from '../../../../src/redis/health/memory-info.ts'
import { parseInfo } from '../../../../src/redis/health/server-info.ts'
import { startRedis } from '../../../support/redis.ts'
import { until } from '../../../support/until.ts'

t.test('memory info reads a real server, without the memory that Redis does not count for eviction', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '64mb', '--maxmemory-policy', 'volatile-ttl', '--appendonly', 'yes'] })
  const info = parseInfo(await redis.client.info())
  const memory = readMemoryInfo(info)

  t.match(memory, { server: /^[0-9a-f]{40}$/, limitBytes: 64 * 1024 * 1024, policy: 'volatile-ttl', evictedKeys: 0 })
  t.equal(memory.usedBytes, Number(info.get('used_memory')) - Number(info.get('mem_not_counted_for_evict')))
  t.ok(memory.clients >= 1 && usedShareOf(memory) > 0 && usedShareOf(memory) < 0.5)
  t.equal(usedShareOf({ usedBytes: 5, limitBytes: 0 }), 0, 'no limit')
})

t.test('every policy that Redis has may evict sessions, except noeviction and volatile-ttl', async (t) => {
  const redis = await startRedis(t)
  const policies = ['noeviction', 'volatile-ttl', 'volatile-lru', 'volatile-lfu', 'volatile-random', 'allkeys-lru', 'allkeys-lfu', 'allkeys-random']
  const found: string[] = []
  for (const policy of policies) {
    await redis.client.config('SET', 'maxmemory-policy', policy)
    if (!mayEvictSessions(readMemoryInfo(parseInfo(await redis.client.info())).policy)) found.push(policy)
  }

  t.same(found, ['noeviction', 'volatile-ttl'])
  t.notOk(mayEvictSessions(''), 'a server that does not tell its policy')
})

t.test('memory reader sends one INFO for callers that accept a recent reading, and a new one for others', async (t) => {
  let sent = 0
  const reader = new MemoryReader(async () => `used_memory:${++sent}\r\n`)
  const [first, joined] = await Promise.all([reader.read(), reader.read(60_000)])
  const [recent, own] = [await reader.read(60_000), await reader.read()]

  t.same([first, joined, recent, own].map(({ usedBytes }) => usedBytes), [1, 1, 1, 2])
  t.equal(sent, 2)
})

t.test('memory reader does not reuse a failed reading', async (t) => {
  let isAway = true
  const reader = new MemoryReader(async () => isAway ? await Promise.reject(new Error('away')) : 'used_memory:7\r\n')
  await t.rejects(reader.read(60_000), { message: 'away' })
  isAway = false

  await until(async () => (await reader.read(60_000)).usedBytes === 7, { what: 'it is read again' })
})
