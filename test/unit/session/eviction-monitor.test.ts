import { test } from 'tap'
import { readMemoryInfo } from '../../../src/redis/health/memory-info.ts'
import { parseInfo } from '../../../src/redis/health/server-info.ts'
import { EvictionMonitor } from '../../../src/session/eviction-monitor.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

test('eviction monitor', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-lru'] })
  const readMemory = async () => readMemoryInfo(parseInfo(await redis.client.info()))
  const watch = (texts: string[], counts: number[] = []) => {
    const opened = new EvictionMonitor({ readMemory, count: (keys) => counts.push(keys), warn: (_facts, text) => texts.push(text) })
    t.after(() => { opened.close() })
    return opened
  }

  t.test('warns once about a policy that can evict sessions, and again after evictions', async (t) => {
    const [texts, counts]: [string[], number[]] = [[], []]
    const opened = watch(texts, counts)
    await opened.check()
    await opened.check()
    const calm = texts.length
    await redis.client.eval("for i = 1, 5000 do redis.call('SET', i, string.rep('x', 2000)) end", 0)
    await opened.check()
    const { evictedKeys } = await readMemory()

    t.ok(calm >= 1 && calm <= 2, 'the read at the start and the first periodic read can coincide')
    t.match(texts[0], /maxmemory-policy allkeys-lru.*SESSION_REDIS_URL.*volatile-ttl/)
    t.equal(texts.length, calm + 1)
    t.equal(counts.length, 1)
    t.ok(counts[0]! > 0 && counts[0]! <= evictedKeys, 'the server can evict more meanwhile')
  })

  t.test('accepts policies that do not evict sessions, and warns if no limit is set', async (t) => {
    for (const policy of ['noeviction', 'volatile-ttl']) {
      const texts: string[] = []
      await redis.client.config('SET', 'maxmemory-policy', policy)
      await watch(texts).check()
      t.same(texts, [], policy)
    }
    const texts: string[] = []
    await redis.client.config('SET', 'maxmemory', '0')
    await watch(texts).check()
    t.match(texts[0], /no maxmemory/)
  })

  t.test('reports nothing during an outage, and reads again soon', async (t) => {
    const texts: string[] = []
    let isAway = true
    const opened = new EvictionMonitor({ readMemory: () => isAway ? Promise.reject(new Error('away')) : readMemory(), count: () => {}, warn: (_facts, text) => texts.push(text) })
    t.after(() => { opened.close() })
    await opened.check()
    t.same(texts, [])
    isAway = false

    await until(() => texts.length === 1, { what: 'the monitor has read' })
  })

  t.test('counts evictions by server: of each master of a Cluster since its last reading, and all of a server that has restarted', async (t) => {
    const counts: number[] = []
    const memory = { server: 'one', uptimeSeconds: 3600, usedBytes: 0, limitBytes: 1, policy: 'allkeys-lru', evictedKeys: 100, clients: 1 }
    const readings = [memory, { ...memory, server: 'two', evictedKeys: 5 }, { ...memory, evictedKeys: 103 }, { ...memory, server: 'two', evictedKeys: 7 }, { ...memory, server: 'three', uptimeSeconds: 0, evictedKeys: 4 }]
    const opened = new EvictionMonitor({ readMemory: async () => readings.shift() ?? memory, count: (keys) => counts.push(keys), warn: () => {} })
    t.after(() => { opened.close() })
    while (readings.length > 0) await opened.check()

    t.same(counts, [3, 2, 4])
  })
})
