import t from 'tap'
import { rules } from '../../../service/alerts/rules.ts'
import { AlertEvaluator } from '../../../service/alerts/alert-evaluator.ts'
import { Histogram } from '../../../src/shared/histogram.ts'
import { History } from '../../../src/metrics/snapshot.ts'
import type { MetricsSnapshot } from '../../../src/metrics/snapshot.ts'
import { reasonOf } from '../../../src/redis/health/unreachable-reason.ts'

const counts: MetricsSnapshot['counts'] = { requests: 0, rejected: 0, failed: 0, hit: 0, stale: 0, miss: 0, bypass: 0, published: 0, delivered: 0, timeouts: 0, lost: 0, exhausted: 0 }

interface Moment { isDown?: boolean, error?: string, rejected?: number, changed?: Partial<MetricsSnapshot['counts']>, memory?: { used: number, other: number }, evicted?: number }

function readingAt (seconds: number, { isDown = false, error = isDown ? 'connect ECONNREFUSED' : undefined, rejected = 0, changed = {}, memory = { used: 10, other: 10 }, evicted = 0 }: Moment): MetricsSnapshot {
  const figures = { redis_memory_used_bytes: memory.used, prism_redis_memory_other_bytes: memory.other, prism_redis_memory_limit_bytes: 100, redis_evicted_keys_total: evicted, redis_rejected_connections_total: rejected }
  return {
    at: seconds * 1000,
    counts: { ...counts, ...changed },
    outcomes: { none: 0, hit: 0, stale: 0, miss: 0, bypass: 0 },
    durations: new Histogram().counts,
    roundTrips: new Histogram().counts,
    pool: { connections: 5, inFlight: 0, isCircuitOpen: isDown },
    live: { websocket: 0, stream: 0 },
    isRedisUp: !isDown,
    unusable: { redis: error === undefined ? undefined : reasonOf(new Error(error)), sessions: undefined },
    areSessionsEvictable: false,
    redis: isDown ? undefined : { at: seconds * 1000, nodes: [{ node: '', figures, version: '7', role: 'master', memoryPolicy: 'volatile-ttl', slowLogLength: 0 }], silent: 0, latencies: [], namespaces: [] }
  }
}

/** Changes reported by all rules over a time, evaluated every 5 s: `name firing`, `name resolved`. */
function judge (lastSeconds: number, momentAt: (seconds: number) => Moment): { changes: string[], evaluator: AlertEvaluator } {
  const evaluator = new AlertEvaluator(rules, 0)
  const history = new History(720)
  const changes: string[] = []
  for (let seconds = 0; seconds <= lastSeconds; seconds += 5) {
    history.add(readingAt(seconds, momentAt(seconds)))
    for (const { alert, isFiring } of evaluator.evaluate(history)) changes.push(`${alert.rule.name} ${isFiring ? 'firing' : 'resolved'}`)
  }
  return { changes, evaluator }
}

t.test('a Redis that is down is reported once, without its consequences', async (t) => {
  // All connections are lost repeatedly, requests fail, writes crowd, lookups miss.
  const isDown = (seconds: number) => seconds >= 60 && seconds < 300
  const since = (seconds: number) => Math.max(0, Math.min(seconds, 300) - 60)
  const moment = (seconds: number): Moment => ({ isDown: isDown(seconds), changed: { lost: 20 * since(seconds), requests: 10 * seconds, failed: 5 * since(seconds), exhausted: 10 * since(seconds), miss: 5 * seconds } })

  const during = judge(200, moment)
  const after = judge(900, moment)

  t.same(during.changes, ['PrismRedisDown firing'])
  t.match(during.evaluator.alerts.find(({ rule }) => rule.name === 'PrismRedisDown'), { reason: { code: 'connection_refused' } })
  t.same(during.evaluator.consequencesOf('PrismRedisDown').sort(), ['PrismBreakerOpen', 'PrismErrorsHigh', 'PrismPoolExhausted', 'PrismRedisConnectionErrors'])
  t.same(after.changes.slice(0, 2), ['PrismRedisDown firing', 'PrismRedisDown resolved'])
  t.notMatch(after.changes.join(), /ConnectionErrors|BreakerOpen|PoolExhausted|ErrorsHigh/)
})

t.test('an independent alert is reported, and a consequence that outlasts its cause too', async (t) => {
  const { changes } = judge(900, (seconds) => ({ isDown: seconds >= 60 && seconds < 120, changed: { lost: seconds } }))

  t.same(changes, ['PrismRedisConnectionErrors firing', 'PrismRedisDown firing', 'PrismRedisDown resolved'])
  t.same(judge(900, (seconds) => ({ isDown: seconds < 120, changed: { lost: seconds } })).changes, ['PrismRedisDown firing', 'PrismRedisDown resolved', 'PrismRedisConnectionErrors firing'])
})

t.test('a Redis that refuses is reported soon after a short outage, of which its alert is no consequence', async (t) => {
  const alertOf = { 'READONLY ': 'PrismRedisReadOnly', 'OOM ': 'PrismRedisWritesRefused', 'NOPERM ': 'PrismRedisPermissionDenied' }
  for (const [error, name] of Object.entries(alertOf)) {
    t.same(judge(90, (seconds) => seconds < 60 ? {} : { isDown: seconds === 60, error }).changes, [`${name} firing`])
  }
})

t.test('a replica, from which the processes disconnect again and again, is reported once, and not as down', async (t) => {
  const { changes } = judge(300, (seconds) => seconds < 60 ? {} : { isDown: seconds % 15 < 10, error: 'READONLY ', changed: { lost: 5 * (seconds - 60) } })

  t.same(changes, ['PrismRedisReadOnly firing'])
})

t.test('lost connections are a consequence of those that the server rejects', async (t) => {
  const { changes } = judge(120, (seconds) => ({ rejected: Math.max(0, seconds - 60), changed: { lost: Math.max(0, seconds - 60) } }))

  t.same(changes, ['PrismRedisConnectionsRejected firing'])
})

t.test('one event after a start raises no alert: a rate covers the whole window', async (t) => {
  for (const changed of [{ lost: 1 }, { lost: 3 }, { exhausted: 5 }] as const) {
    t.same(judge(300, (seconds) => ({ changed: seconds >= 5 ? changed : {} })).changes, [], JSON.stringify(changed))
  }
  t.same(judge(300, (seconds) => ({ evicted: seconds >= 5 ? 50 : 0 })).changes, [])
  t.same(judge(60, (seconds) => ({ changed: { lost: seconds } })).changes, ['PrismRedisConnectionErrors firing'], 'many lost connections are reported')
})

t.test('a cache that fills memory up to its limit raises no alert, and other data does', async (t) => {
  t.same(judge(120, () => ({ memory: { used: 85, other: 20 } })).changes, [])
  t.same(judge(120, () => ({ memory: { used: 89, other: 79 } })).changes, [])
  t.same(judge(120, () => ({ memory: { used: 88, other: 85 } })).changes, ['PrismRedisMemoryHigh firing'])
  t.same(judge(120, () => ({ memory: { used: 97, other: 95 } })).changes, ['PrismRedisMemoryCritical firing'])
})

t.test('continuous evictions are reported', async (t) => {
  t.same(judge(120, (seconds) => ({ evicted: 3 * seconds })).changes, ['PrismRedisEvictions firing'])
})

t.test('many failed requests are reported, and one failure of few requests is not', async (t) => {
  t.same(judge(200, (seconds) => ({ changed: { requests: 10 * seconds, failed: seconds } })).changes, ['PrismErrorsHigh firing'])
  t.same(judge(200, () => ({ changed: { requests: 5, failed: 5 } })).changes, [])
})
