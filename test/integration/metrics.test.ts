import { execFileSync, spawnSync } from 'node:child_process'
import { STATUS_CODES } from 'node:http'
import fastify from 'fastify'
import t from 'tap'
import prism from '../../plugins/index.ts'
import metrics from '../../plugins/metrics.ts'
import { commandTimeout } from '../support/deadline.ts'
import { buildTestApp } from '../support/app.ts'
import type { TestApp } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { untilHit } from '../support/signed-in-client.ts'

const hasPromtool = spawnSync('promtool', ['--version']).status === 0
const token = 'a-token-of-the-operator'
const headers = { authorization: `Bearer ${token}` }

const strange = ['PROPFIND', 'MKCOL', 'REPORT', 'PURGE']
const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', ...strange]

/** Names of metrics with their labels. */
const promised: Readonly<Record<string, readonly string[]>> = {
  prism_build_info: ['version', 'commit'],
  prism_http_in_flight_requests: [],
  prism_redis_command_duration_seconds_bucket: ['command', 'script', 'le'],
  prism_redis_command_errors_total: ['command', 'script'],
  prism_http_requests_total: ['method', 'route', 'status', 'cache'],
  prism_http_request_duration_seconds_bucket: ['method', 'route', 'le'],
  prism_cache_requests_total: ['outcome'],
  prism_cache_events_total: ['event'],
  prism_cache_stored_bytes_total: [],
  prism_redis_round_trip_seconds_bucket: ['le'],
  prism_redis_writes_total: [],
  prism_redis_operations_total: [],
  prism_redis_pool_connections: [],
  prism_redis_in_flight_commands: [],
  prism_redis_circuit_breaker_open: [],
  prism_redis_timeouts_total: [],
  prism_redis_connections_lost_total: [],
  prism_rate_limit_decisions_total: ['policy', 'outcome'],
  prism_session_operations_total: ['operation', 'outcome'],
  prism_sessions_evictable: [],
  prism_session_evicted_keys_total: [],
  prism_events_total: ['outcome'],
  prism_live_connections: ['transport'],
  prism_keyspace_keys: ['namespace'],
  prism_keyspace_memory_bytes: ['namespace'],
  redis_memory_used_bytes: [],
  redis_memory_max_bytes: [],
  redis_connected_clients: [],
  redis_rejected_connections_total: [],
  redis_commands_processed_total: [],
  redis_keyspace_hits_total: [],
  redis_keyspace_misses_total: [],
  redis_evicted_keys_total: [],
  redis_expired_keys_total: [],
  redis_evicted_clients_total: [],
  redis_mem_fragmentation_ratio: [],
  redis_rdb_last_bgsave_status: [],
  redis_aof_last_write_status: [],
  redis_connected_slaves: [],
  redis_slowlog_length: [],
  prism_redis_server_latency_seconds: ['cmd', 'percentile']
}

/** The value of one series; undefined if it does not exist. */
async function series (app: TestApp, name: string): Promise<number | undefined> {
  const line = (await scrape(app)).split('\n').find((each) => each.startsWith(`${name} `))
  return line === undefined ? undefined : Number(line.slice(name.length + 1))
}

async function scrape (app: TestApp): Promise<string> {
  return (await app.inject({ url: '/metrics', headers })).body
}

t.test('metrics count requests by route, status and cache outcome', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  await app.inject('/cities/2988507')
  await untilHit(async () => await app.inject('/cities/2988507'))
  await app.inject('/nowhere')

  t.ok(await series(app, 'prism_http_requests_total{method="GET",route="/cities/:id",status="200",cache="miss"}'))
  t.ok(await series(app, 'prism_http_requests_total{method="GET",route="/cities/:id",status="200",cache="hit"}'))
  t.equal(await series(app, 'prism_http_requests_total{method="GET",route="none",status="404",cache="none"}'), 1)
  t.ok(await series(app, 'prism_http_request_duration_seconds_count{method="GET",route="/cities/:id"}'))
  t.ok(await series(app, 'prism_cache_requests_total{outcome="miss"}'))
})

t.test('metrics count allowed and rejected requests, sessions, and writes to Redis', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  const put = async () => await app.inject({ method: 'PUT', url: '/cities/2988507/notes', payload: { text: 'x' } })
  await until(async () => (await put()).statusCode === 429, { what: 'a rejection' })

  t.ok(await series(app, 'prism_rate_limit_decisions_total{policy="default",outcome="allowed"}'))
  t.match(await scrape(app), /prism_rate_limit_decisions_total\{policy="[^"]+",outcome="rejected"\} 1/)
  t.match(await scrape(app), /prism_session_operations_total\{operation="load",outcome="found"\} 0/)
  t.ok(await series(app, 'prism_redis_writes_total'))
  t.match(app.metrics.topRateLimited.top(1), [{ who: '127.0.0.0/24', count: 1 }])
})

t.test('metrics export the figures of Redis under the names of redis_exporter', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })

  await until(async () => await series(app, 'redis_memory_used_bytes') && await series(app, 'redis_up') === 1, { what: 'a sample of Redis' })

  t.equal(await series(app, 'redis_memory_max_bytes'), 0)
  t.match(await scrape(app), /redis_instance_info\{redis_version="\d.*",role="master",maxmemory_policy="noeviction"\} 1/)
  t.match(await scrape(app), /prism_redis_server_latency_seconds\{cmd="[^"]+",percentile="99"\}/)
})

t.test('metrics require the admin token, and do not exist in production without one', async (t) => {
  const closed = await buildTestApp(t, { adminToken: token })
  const off = await buildTestApp(t, { production: true })

  t.equal((await closed.inject('/metrics')).statusCode, 401)
  t.equal((await closed.inject({ url: '/metrics', headers: { authorization: 'Bearer another' } })).statusCode, 401)
  t.equal((await off.inject('/metrics')).statusCode, 404)
})

t.test('metrics on their own port need no token, and close with the app', async (t) => {
  const app = await buildTestApp(t, { adminToken: token, metricsPort: 0, host: '127.0.0.1' })
  await app.listen({ port: 0, host: '127.0.0.1' })

  const port = await until(() => app.metrics.port, { what: 'the port' })
  const url = `http://127.0.0.1:${port}/metrics`
  const response = await fetch(url)

  t.equal(response.status, 200)
  t.match(await response.text(), 'prism_redis_writes_total')
  t.equal((await fetch(url.replace('/metrics', '/'))).status, 404)
  await app.close()
  await t.rejects(fetch(url))
})

t.test('the number of series depends on routes, methods and registered status codes only, not on URLs, unknown methods or unknown status codes', async (t) => {
  const app = fastify({ exposeHeadRoutes: false })
  t.after(() => app.close())
  for (const method of strange) app.addHttpMethod(method)
  await app.register(prism, { redis: { url: (await startRedis(t)).url, commandTimeout }, session: false, cache: false, events: false, rateLimit: false })
  await app.register(metrics, {})
  app.route({ method: methods, url: '/any/:status', handler: (request, reply) => reply.code(Number((request.params as { status: string }).status)).send() })
  await app.ready()
  const series = async () => (await app.metrics.registry.text()).split('\n').filter((line) => /^prism_http_requests_total/.test(line))
  const statuses = new Set<number>()

  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 100 }, async (_, index) => {
      const number = round * 100 + index
      const url = index % 2 === 0 ? `/any/${200 + number % 400}?n=${number}` : `/nowhere/${number}`
      statuses.add((await app.inject({ url, method: methods[number % methods.length] as 'GET' })).statusCode)
    }))
  }

  t.ok(statuses.size > 190, `${statuses.size} status codes were sent`)
  const rows = await series()
  const codes = Object.keys(STATUS_CODES).filter((code) => code >= '200')
  // Eight methods and "other" of one route with each registered code and four classes, and of the unknown route with 404.
  t.ok(rows.length <= 8 * (codes.length + 4) + 8, `${rows.length} series`)
  t.ok(rows.some((row) => row.includes('status="418"')) && rows.some((row) => row.includes('status="4xx"')))
  t.equal(rows.reduce((sum, row) => sum + Number(row.split(' ').at(-1)), 0), 10_000)
  t.ok(rows.some((row) => row.includes('method="other"')))
})

t.test('metrics export every documented name', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  await app.inject('/cities/2988507')
  await until(() => app.metrics.collector.sample, { what: 'a sample of Redis' })

  const text = await scrape(app)

  for (const [name, labels] of Object.entries(promised)) t.match(text, new RegExp(`^${name}${labels.length === 0 ? '' : `\\{${labels.map((label) => `${label}="[^"]*"`).join(',')}`}`, 'm'), name)
})

t.test('metrics count live connections, and events from publishing to delivery', async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const closing = new AbortController()
  t.after(() => closing.abort())

  const stream = await fetch(`${app.listeningOrigin}/events?topic=events`, { signal: closing.signal })
  t.equal(stream.status, 200)
  await until(async () => await series(app, 'prism_live_connections{transport="stream"}') === 1, { what: 'the connection is counted' })
  let published = 0
  // On a busy machine Redis can time out at this moment.
  await until(async () => {
    await app.events.publish('events', { type: 'test.done', data: {} })
    published += 1
    return true
  }, { what: 'an event is published' })
  await until(async () => await series(app, 'prism_events_total{outcome="delivered"}'), { what: 'the delivery is counted' })

  t.equal(await series(app, 'prism_events_total{outcome="published"}'), published)
  t.equal(await series(app, 'prism_live_connections{transport="websocket"}'), 0)
  t.equal(await series(app, 'prism_events_total{outcome="reset"}'), 0)
})

t.test('one of two processes samples Redis for both, and the other takes over when it closes', async (t) => {
  const { url } = await startRedis(t)
  const first = await buildTestApp(t, { redisUrl: url, adminToken: token, metricsEvery: '50ms' })
  const second = await buildTestApp(t, { redisUrl: url, adminToken: token, metricsEvery: '50ms' })
  const isHolder = (app: TestApp) => app.metrics.collector.isLeader
  await until(() => isHolder(first) !== isHolder(second), { what: 'one process is the leader' })
  const [holder, other] = isHolder(first) ? [first, second] : [second, first]
  const { at } = await until(() => other.metrics.collector.sample, { what: 'the other has the sample' })

  await holder.close()
  const closedAt = Date.now()
  const sample = await until(() => isHolder(other) && (other.metrics.collector.sample?.at ?? 0) > closedAt && other.metrics.collector.sample, { what: 'the other takes over' })

  t.ok(sample.at > at)
  t.equal(sample.nodes.length, 1)
})

t.test('metrics estimate keys, bytes and lifetimes per namespace', async (t) => {
  const redis = await startRedis(t)
  const fill = redis.client.pipeline()
  for (let index = 0; index < 3000; index++) fill.set(`session:{user${index}}`, 'x'.repeat(100), 'EX', 3000).set(`api:cache:GET:/x:{${index}}`, 'y'.repeat(1000), 'EX', 200)
  fill.set('foreign', '1')
  await fill.exec()
  const app = await buildTestApp(t, { redisUrl: redis.url, adminToken: token, metricsEvery: '50ms' })

  const { sessions, cache } = await until(() => {
    const [sessions, cache] = ['session', 'cache'].map((name) => app.metrics.collector.sample?.namespaces.find(({ namespace }) => namespace === name))
    return [sessions, cache].every((each) => Math.abs((each?.keys ?? 0) - 3000) < 100) && { sessions, cache }
  }, { what: 'the sample covers both namespaces' })

  t.ok((sessions?.bytes ?? 0) < (cache?.bytes ?? 0), `${sessions?.bytes}`)
  t.ok((cache?.bytes ?? 0) > 3_000_000 && (cache?.bytes ?? 0) < 4_500_000, `${cache?.bytes}`)
  t.ok((cache?.lifetimes[1] ?? 0) > 0)
  t.same(cache?.lifetimes.filter((_, index) => index !== 1), [0, 0, 0, 0, 0])
})

t.test('metrics pass the check of promtool', { skip: hasPromtool ? false : 'promtool is not installed' }, async (t) => {
  const app = await buildTestApp(t, { adminToken: token })
  await app.inject('/cities/2988507')
  await until(async () => await series(app, 'redis_memory_used_bytes'), { what: 'a sample of Redis' })

  t.equal(execFileSync('promtool', ['check', 'metrics'], { input: await scrape(app), encoding: 'utf8' }), '')
})
