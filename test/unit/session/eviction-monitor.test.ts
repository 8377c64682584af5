import { test } from 'tap'
import { EvictionMonitor, readPressure } from '../../../src/session/eviction-monitor.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

test('the eviction watch', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '4mb', '--maxmemory-policy', 'allkeys-lru'] })
  const watch = (texts: string[], counts: number[] = []) => {
    const opened = new EvictionMonitor({ info: () => redis.client.info(), count: (keys) => counts.push(keys), warn: (_facts, text) => texts.push(text) })
    t.after(() => { opened.close() })
    return opened
  }

  t.test('warns once of a policy that may evict sessions, and again when keys were evicted', async (t) => {
    const [texts, counts]: [string[], number[]] = [[], []]
    const opened = watch(texts, counts)
    await opened.check()
    await opened.check()
    const calm = texts.length
    await redis.client.eval("for i = 1, 5000 do redis.call('SET', i, string.rep('x', 2000)) end", 0)
    await opened.check()
    const { evictedKeys } = readPressure(await redis.client.info())

    t.ok(calm >= 1 && calm <= 2, 'the look at the start and the first may meet')
    t.match(texts[0], /maxmemory-policy allkeys-lru.*SESSION_REDIS_URL.*volatile-ttl/)
    t.equal(texts.length, calm + 1)
    t.equal(counts.length, 1)
    t.ok(counts[0]! > 0 && counts[0]! <= evictedKeys, 'the server may have gone on evicting')
  })

  t.test('is content with policies that keep sessions, and warns where no limit is set', async (t) => {
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

  t.test('says nothing while the server is away, and looks again soon', async (t) => {
    const texts: string[] = []
    let isAway = true
    const opened = new EvictionMonitor({ info: () => isAway ? Promise.reject(new Error('away')) : redis.client.info(), count: () => {}, warn: (_facts, text) => texts.push(text) })
    t.after(() => { opened.close() })
    await opened.check()
    t.same(texts, [])
    isAway = false

    await until(() => texts.length === 1, { what: 'it has looked' })
  })
})
