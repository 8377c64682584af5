import t from 'tap'
import { hasty, receiver, secret, told } from '../helpers/alerts.ts'
import { buildTestApp } from '../helpers/app.ts'
import type { TestApp, TestAppOptions } from '../helpers/app.ts'
import { startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

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
  t.same(lines.map((line) => JSON.parse(line)).filter(({ message }) => message === 'An alert could not be sent').map(({ reason }) => reason), ['status 403', 'status 503'])
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
