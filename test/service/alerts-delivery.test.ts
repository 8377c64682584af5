import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { hasty, receiver, secret, changes } from '../support/alerts.ts'
import { buildTestApp } from '../support/app.ts'
import type { TestApp, TestAppOptions } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

t.test('alert messages are signed and retried, and a test message is sent on request', async (t) => {
  const { url, messages, tries } = await receiver(t, 2)
  const app = await buildTestApp(t, { alerting: { rules: [], retryMs: 10 }, alertWebhookUrl: url, alertWebhookSecret: secret })

  await app.alerts.test()

  t.equal(tries(), 3)
  t.match(messages, [{ status: 'test', alert: 'PrismTest' }])
})

t.test('alert messages are dropped after a permanent rejection or too many retries, which is logged', async (t) => {
  const lines: string[] = []
  const log = { write: (line: string) => { lines.push(line) } }
  const [strict, down] = [await receiver(t), await receiver(t, Infinity)]
  const send = async (url: string, alertWebhookSecret: string) => await (await buildTestApp(t, { log, alerting: { rules: [], retryMs: 1 }, alertWebhookUrl: url, alertWebhookSecret })).alerts.test()

  await send(strict.url, 'another secret, which is 32 long')
  await send(down.url, secret)

  t.same([strict.tries(), down.tries()], [1, 6])
  t.same([...strict.messages, ...down.messages], [])
  t.same(lines.map((line) => JSON.parse(line)).filter(({ message }) => message === 'Alert could not be sent').map(({ reason }) => reason), ['status 403', 'status 503'])
  t.notMatch(lines.join(''), strict.url)
})

t.test('each alert change is published on the topic alerts', async (t) => {
  const app: TestApp = await buildTestApp(t, { alerting: { rules: [] } })
  const heard: unknown[] = []
  app.events.subscribe('alerts', (event) => { heard.push(event.data) })

  await app.alerts.test()
  await until(() => heard.length > 0, { what: 'the event' })

  t.match(heard, [{ status: 'test' }])
})

t.test('alerts of Redis are reported by one of two processes', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { url, messages } = await receiver(t)
  const rule = hasty('PrismSessionsEvictable', { forSeconds: 2 })
  const options: TestAppOptions = { redisUrl: redis.url, metricsEvery: '100ms', alerting: { rules: [rule], retryMs: 20 }, alertWebhookUrl: url, alertWebhookSecret: secret }

  const apps = [await buildTestApp(t, options), await buildTestApp(t, options)]
  await until(() => apps.every((app) => app.alerts.all[0]?.state === 'firing'), { what: 'both have evaluated' })
  await until(() => messages.length > 0, { what: 'the alert is reported' })

  t.same(changes(messages), ['PrismSessionsEvictable firing'])
})

t.test('an alert that is not accepted delays no other alert', async (t) => {
  const taken: string[] = []
  const { url } = await startReceiver(t, (body, respond) => {
    const { alert } = JSON.parse(body) as { alert: string }
    if (alert === 'PrismTest') return // the receiver never responds
    taken.push(alert)
    respond(204)
  })
  const app = await buildTestApp(t, { metricsEvery: '50ms', alerting: { rules: [hasty('PrismRedisDown')], retryMs: 10 }, redisUrl: (await startRedis(t)).url, alertWebhookUrl: url })

  app.alerts.test().catch(() => {}) // the request waits for a response that never arrives
  app.redisPool.disconnect()
  await until(() => taken.includes('PrismRedisDown'), { what: 'the other alert', deadlineMs: 4000 })

  t.same(taken, ['PrismRedisDown'])
})

t.test('alert messages have the receiver\'s format, and a test reports its result', async (t) => {
  const bodies: unknown[] = []
  const { url } = await startReceiver(t, (body, respond) => { bodies.push(JSON.parse(body)); respond(202) })
  const strict = await startReceiver(t, (_body, respond) => respond(404))
  const test = async (changes: TestAppOptions) => await (await buildTestApp(t, { alerting: { rules: [], retryMs: 1 }, ...changes })).alerts.test()

  const sent = await test({ alertWebhookUrl: url, alertWebhookFormat: 'pagerduty', alertPagerDutyKey: 'key' })
  const failed = await test({ alertWebhookUrl: strict.url, alertWebhookFormat: 'slack' })
  const none = await test({})

  t.same([sent, failed, none], [{ webhook: 'sent' }, { webhook: 'failed', reason: 'status 404' }, { webhook: 'none' }])
  t.match(bodies, [{ event_action: 'trigger', routing_key: 'key' }, { event_action: 'resolve' }])
})

t.test('a full Redis without eviction is reported once by two processes: its memory and its rejected writes', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '8mb', '--maxmemory-policy', 'noeviction'] })
  const { url, messages } = await receiver(t)
  const options: TestAppOptions = { redisUrl: redis.url, metricsEvery: '100ms', alerting: { rules: [hasty('PrismRedisMemoryCritical'), hasty('PrismRedisWritesRefused')], retryMs: 20 }, alertWebhookUrl: url, alertWebhookSecret: secret }
  const apps = [await buildTestApp(t, options), await buildTestApp(t, options)]
  await until(() => apps.filter(({ metrics }) => metrics.collector.isLeader).length === 1, { what: 'one process is the leader' })

  for (let isTaken = true; isTaken;) isTaken = await redis.client.set(`fill:${Math.random()}`, 'x'.repeat(100_000)).then(() => true, () => false)
  await redis.client.config('SET', 'maxmemory', '7mb') // the smallest write is rejected too
  await until(() => apps.every((app) => app.alerts.all.every(({ state }) => state === 'firing')), { what: 'both have evaluated', deadlineMs: 20_000 })
  await until(() => messages.length >= 2, { what: 'the alerts are reported' })

  t.same(changes(messages).sort(), ['PrismRedisMemoryCritical firing', 'PrismRedisWritesRefused firing'])
  t.match(messages.find(({ alert }) => alert === 'PrismRedisWritesRefused'), { reason: { code: 'out_of_memory' }, first: /maxmemory/ })
  t.match(await apps[0]?.metrics.registry.text(), /^redis_up 1$/m)
})

t.test('a cache that fills memory up to its limit causes no alert', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '20mb', '--maxmemory-policy', 'volatile-ttl'] })
  const used = async () => Number(/used_memory:(\d+)/.exec(await redis.client.info('memory'))?.[1]) / (20 * 1024 * 1024)
  for (let index = 0; await used() < 0.83; index++) await redis.client.set(`api:cache:GET:/page:{${index}}`, 'x'.repeat(20_000), 'EX', 600)
  const app = await buildTestApp(t, { redisUrl: redis.url, metricsEvery: '50ms', alerting: { rules: [hasty('PrismRedisMemoryHigh'), hasty('PrismRedisMemoryCritical')] } })

  await until(() => app.metrics.history.all.length > 20, { what: 'readings' })

  t.same(app.alerts.all.map(({ state }) => state), ['inactive', 'inactive'])
  t.ok((app.alerts.all[0]?.value ?? 1) < 0.5, 'memory of other data is small')
  await redis.client.flushall()
  for (let index = 0; await used() < 0.84; index++) await redis.client.set(`fill:${index}`, 'x'.repeat(200_000))
  await until(() => app.alerts.all[0]?.state === 'firing', { what: 'other data fills the memory', deadlineMs: 20_000 })
})

/** A receiver that accepts alerts, or rejects them. */
async function startReceiver (t: Test, take: (body: string, respond: (status: number) => void) => void): Promise<{ url: string }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => take(Buffer.concat(chunks).toString(), (status) => response.writeHead(status).end()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts` }
}
