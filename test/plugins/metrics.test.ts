import { execFileSync, spawnSync } from 'node:child_process'
import t from 'tap'
import { buildTestApp } from '../helpers/app.ts'
import type { TestApp } from '../helpers/app.ts'
import { startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { untilHit } from '../helpers/visitor.ts'

const hasPromtool = spawnSync('promtool', ['--version']).status === 0
const token = 'a-token-of-the-operator'
const headers = { authorization: `Bearer ${token}` }

/** The value of one series; undefined where there is none. */
async function series (app: TestApp, name: string): Promise<number | undefined> {
  const line = (await scrape(app)).split('\n').find((each) => each.startsWith(`${name} `))
  return line === undefined ? undefined : Number(line.slice(name.length + 1))
}

async function scrape (app: TestApp): Promise<string> {
  return (await app.inject({ url: '/metrics', headers })).body
}

t.test('metrics counts requests by route, status class and cache outcome', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  await app.inject('/cities/2988507')
  await untilHit(async () => await app.inject('/cities/2988507'))
  await app.inject('/nowhere')

  t.ok(await series(app, 'prism_http_requests_total{method="GET",route="/cities/:id",status="2xx",cache="miss"}'))
  t.ok(await series(app, 'prism_http_requests_total{method="GET",route="/cities/:id",status="2xx",cache="hit"}'))
  t.equal(await series(app, 'prism_http_requests_total{method="GET",route="none",status="4xx",cache="none"}'), 1)
  t.ok(await series(app, 'prism_http_request_duration_seconds_count{method="GET",route="/cities/:id"}'))
  t.ok(await series(app, 'prism_cache_requests_total{outcome="miss"}'))
})

t.test('metrics counts what limits let pass and refuse, sessions, and writes to Redis', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  const put = async () => await app.inject({ method: 'PUT', url: '/cities/2988507/notes', payload: { text: 'x' } })
  await until(async () => (await put()).statusCode === 429, { what: 'a refusal' })

  t.ok(await series(app, 'prism_rate_limit_decisions_total{policy="default",outcome="allowed"}'))
  t.match(await scrape(app), /prism_rate_limit_decisions_total\{policy="[^"]+",outcome="refused"\} 1/)
  t.match(await scrape(app), /prism_session_operations_total\{operation="load",outcome="found"\} 0/)
  t.ok(await series(app, 'prism_redis_writes_total'))
  t.match(app.metrics.mostRefused.top(1), [{ who: '127.0.0.0/24', count: 1 }])
})

t.test('metrics tells Redis\'s figures under the names of redis_exporter', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  await until(async () => await series(app, 'redis_memory_used_bytes'), { what: 'a look at Redis' })

  t.equal(await series(app, 'redis_up'), 1)
  t.equal(await series(app, 'redis_memory_max_bytes'), 0)
  t.match(await scrape(app), /redis_instance_info\{redis_version="\d.*",role="master",maxmemory_policy="noeviction"\} 1/)
  t.match(await scrape(app), /redis_latency_percentiles_seconds\{cmd="[^"]+",percentile="99"\}/)
})

t.test('metrics is for the operator, and is not there in production without a token', async (t) => {
  const closed = await buildTestApp(t, { adminToken: token })
  const off = await buildTestApp(t, { production: true })

  t.equal((await closed.inject('/metrics')).statusCode, 401)
  t.equal((await closed.inject({ url: '/metrics', headers: { authorization: 'Bearer another' } })).statusCode, 401)
  t.equal((await off.inject('/metrics')).statusCode, 404)
})

t.test('metrics answers without a token on a port of its own, and ends with its app', async (t) => {
  const app = await buildTestApp(t, { adminToken: token, metricsPort: 0, host: '127.0.0.1' })
  await app.listen({ port: 0, host: '127.0.0.1' })

  const port = await until(() => app.metrics.port, { what: 'the port' })
  const url = `http://127.0.0.1:${port}/metrics`
  const answer = await fetch(url)

  t.equal(answer.status, 200)
  t.match(await answer.text(), 'prism_redis_writes_total')
  t.equal((await fetch(url.replace('/metrics', '/'))).status, 404)
  await app.close()
  await t.rejects(fetch(url))
})

t.test('metrics makes no series of what strangers send', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  const count = async () => (await scrape(app)).split('\n').filter((line) => /^prism_http/.test(line)).length
  await app.inject('/nowhere')
  await app.inject('/cities?q=paris')

  const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PROPFIND', 'MKCOL', 'REPORT', 'TRACE'] as const
  const before = await count()
  for (let round = 0; round < 20; round++) {
    const urls = Array.from({ length: 100 }, (_, index) => index % 10 === 0 ? `/cities/${round * 100 + index + 1}` : `/${round}/${index}`)
    await Promise.all(urls.map(async (url, index) => await app.inject({ url, method: methods[index % methods.length] as 'GET' })))
  }

  t.ok(await count() < before + 300, `${before} series became ${await count()}`)
})

t.test('metrics lets one process look at Redis for two, and another one once that is gone', async (t) => {
  const { url } = await startRedis(t)
  const first = await buildTestApp(t, { redisUrl: url, adminToken: token, metricsEvery: '50ms' })
  const second = await buildTestApp(t, { redisUrl: url, adminToken: token, metricsEvery: '50ms' })
  const isHolder = (app: TestApp) => app.metrics.observer.isHolder
  await until(() => isHolder(first) !== isHolder(second), { what: 'one of them looks' })
  const [holder, other] = isHolder(first) ? [first, second] : [second, first]
  await until(() => other.metrics.observer.sample, { what: 'the other has the figures' })

  await holder.close()
  await until(() => isHolder(other), { what: 'the other looks itself' })

  t.ok(other.metrics.observer.sample)
})

t.test('metrics estimates keys, bytes and lifetimes of each namespace', async (t) => {
  const redis = await startRedis(t)
  const fill = redis.client.pipeline()
  for (let index = 0; index < 3000; index++) fill.set(`session:{user${index}}`, 'x'.repeat(100), 'EX', 3000).set(`api:cache:GET:/x:{${index}}`, 'y'.repeat(1000), 'EX', 200)
  fill.set('foreign', '1')
  await fill.exec()
  const app = await buildTestApp(t, { redisUrl: redis.url, adminToken: token, metricsEvery: '50ms' })

  const sample = await until(() => {
    const { sample } = app.metrics.observer
    const sessions = sample?.namespaces.find(({ namespace }) => namespace === 'session')
    return Math.abs((sessions?.keys ?? 0) - 3000) < 100 && sample
  }, { what: 'the survey has seen enough' })
  const cache = sample.namespaces.find(({ namespace }) => namespace === 'cache')

  t.ok(Math.abs((cache?.keys ?? 0) - 3000) < 100)
  t.ok((cache?.bytes ?? 0) > 3_000_000 && (cache?.bytes ?? 0) < 4_500_000, `${cache?.bytes}`)
  t.ok((cache?.lifetimes[1] ?? 0) > 0)
  t.same(cache?.lifetimes.filter((_, index) => index !== 1), [0, 0, 0, 0, 0])
})

t.test('metrics passes the check of promtool', { skip: hasPromtool ? false : 'promtool is not installed' }, async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  await app.inject('/cities/2988507')
  await until(async () => await series(app, 'redis_memory_used_bytes'), { what: 'a look at Redis' })

  t.equal(execFileSync('promtool', ['check', 'metrics'], { input: await scrape(app), encoding: 'utf8' }), '')
})
