import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { hasty, receiver, secret, told } from '../support/alerts.ts'
import { buildTestApp } from '../support/app.ts'
import type { TestApp, TestAppOptions } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(120_000)

t.test('alerts sends again what was not taken, signed, and a test message when asked', async (t) => {
  const { url, messages, tries } = await receiver(t, 2)
  const app = await buildTestApp(t, { alerting: { rules: [], retryMs: 10 }, alertWebhookUrl: url, alertWebhookSecret: secret })

  await app.alerts.test()

  t.equal(tries(), 3)
  t.match(messages, [{ status: 'test', alert: 'PrismTest' }])
})

t.test('alerts gives up what is refused for good, and what is refused too often, and says so in the log', async (t) => {
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

t.test('alerts publishes each change on the topic alerts', async (t) => {
  const app: TestApp = await buildTestApp(t, { alerting: { rules: [] } })
  const heard: unknown[] = []
  app.events.subscribe('alerts', (event) => { heard.push(event.data) })

  await app.alerts.test()
  await until(() => heard.length > 0, { what: 'the message' })

  t.match(heard, [{ status: 'test' }])
})

t.test('alerts of Redis are told by one process of two', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { url, messages } = await receiver(t)
  const rule = hasty('PrismSessionsEvictable', { forSeconds: 2 })
  const options: TestAppOptions = { redisUrl: redis.url, metricsEvery: '100ms', alerting: { rules: [rule], retryMs: 20 }, alertWebhookUrl: url, alertWebhookSecret: secret }

  const apps = [await buildTestApp(t, options), await buildTestApp(t, options)]
  await until(() => apps.every((app) => app.alerts.all[0]?.state === 'firing'), { what: 'both have judged' })
  await until(() => messages.length > 0, { what: 'it is told' })

  t.same(told(messages), ['PrismSessionsEvictable firing'])
})

t.test('alerts that are not taken hold up no other alert', async (t) => {
  const taken: string[] = []
  const { url } = await startReceiver(t, (body, answer) => {
    const { alert } = JSON.parse(body) as { alert: string }
    if (alert === 'PrismTest') return // it never answers
    taken.push(alert)
    answer(204)
  })
  const app = await buildTestApp(t, { metricsEvery: '50ms', alerting: { rules: [hasty('PrismRedisDown')], retryMs: 10 }, redisUrl: (await startRedis(t)).url, alertWebhookUrl: url })

  app.alerts.test().catch(() => {}) // it waits for an answer that does not come
  app.redisPool.disconnect()
  await until(() => taken.includes('PrismRedisDown'), { what: 'the other alert', deadlineMs: 4000 })

  t.same(taken, ['PrismRedisDown'])
})

t.test('alerts are written as the receiver wants them, and a test says what became of it', async (t) => {
  const bodies: unknown[] = []
  const { url } = await startReceiver(t, (body, answer) => { bodies.push(JSON.parse(body)); answer(202) })
  const strict = await startReceiver(t, (_body, answer) => answer(404))
  const test = async (changes: TestAppOptions) => await (await buildTestApp(t, { alerting: { rules: [], retryMs: 1 }, ...changes })).alerts.test()

  const sent = await test({ alertWebhookUrl: url, alertWebhookFormat: 'pagerduty', alertPagerDutyKey: 'key' })
  const failed = await test({ alertWebhookUrl: strict.url, alertWebhookFormat: 'slack' })
  const none = await test({})

  t.same([sent, failed, none], [{ webhook: 'sent' }, { webhook: 'failed', reason: 'status 404' }, { webhook: 'none' }])
  t.match(bodies, [{ event_action: 'trigger', routing_key: 'key' }, { event_action: 'resolve' }])
})

t.test('alerts tell of a full Redis that evicts nothing: its memory and its refused writes, once for two processes', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '8mb', '--maxmemory-policy', 'noeviction'] })
  const { url, messages } = await receiver(t)
  const options: TestAppOptions = { redisUrl: redis.url, metricsEvery: '100ms', alerting: { rules: [hasty('PrismRedisMemoryCritical'), hasty('PrismRedisWritesRefused')], retryMs: 20 }, alertWebhookUrl: url, alertWebhookSecret: secret }
  const apps = [await buildTestApp(t, options), await buildTestApp(t, options)]
  await until(() => apps.filter(({ metrics }) => metrics.collector.isLeader).length === 1, { what: 'one holds the lease' })

  for (let isTaken = true; isTaken;) isTaken = await redis.client.set(`fill:${Math.random()}`, 'x'.repeat(100_000)).then(() => true, () => false)
  await redis.client.config('SET', 'maxmemory', '7mb') // the smallest write is refused too
  await until(() => apps.every((app) => app.alerts.all.every(({ state }) => state === 'firing')), { what: 'both have judged', deadlineMs: 20_000 })
  await until(() => messages.length >= 2, { what: 'they are told' })

  t.same(told(messages).sort(), ['PrismRedisMemoryCritical firing', 'PrismRedisWritesRefused firing'])
  t.match(messages.find(({ alert }) => alert === 'PrismRedisWritesRefused'), { reason: { code: 'out_of_memory' }, first: /maxmemory/ })
  t.match(await apps[0]?.metrics.registry.text(), /^redis_up 1$/m)
})

t.test('alerts are quiet about a cache that has filled memory as far as it may', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '20mb', '--maxmemory-policy', 'volatile-ttl'] })
  const used = async () => Number(/used_memory:(\d+)/.exec(await redis.client.info('memory'))?.[1]) / (20 * 1024 * 1024)
  for (let index = 0; await used() < 0.83; index++) await redis.client.set(`api:cache:GET:/page:{${index}}`, 'x'.repeat(20_000), 'EX', 600)
  const app = await buildTestApp(t, { redisUrl: redis.url, metricsEvery: '50ms', alerting: { rules: [hasty('PrismRedisMemoryHigh'), hasty('PrismRedisMemoryCritical')] } })

  await until(() => app.metrics.history.all.length > 20, { what: 'readings' })

  t.same(app.alerts.all.map(({ state }) => state), ['inactive', 'inactive'])
  t.ok((app.alerts.all[0]?.value ?? 1) < 0.5, 'what is not the cache\'s own is little')
  await redis.client.flushall()
  for (let index = 0; await used() < 0.84; index++) await redis.client.set(`fill:${index}`, 'x'.repeat(200_000))
  await until(() => app.alerts.all[0]?.state === 'firing', { what: 'others fill it', deadlineMs: 20_000 })
})

/** Something that takes alerts, or not. */
async function startReceiver (t: Test, take: (body: string, answer: (status: number) => void) => void): Promise<{ url: string }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => take(Buffer.concat(chunks).toString(), (status) => response.writeHead(status).end()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts` }
}
