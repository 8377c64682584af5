import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { writePrometheusRules } from '../../../service/alerts/prometheus.ts'
import { prometheusRules, rules } from '../../../service/alerts/rules.ts'

const path = join(import.meta.dirname, '../../../alerts/prism.rules.yml')
const needsPromtool = { skip: spawnSync('promtool', ['--version']).status === 0 ? false : 'promtool is not installed' }
const promtool = (...args: string[]) => execFileSync('promtool', args, { encoding: 'utf8' })

t.test('the Prometheus rules in the repository equal the rules of the service', async (t) => {
  t.equal(readFileSync(path, 'utf8'), writePrometheusRules(rules, prometheusRules))
})

t.test('the Prometheus rules pass the check of promtool', needsPromtool, async (t) => {
  t.match(promtool('check', 'rules', path), new RegExp(`SUCCESS: ${rules.length + prometheusRules.length} rules found`))
})

/** Series of a metric, one value every 5 s. */
type Series = Record<string, string>

/** Expected alerts and times: seconds, and whether they fire. */
interface Course {
  series: Series
  checks: readonly (readonly [atSeconds: number, isFiring: boolean])[]
  /** labels of the alert; alerts of Redis have no instance */
  instance?: string
  job?: string
  labels?: Readonly<Record<string, string>>
  /** the code at the end of the description */
  reason?: string
}

const job = 'job="prism"'
const instance = `${job},instance="a"`
/** As exported by two processes that sample the same Redis. */
const twice = (name: string, values: string, labels = ''): Series => Object.fromEntries(['a', 'b'].map((each) => [`${name}{${job},instance="${each}"${labels}}`, values]))
const memory = (other: string): Series => ({ ...twice('prism_redis_memory_other_bytes', other), ...twice('prism_redis_memory_limit_bytes', '100x60') })
const unusable = (reason: string, values: string, holds = 'all') => twice('prism_redis_unusable', values, `,holds="${holds}",reason="${reason}"`)
const isDown = { [`redis_up{${instance}}`]: '1x11 0x400' }

const courses: Readonly<Record<string, Course>> = {
  // 80, then 95, then 87 of 100: fires above 90 and resolves below 85.
  PrismRedisMemoryCritical: { series: memory('80x3 95x3 87x5 84x5'), checks: [[15, false], [30, true], [60, true], [80, false]] },
  PrismRedisMemoryHigh: { series: memory('50x3 85x10'), checks: [[10, false], [30, true]] },
  // An unreachable Redis in one process only is PrismBreakerOpen.
  PrismRedisDown: { series: { ...twice('redis_up', '1x3 0x10 1x5'), ...unusable('wrong_password', '_x3 1x10') }, checks: [[10, false], [40, true], [85, false]], reason: 'wrong_password' },
  PrismRedisReadOnly: { series: unusable('read_only', '_x3 1x10 stale'), checks: [[10, false], [40, true], [85, false]], reason: 'read_only', labels: { holds: 'all', reason: 'read_only' } },
  PrismRedisWritesRefused: { series: unusable('out_of_memory', '_x3 1x10 stale'), checks: [[10, false], [40, true], [85, false]], reason: 'out_of_memory', labels: { holds: 'all', reason: 'out_of_memory' } },
  PrismRedisPermissionDenied: { series: unusable('permission_denied', '_x3 1x10 stale'), checks: [[10, false], [40, true], [85, false]], reason: 'permission_denied', labels: { holds: 'all', reason: 'permission_denied' } },
  PrismSessionRedisUnusable: { series: unusable('connection_refused', '_x3 1x10 stale', 'sessions'), checks: [[10, false], [40, true], [85, false]], reason: 'connection_refused', labels: { holds: 'sessions', reason: 'connection_refused' } },
  PrismBreakerOpen: { series: { [`prism_redis_circuit_breaker_open{${instance}}`]: '0x3 1x3 0x5', [`redis_up{${job},instance="a"}`]: '1x3 0x3 1x5', [`redis_up{${job},instance="b"}`]: '1x60' }, checks: [[10, false], [30, true], [45, false]], instance: 'a' },
  PrismRedisEvictions: { series: twice('redis_evicted_keys_total', '0x12 0+1000x20'), checks: [[55, false], [150, true]] },
  PrismRedisConnectionsRejected: { series: twice('redis_rejected_connections_total', '0x12 1x30'), checks: [[55, false], [80, true], [180, false]] },
  PrismRedisConnectionErrors: { series: { [`prism_redis_connections_lost_total{${instance}}`]: '0x12 50x30' }, checks: [[55, false], [80, true], [180, false]], instance: 'a' },
  PrismPoolExhausted: { series: { [`prism_redis_pool_exhausted_total{${instance}}`]: '0x12 0+100x20' }, checks: [[55, false], [150, true]], instance: 'a' },
  PrismHitRateLow: {
    series: { [`prism_cache_requests_total{${instance},outcome="hit"}`]: '0+50x300', [`prism_cache_requests_total{${instance},outcome="stale"}`]: '0x300', [`prism_cache_requests_total{${instance},outcome="miss"}`]: '0+50x300' },
    checks: [[300, false], [1200, true]],
    instance: 'a'
  },
  PrismRoundTripSlow: {
    series: { [`prism_redis_round_trip_seconds_bucket{${instance},le="0.001"}`]: '0+10x300', [`prism_redis_round_trip_seconds_bucket{${instance},le="0.01"}`]: '0+50x300', [`prism_redis_round_trip_seconds_bucket{${instance},le="+Inf"}`]: '0+50x300', [`prism_redis_round_trip_seconds_count{${instance}}`]: '0+50x300' },
    checks: [[300, false], [1200, true]],
    instance: 'a'
  },
  PrismSessionsEvictable: { series: twice('prism_sessions_evictable', '1x20 0x20'), checks: [[30, false], [90, true], [115, false]] },
  // 10 per second, one of which fails, with each form of the label `status`.
  PrismErrorsHigh: {
    series: { [`prism_http_requests_total{${instance},route="/",method="GET",status="2xx",cache="none"}`]: '0+45x300', [`prism_http_requests_total{${instance},route="/",method="GET",status="503",cache="none"}`]: '0x60 0+5x120 600x200' },
    checks: [[300, false], [700, true], [1400, false]],
    instance: 'a'
  },
  PrismResponsesSlow: {
    series: { [`prism_http_request_duration_seconds_bucket{${instance},route="/",method="GET",le="1"}`]: '0+10x300', [`prism_http_request_duration_seconds_bucket{${instance},route="/",method="GET",le="10"}`]: '0+50x300', [`prism_http_request_duration_seconds_bucket{${instance},route="/",method="GET",le="+Inf"}`]: '0+50x300', [`prism_http_request_duration_seconds_count{${instance},route="/",method="GET"}`]: '0+50x300' },
    checks: [[200, false], [700, true]],
    instance: 'a'
  },
  PrismInstanceDown: {
    series: { 'up{job="shop",instance="a"}': '1x10 0x20 1x20', 'up{job="other",instance="a"}': '0x50', 'prism_redis_pool_connections{job="shop",instance="a"}': '5x10 _x20 5x20' },
    checks: [[40, false], [120, true], [180, false]],
    instance: 'a',
    job: 'shop'
  }
}

/** Consequences of a Redis that is down: they fire while it is up, and neither while it is down nor right after. */
const consequences: Readonly<Record<string, Series>> = {
  PrismBreakerOpen: { [`prism_redis_circuit_breaker_open{${instance}}`]: '0x3 1x400' },
  PrismRedisConnectionErrors: { [`prism_redis_connections_lost_total{${instance}}`]: '0+10x400' },
  PrismPoolExhausted: { [`prism_redis_pool_exhausted_total{${instance}}`]: '0+100x400' },
  PrismErrorsHigh: { [`prism_http_requests_total{${instance},status="5xx"}`]: '0+45x400' }
}

t.test('the Prometheus rules fire and resolve as expected in promtool', needsPromtool, async (t) => {
  t.same(Object.keys(courses).sort(), [...rules, ...prometheusRules].map(({ name }) => name).sort())
  const folder = t.testdir({})
  copyFileSync(path, join(folder, 'rules.yml'))
  writeFileSync(join(folder, 'tests.yml'), JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '5s', tests: Object.entries(courses).map(testOf) }))

  t.match(promtool('test', 'rules', join(folder, 'tests.yml')), 'SUCCESS')
})

t.test('the Prometheus rules suppress the consequences of a Redis that is down', needsPromtool, async (t) => {
  const folder = t.testdir({})
  copyFileSync(path, join(folder, 'rules.yml'))
  const quiet = Object.entries(consequences).map(([name, series]) => testOf([name, { series: { ...series, ...isDown }, checks: [[150, false], [300, false]], instance: 'a' }]))
  writeFileSync(join(folder, 'tests.yml'), JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '5s', tests: quiet }))

  t.match(promtool('test', 'rules', join(folder, 'tests.yml')), 'SUCCESS')
  const alone = unmet(t, Object.entries(consequences).map(([name, series]) => [name, { ...series, [`redis_up{${instance}}`]: '1x400' }]))
  for (const name of Object.keys(consequences)) t.match(alone, `alertname: ${name}`, `${name} fires while Redis is up`)
})

t.test('the Prometheus rules raise no alert for one lost connection after a start', needsPromtool, async (t) => {
  const folder = t.testdir({})
  copyFileSync(path, join(folder, 'rules.yml'))
  const course = { series: { [`prism_redis_connections_lost_total{${instance}}`]: '0 1x60' }, checks: [[5, false], [10, false], [20, false], [60, false]] } as const
  writeFileSync(join(folder, 'tests.yml'), JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '5s', tests: [testOf(['PrismRedisConnectionErrors', course])] }))

  t.match(promtool('test', 'rules', join(folder, 'tests.yml')), 'SUCCESS')
})

/** Output of promtool for the claim that none of these alerts fires. */
function unmet (t: Test, all: [name: string, series: Series][]): string {
  const folder = t.testdir({})
  copyFileSync(path, join(folder, 'rules.yml'))
  const tests = all.map(([name, series]) => testOf([name, { series, checks: [[500, false]] }]))
  writeFileSync(join(folder, 'tests.yml'), JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '5s', tests }))
  const { stdout, stderr } = spawnSync('promtool', ['test', 'rules', join(folder, 'tests.yml')], { encoding: 'utf8' })
  return `${stdout}${stderr}`
}

function testOf ([name, { series, checks, ...expected }]: [string, Course]): object {
  const rule = [...rules, ...prometheusRules].find((each) => each.name === name)
  const labels = { severity: rule?.severity, job: expected.job ?? 'prism', ...(expected.instance === undefined ? {} : { instance: expected.instance }), ...expected.labels }
  const alert = { exp_labels: labels, exp_annotations: { summary: rule?.meaning, description: `${rule?.first}${expected.reason === undefined ? '' : ` Reason: ${expected.reason}.`}`, runbook_url: `docs/operations.md#${rule?.section}` } }
  return {
    name,
    interval: '5s',
    input_series: Object.entries(series).map(([each, values]) => ({ series: each, values })),
    alert_rule_test: checks.map(([seconds, isFiring]) => ({ eval_time: `${seconds}s`, alertname: name, exp_alerts: isFiring ? [alert] : [] }))
  }
}
