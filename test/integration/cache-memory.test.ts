import t from 'tap'
import { Flood } from '../support/flood.ts'
import { until } from '../support/until.ts'

const small = { megabytes: 8, sessions: 2000, requests: 4000, popular: 400, bodyBytes: 4096 }

t.test('cache evicts its own entries, and no sessions, when a flood of one-off URLs fills the shared memory', async (t) => {
  const flood = await Flood.start(t, small)

  const result = await flood.run()

  t.comment(JSON.stringify(result))
  t.equal(result.sessionsLost, 0)
  t.equal(result.evictedKeys, 0)
  t.ok(result.declined > 0, 'some responses were not stored')
  t.ok(result.hitRate > 0, 'popular responses were stored')
  t.not(flood.apps[0]?.cache.memory.level, 'normal')
  t.ok(flood.logs.some((line) => /Redis memory (high|critical)/.test(line)), 'the log reports it')
})

t.test('cache evicts its own entries when other data fills the memory, without any request', async (t) => {
  const flood = await Flood.start(t, small)
  await flood.run()
  const { shed } = await flood.result()

  const result = await until(async () => {
    await flood.addSessions(50)
    const now = await flood.result()
    return now.shed > shed && now
  }, { what: 'entries are evicted', everyMs: 50 })
  t.comment(JSON.stringify(result))
  t.equal(result.sessionsLost, 0)
  t.equal(result.evictedKeys, 0)
})

t.test('without the cache\'s memory limit, the same flood evicts sessions', async (t) => {
  const flood = await Flood.start(t, { ...small, isPlain: true })

  const result = await flood.run()

  t.comment(JSON.stringify(result))
  t.ok(result.sessionsLost > 0)
  t.ok(result.evictedKeys > 0)
  t.equal(result.declined, 0)
})
