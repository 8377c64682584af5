import t from 'tap'
import { Flood } from '../support/flood.ts'
import { until } from '../support/until.ts'

const small = { megabytes: 8, sessions: 2000, requests: 4000, popular: 400, bodyBytes: 4096 }

t.test('cache leaves sessions alone though a flood of one-off URLs fills the memory that they share', async (t) => {
  const flood = await Flood.start(t, small)

  const result = await flood.run()

  t.comment(JSON.stringify(result))
  t.equal(result.sessionsLost, 0)
  t.equal(result.evictedKeys, 0)
  t.ok(result.declined > 0, 'some answers were not stored')
  t.ok(result.hitRate > 0, 'popular ones were')
  t.not(flood.apps[0]?.cache.memory.level, 'normal')
  t.ok(flood.logs.some((line) => /Redis memory (high|critical)/.test(line)), 'the log tells')
})

t.test('cache gives its own answers up when others fill the memory, though nobody asks for anything', async (t) => {
  const flood = await Flood.start(t, small)
  await flood.run()
  const { shed } = await flood.result()

  const result = await until(async () => {
    await flood.addSessions(50)
    const now = await flood.result()
    return now.shed > shed && now
  }, { what: 'answers are given up', everyMs: 50 })
  t.comment(JSON.stringify(result))
  t.equal(result.sessionsLost, 0)
  t.equal(result.evictedKeys, 0)
})

t.test('the same flood signs visitors out where the server is left alone with it', async (t) => {
  const flood = await Flood.start(t, { ...small, isPlain: true })

  const result = await flood.run()

  t.comment(JSON.stringify(result))
  t.ok(result.sessionsLost > 0)
  t.ok(result.evictedKeys > 0)
  t.equal(result.declined, 0)
})
