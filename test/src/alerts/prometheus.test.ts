import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writePrometheusRules } from '../../../src/alerts/prometheus.ts'
import { rules } from '../../../src/alerts/rules.ts'

const path = join(import.meta.dirname, '../../../alerts/prism.rules.yml')
const needsPromtool = { skip: spawnSync('promtool', ['--version']).status === 0 ? false : 'promtool is not installed' }
const promtool = (...args: string[]) => execFileSync('promtool', args, { encoding: 'utf8' })

t.test('prometheus rules in the repository are those that the service judges', async (t) => {
  t.equal(readFileSync(path, 'utf8'), writePrometheusRules(rules))
})

t.test('prometheus rules pass the check of promtool', needsPromtool, async (t) => {
  t.match(promtool('check', 'rules', path), new RegExp(`SUCCESS: ${rules.length} rules found`))
})

/** Series of a metric, a value each 5 s. */
type Series = Record<string, string>

/** What fires, and when: seconds, and whether. */
interface Course { series: Series, checks: readonly (readonly [atSeconds: number, isFiring: boolean])[] }

const instance = 'instance="a"'
const courses: Readonly<Record<string, Course>> = {
  // 80, then 95, then 87 of 100: raised above 90 and kept until 85.
  PrismRedisMemoryCritical: {
    series: { [`redis_memory_used_bytes{${instance}}`]: '80x3 95x3 87x5 84x5', [`prism_redis_memory_limit_bytes{${instance}}`]: '100x20' },
    checks: [[15, false], [30, true], [60, true], [80, false]]
  },
  PrismRedisMemoryHigh: {
    series: { [`redis_memory_used_bytes{${instance}}`]: '50x3 85x10', [`prism_redis_memory_limit_bytes{${instance}}`]: '100x20' },
    checks: [[10, false], [30, true]]
  },
  PrismRedisDown: { series: { [`redis_up{${instance}}`]: '1x3 0x10 1x5' }, checks: [[10, false], [40, true], [85, false]] },
  PrismBreakerOpen: { series: { [`prism_redis_breaker_open{${instance}}`]: '0x3 1x3 0x5' }, checks: [[10, false], [25, true], [45, false]] },
  PrismRedisEvictions: { series: { [`redis_evicted_keys_total{${instance}}`]: '0x12 0+1000x20' }, checks: [[55, false], [150, true]] },
  PrismRedisConnectionsRejected: { series: { [`redis_rejected_connections_total{${instance}}`]: '0x12 1x30' }, checks: [[55, false], [80, true], [180, false]] },
  PrismRedisConnectionErrors: { series: { [`prism_redis_connections_lost_total{${instance}}`]: '0x12 50x30' }, checks: [[55, false], [80, true], [180, false]] },
  PrismPoolExhausted: { series: { [`prism_redis_pool_exhausted_total{${instance}}`]: '0x12 0+100x20' }, checks: [[55, false], [150, true]] },
  PrismHitRateLow: {
    series: { [`prism_cache_requests_total{${instance},outcome="hit"}`]: '0+50x300', [`prism_cache_requests_total{${instance},outcome="stale"}`]: '0x300', [`prism_cache_requests_total{${instance},outcome="miss"}`]: '0+50x300' },
    checks: [[300, false], [1200, true]]
  },
  PrismRoundTripSlow: {
    series: { [`prism_redis_round_trip_seconds_bucket{${instance},le="0.001"}`]: '0+10x300', [`prism_redis_round_trip_seconds_bucket{${instance},le="0.01"}`]: '0+50x300', [`prism_redis_round_trip_seconds_bucket{${instance},le="+Inf"}`]: '0+50x300', [`prism_redis_round_trip_seconds_count{${instance}}`]: '0+50x300' },
    checks: [[300, false], [1200, true]]
  },
  PrismSessionsEvictable: { series: { [`prism_sessions_evictable{${instance}}`]: '1x20 0x20' }, checks: [[30, false], [90, true], [115, false]] }
}

t.test('prometheus rules fire and end as told, in promtool\'s own engine', needsPromtool, async (t) => {
  t.same(Object.keys(courses).sort(), rules.map(({ name }) => name).sort())
  const folder = t.testdir({})
  copyFileSync(path, join(folder, 'rules.yml'))
  writeFileSync(join(folder, 'tests.yml'), JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '5s', tests: Object.entries(courses).map(testOf) }))

  t.match(promtool('test', 'rules', join(folder, 'tests.yml')), 'SUCCESS')
})

function testOf ([name, { series, checks }]: [string, Course]): object {
  const rule = rules.find((each) => each.name === name)
  const alert = { exp_labels: { severity: rule?.severity, instance: 'a' }, exp_annotations: { summary: rule?.meaning, description: rule?.first } }
  return {
    name,
    interval: '5s',
    input_series: Object.entries(series).map(([each, values]) => ({ series: each, values })),
    alert_rule_test: checks.map(([seconds, isFiring]) => ({ eval_time: `${seconds}s`, alertname: name, exp_alerts: isFiring ? [alert] : [] }))
  }
}
