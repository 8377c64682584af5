import t from 'tap'
import { rules } from '../../../service/alerts/rules.ts'
import { AlertEvaluator } from '../../../service/alerts/alert-evaluator.ts'
import { Histogram } from '../../../src/shared/histogram.ts'
import { History } from '../../../src/metrics/snapshot.ts'
import type { MetricsSnapshot } from '../../../src/metrics/snapshot.ts'
import { reasonOf } from '../../../src/redis/health/unreachable-reason.ts'

const counts: MetricsSnapshot['counts'] = { requests: 0, refused: 0, failed: 0, hit: 0, stale: 0, miss: 0, bypass: 0, published: 0, delivered: 0, timeouts: 0, lost: 0, exhausted: 0 }

interface Moment { isDown?: boolean, changed?: Partial<MetricsSnapshot['counts']>, memory?: { used: number, other: number }, evicted?: number }

function readingAt (seconds: number, { isDown = false, changed = {}, memory = { used: 10, other: 10 }, evicted = 0 }: Moment): MetricsSnapshot {
  const figures = { redis_memory_used_bytes: memory.used, prism_redis_memory_other_bytes: memory.other, prism_redis_memory_limit_bytes: 100, redis_evicted_keys_total: evicted }
  return {
    at: seconds * 1000,
    counts: { ...counts, ...changed },
    outcomes: { none: 0, hit: 0, stale: 0, miss: 0, bypass: 0 },
    durations: new Histogram().counts,
    roundTrips: new Histogram().counts,
    pool: { connections: 5, inFlight: 0, isBroken: isDown },
    live: { websocket: 0, stream: 0 },
    isRedisUp: !isDown,
    unusable: { redis: isDown ? reasonOf(new Error('connect ECONNREFUSED')) : undefined, sessions: undefined },
    areSessionsEvictable: false,
    redis: isDown ? undefined : { at: seconds * 1000, nodes: [{ node: '', figures, version: '7', role: 'master', memoryPolicy: 'volatile-ttl', slowLogLength: 0 }], silent: 0, latencies: [], namespaces: [] }
  }
}

/** What all rules tell of a time, judged each 5 s: `name firing`, `name resolved`. */
function judge (lastSeconds: number, momentAt: (seconds: number) => Moment): { told: string[], evaluator: AlertEvaluator } {
  const evaluator = new AlertEvaluator(rules, 0)
  const history = new History(720)
  const told: string[] = []
  for (let seconds = 0; seconds <= lastSeconds; seconds += 5) {
    history.add(readingAt(seconds, momentAt(seconds)))
    for (const { alert, isFiring } of evaluator.evaluate(history)) told.push(`${alert.rule.name} ${isFiring ? 'firing' : 'resolved'}`)
  }
  return { told, evaluator }
}

t.test('watch tells of a Redis that is down once, and of nothing that follows from it', async (t) => {
  // Every connection is lost and lost again, requests fail, writes crowd, lookups miss.
  const isDown = (seconds: number) => seconds >= 60 && seconds < 300
  const since = (seconds: number) => Math.max(0, Math.min(seconds, 300) - 60)
  const moment = (seconds: number): Moment => ({ isDown: isDown(seconds), changed: { lost: 20 * since(seconds), requests: 10 * seconds, failed: 5 * since(seconds), exhausted: 10 * since(seconds), miss: 5 * seconds } })

  const during = judge(200, moment)
  const after = judge(900, moment)

  t.same(during.told, ['PrismRedisDown firing'])
  t.match(during.evaluator.alerts.find(({ rule }) => rule.name === 'PrismRedisDown'), { reason: { code: 'connection_refused' } })
  t.same(during.evaluator.consequencesOf('PrismRedisDown').sort(), ['PrismBreakerOpen', 'PrismErrorsHigh', 'PrismPoolExhausted', 'PrismRedisConnectionErrors'])
  t.same(after.told.slice(0, 2), ['PrismRedisDown firing', 'PrismRedisDown resolved'])
  t.notMatch(after.told.join(), /ConnectionErrors|BreakerOpen|PoolExhausted|ErrorsHigh/)
})

t.test('watch tells of what fires by itself, and of a consequence that outlasts its cause', async (t) => {
  const { told } = judge(900, (seconds) => ({ isDown: seconds >= 60 && seconds < 120, changed: { lost: seconds } }))

  t.same(told, ['PrismRedisConnectionErrors firing', 'PrismRedisDown firing', 'PrismRedisDown resolved'])
  t.same(judge(900, (seconds) => ({ isDown: seconds < 120, changed: { lost: seconds } })).told, ['PrismRedisDown firing', 'PrismRedisDown resolved', 'PrismRedisConnectionErrors firing'])
})

t.test('watch raises no alert for one event after a start: a rate is over the whole window', async (t) => {
  for (const changed of [{ lost: 1 }, { lost: 3 }, { exhausted: 5 }] as const) {
    t.same(judge(300, (seconds) => ({ changed: seconds >= 5 ? changed : {} })).told, [], JSON.stringify(changed))
  }
  t.same(judge(300, (seconds) => ({ evicted: seconds >= 5 ? 50 : 0 })).told, [])
  t.same(judge(60, (seconds) => ({ changed: { lost: seconds } })).told, ['PrismRedisConnectionErrors firing'], 'many are told')
})

t.test('watch raises no alert for a cache that fills memory as far as it may, and one for what is not its own', async (t) => {
  t.same(judge(120, () => ({ memory: { used: 85, other: 20 } })).told, [])
  t.same(judge(120, () => ({ memory: { used: 89, other: 79 } })).told, [])
  t.same(judge(120, () => ({ memory: { used: 88, other: 85 } })).told, ['PrismRedisMemoryHigh firing'])
  t.same(judge(120, () => ({ memory: { used: 97, other: 95 } })).told, ['PrismRedisMemoryCritical firing'])
})

t.test('watch tells of evictions that go on', async (t) => {
  t.same(judge(120, (seconds) => ({ evicted: 3 * seconds })).told, ['PrismRedisEvictions firing'])
})

t.test('watch tells of many requests that fail, and not of one of a few', async (t) => {
  t.same(judge(200, (seconds) => ({ changed: { requests: 10 * seconds, failed: seconds } })).told, ['PrismErrorsHigh firing'])
  t.same(judge(200, () => ({ changed: { requests: 5, failed: 5 } })).told, [])
})
