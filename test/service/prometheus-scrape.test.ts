import { spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { prometheusRules, rules } from '../../service/alerts/rules.ts'
import { signals } from '../../service/alerts/signals.ts'
import { freePort } from '../support/ports.ts'
import { startRedis } from '../support/redis.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'

const root = join(import.meta.dirname, '../..')
const needsPrometheus = { skip: spawnSync('prometheus', ['--version']).status === 0 ? false : 'prometheus is not installed' }

interface Dashboard {
  panels: { title: string, targets?: { expr: string }[] }[]
  annotations: { list: { name: string, expr: string }[] }
}
interface LoadedRule { name: string, health: string, lastError?: string }

const dashboard: Dashboard = JSON.parse(readFileSync(join(root, 'grafana/prism.json'), 'utf8'))

/** Expressions without data while all is well, and why. */
const needFault: Readonly<Record<string, string>> = {
  PrismRedisReadOnly: 'prism_redis_unusable exists only while Redis is unusable',
  PrismRedisWritesRefused: 'the same',
  PrismRedisPermissionDenied: 'the same',
  PrismSessionRedisUnusable: 'the same',
  PrismInstanceDown: 'compares `up` with 0'
}

/** A Prometheus with the rules of the repository, which scrapes a target each second. */
async function startPrometheus (t: Test, target: string): Promise<{ query: (expression: string) => Promise<unknown[]>, rules: () => Promise<LoadedRule[]> }> {
  const folder = t.testdir({})
  const port = await freePort()
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify({
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [join(root, 'alerts/prism.rules.yml')],
    scrape_configs: [{ job_name: 'prism', static_configs: [{ targets: [target] }] }]
  }))
  const server = spawn('prometheus', [`--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`], { stdio: 'ignore' })
  const exit = new Promise((resolve) => server.once('exit', resolve))
  t.after(async () => {
    server.kill('SIGKILL')
    await exit
  })
  const send = async <Data>(path: string) => (await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json() as { data?: Data, error?: string })
  return {
    query: async (expression) => {
      const { data, error } = await send<{ result: unknown[] }>(`query?query=${encodeURIComponent(expression)}`)
      if (data === undefined) throw new Error(`${expression}: ${error}`)
      return data.result
    },
    rules: async () => (await send<{ groups: { rules: LoadedRule[] }[] }>('rules')).data?.groups.flatMap(({ rules }) => rules) ?? []
  }
}

/** Requests of each kind that the dashboard shows: hits, misses, an unknown route, a rejection, a session and a live connection. */
async function makeTraffic (t: Test, url: string): Promise<void> {
  const closing = new AbortController()
  t.after(() => closing.abort())
  await fetch(`${url}/events?topic=events`, { signal: closing.signal })
  // One after another: requests of one tick share a write, and a percentile of round trips needs more than one a second.
  for (let round = 0; round < 400; round++) await (await fetch(`${url}/cities/${2_988_507 + (round % 5 === 0 ? round : 0)}`)).text()
  await until(async () => {
    const { status } = await fetch(`${url}/cities/2988507/notes`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{"text":"x"}' })
    return status === 429
  }, { what: 'a rejection' })
  for (const path of ['/nowhere', '/healthz/live', '/cities?q=paris']) await (await fetch(url + path)).text()
}

/** As Grafana replaces the variables, with an interval for a scrape each second. */
function withVariables (expression: string): string {
  return expression.replaceAll('$__rate_interval', '20s').replaceAll('$job', 'prism').replaceAll('$instance', '.*').replaceAll('offset 1m', 'offset 1h')
}

t.test('with a Prometheus that scrapes the service, each expression of the dashboard and of the rules returns data', needsPrometheus, async (t) => {
  t.setTimeout(300_000)
  const redis = await startRedis(t, { args: ['--maxmemory', '256mb', '--maxmemory-policy', 'volatile-ttl'] })
  const metricsPort = await freePort()
  const service = await startService(t, { REDIS_URL: redis.url, METRICS_PORT: String(metricsPort), HOST: '127.0.0.1', RAILWAY_GIT_COMMIT_SHA: '0123456789abcdef' })
  const prometheus = await startPrometheus(t, `127.0.0.1:${metricsPort}`)
  // A rate needs a value from before the traffic.
  await until(async () => (await prometheus.query('count_over_time(prism_redis_writes_total[1m]) >= 2')).length > 0, { what: 'two scrapes', deadlineMs: 60_000 })
  await makeTraffic(t, service.url)
  // Nor does a rate count what a series has at its first scrape, which can be all of the traffic.
  await until(async () => (await prometheus.query('sum(prism_http_requests_total) > 400')).length > 0, { what: 'the traffic is scraped', deadlineMs: 30_000 })
  await makeTraffic(t, service.url)

  const expressions = [
    ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ name: title, expression: withVariables(expr) }))),
    ...dashboard.annotations.list.map(({ name, expr }) => ({ name, expression: withVariables(expr) })),
    ...rules.map(({ name, signal, windowSeconds }) => ({ name, expression: signals[signal].promql.replaceAll('$window', `${windowSeconds}s`) })),
    ...prometheusRules.map(({ name, expression }) => ({ name, expression }))
  ]
  let empty = expressions
  await until(async () => {
    const results = await Promise.all(empty.map(async (each) => ({ each, result: await prometheus.query(each.expression) })))
    empty = results.filter(({ result }) => result.length === 0).map(({ each }) => each)
    return empty.every(({ name }) => name in needFault)
  }, { what: 'data for each expression', deadlineMs: 30_000, everyMs: 500 }).catch(() => {})

  t.ok(expressions.length > 60, `${expressions.length} expressions`)
  t.same(empty.filter(({ name }) => !(name in needFault)), [])
  t.same(empty.map(({ name }) => name).sort(), Object.keys(needFault).sort(), 'the exceptions have no data')
  const loaded = await prometheus.rules()
  t.equal(loaded.length, rules.length + prometheusRules.length)
  t.same(loaded.filter(({ health }) => health !== 'ok'), [])
  t.match(await prometheus.query('prism_build_info'), [{ metric: { commit: '0123456789ab' } }])
})
