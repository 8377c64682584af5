import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { rules } from '../../src/alerts/rules.ts'
import type { Rule } from '../../src/alerts/rules.ts'
import { sign } from '../../src/alerts/webhook.ts'
import { buildTestApp } from '../helpers/app.ts'
import type { TestApp, TestAppOptions } from '../helpers/app.ts'
import { startRedis } from '../helpers/redis.ts'
import { startRig } from '../helpers/rig.ts'
import { until } from '../helpers/until.ts'

const secret = 'a secret of the webhook, 32 long'

interface Message { status: string, alert: string, severity: string, meaning: string, first: string, value: number | null }

/** Somebody who receives alerts, checks who sent them, and refuses the first `refusals` tries. */
async function receiver (t: Test, refusals = 0): Promise<{ url: string, messages: Message[], tries: () => number }> {
  const messages: Message[] = []
  let tries = 0
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const isOurs = request.headers['x-prism-signature'] === sign(body, secret)
      if (++tries > refusals && isOurs) messages.push(JSON.parse(body))
      response.writeHead(tries > refusals ? isOurs ? 204 : 403 : 503).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`, messages, tries: () => tries }
}

/** A rule with less patience: nobody waits for ten minutes in a test. */
function hasty (name: string, changes: Partial<Rule> = {}): Rule {
  const rule = rules.find((each) => each.name === name)
  if (rule === undefined) throw new Error(`there is no rule ${name}`)
  return { ...rule, forSeconds: Math.min(rule.forSeconds, 0.3), windowSeconds: 1, ...changes }
}

async function watched (t: Test, rule: Rule, options: TestAppOptions) {
  const { url, messages } = await receiver(t)
  const app = await buildTestApp(t, { metricsEvery: '50ms', alerting: { rules: [rule], retryMs: 20 }, alertWebhookUrl: url, alertWebhookSecret: secret, ...options })
  const sees = async (status: string) => await until(() => messages.find((message) => message.status === status), { what: `${rule.name} ${status}` })
  return { app, messages, sees }
}

/** What was told, in order: one message a change. */
function told (messages: readonly Message[]): string[] {
  return messages.map(({ status, alert }) => `${alert} ${status}`)
}

for (const { name, above, severity } of rules.filter(({ signal }) => signal === 'memoryShare')) {
  t.test(`alerts tells with ${name} of a Redis filled past ${above * 100} %, within 10 s, and that it is over`, async (t) => {
    const redis = await startRedis(t, { args: ['--maxmemory', '20mb'] })
    const { messages, sees } = await watched(t, hasty(name), { redisUrl: redis.url })
    t.ok((rules.find((rule) => rule.name === name)?.forSeconds ?? 99) + 5 <= 10)

    const share = async () => Number(/used_memory:(\d+)/.exec(await redis.client.info('memory'))?.[1]) / (20 * 1024 * 1024)
    for (let index = 0; await share() < above + 0.02; index++) await redis.client.set(`fill:${index}`, 'x'.repeat(200_000))
    const raised = await sees('firing')
    await redis.client.flushall()
    await sees('resolved')

    t.ok((raised.value ?? 0) > above)
    t.match(raised, { severity, meaning: new RegExp(`${above * 100} %`), first: /keys/ })
    t.same(told(messages), [`${name} firing`, `${name} resolved`])
  })
}

t.test('alerts takes the configured limit where Redis names none', async (t) => {
  const redis = await startRedis(t)
  await redis.client.set('fill', 'x'.repeat(10_000_000))

  const { sees } = await watched(t, hasty('PrismRedisMemoryCritical'), { redisUrl: redis.url, redisMemoryBytes: 11 * 1024 * 1024 })

  t.ok((await sees('firing')).value)
  await redis.client.flushall()
  await sees('resolved')
})

t.test('alerts tells of a flood of evictions, and that it is over', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '8mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { messages, sees } = await watched(t, hasty('PrismRedisEvictions'), { redisUrl: redis.url })

  let made = 0
  await until(async () => {
    const pipeline = redis.client.pipeline()
    for (let index = 0; index < 500; index++) pipeline.set(`flood:${++made}`, 'x'.repeat(2000))
    await pipeline.exec()
    return messages.length > 0
  }, { what: 'evictions told', everyMs: 50 })
  await sees('resolved')

  t.same(told(messages), ['PrismRedisEvictions firing', 'PrismRedisEvictions resolved'])
})

t.test('alerts tells of connections that are killed, and that it is over', async (t) => {
  const redis = await startRedis(t)
  const { messages, sees } = await watched(t, hasty('PrismRedisConnectionErrors'), { redisUrl: redis.url })
  await until(async () => (await redis.client.call('CLIENT', 'LIST') as string).split('\n').length > 4, { what: 'connections' })

  await until(async () => {
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    return messages.length > 0
  }, { what: 'losses told', everyMs: 100 })
  await sees('resolved')

  t.same(told(messages), ['PrismRedisConnectionErrors firing', 'PrismRedisConnectionErrors resolved'])
})

t.test('alerts tells of connections that Redis rejects, and that it is over', async (t) => {
  const redis = await startRedis(t)
  const { messages, sees } = await watched(t, hasty('PrismRedisConnectionsRejected'), { redisUrl: redis.url })
  await redis.client.config('SET', 'maxclients', '1')

  await until(async () => {
    const socket = connect(redis.port, redis.host)
    await once(socket.resume(), 'close').catch(() => {}) // it is rejected: that is the point
    return messages.length > 0
  }, { what: 'rejections told', everyMs: 50 })
  await redis.client.config('SET', 'maxclients', '1000')
  await sees('resolved')

  t.same(told(messages), ['PrismRedisConnectionsRejected firing', 'PrismRedisConnectionsRejected resolved'])
})

for (const name of ['PrismRedisDown', 'PrismBreakerOpen']) {
  t.test(`alerts tells with ${name} of a Redis that is gone, and that it is back`, async (t) => {
    const redis = await startRedis(t)
    const { messages, sees } = await watched(t, hasty(name), { redisUrl: redis.url })

    await redis.kill()
    await sees('firing')
    await redis.restart()
    await sees('resolved')

    t.same(told(messages), [`${name} firing`, `${name} resolved`])
  })
}

t.test('alerts tells of slow round trips, and that they are over', async (t) => {
  const rig = await startRig(t)
  const rule = hasty('PrismRoundTripSlow', { above: 0.05, clear: 0.04 }) // a test's machine is no private network
  const { messages, sees } = await watched(t, rule, { redisUrl: rig.url })

  await rig.proxy.fault('latency', { delayMs: 70, jitterMs: 0 })
  const raised = await sees('firing')
  await rig.proxy.heal()
  await sees('resolved')

  t.ok((raised.value ?? 0) > 0.05)
  t.same(told(messages), ['PrismRoundTripSlow firing', 'PrismRoundTripSlow resolved'])
})

t.test('alerts tells of a hit rate below 80 %, and that it is over', async (t) => {
  const { app, messages } = await watched(t, hasty('PrismHitRateLow'), {})
  const ask = async (url: string) => await app.inject(url)

  let made = 0
  await until(async () => {
    await ask(`/cities/${3_000_000 + ++made}`)
    return messages.length > 0
  }, { what: 'misses told' })
  await until(async () => {
    await ask('/cities/2988507')
    return messages.length > 1
  }, { what: 'hits told' })

  t.same(told(messages), ['PrismHitRateLow firing', 'PrismHitRateLow resolved'])
})

t.test('alerts tells of a pool that is exhausted, and that it is over', async (t) => {
  t.setTimeout(80_000)
  const rig = await startRig(t)
  const { app, messages, sees } = await watched(t, hasty('PrismPoolExhausted'), { redisUrl: rig.url })
  await rig.proxy.fault('latency', { delayMs: 40, jitterMs: 0 })

  // One write a turn of the loop, each more than a connection takes before it counts as crowded; bursts, so that answers still come in time.
  const burst = async () => {
    for (let write = 0; write < 12; write++) {
      for (let index = 0; index < 520; index++) app.redisPool.batch.command('ping', []).catch(() => {}) // late ones time out
      await nextTurn()
    }
    return messages.length > 0
  }
  await until(burst, { what: 'exhaustion told', everyMs: 150, deadlineMs: 40_000 })
  await rig.proxy.heal()
  await sees('resolved')

  t.same(told(messages), ['PrismPoolExhausted firing', 'PrismPoolExhausted resolved'])
})

t.test('alerts tells of a policy that may evict sessions, and that it was changed', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { messages, sees } = await watched(t, hasty('PrismSessionsEvictable'), { redisUrl: redis.url })

  await sees('firing')
  await redis.client.config('SET', 'maxmemory-policy', 'volatile-ttl')
  await sees('resolved')

  t.same(told(messages), ['PrismSessionsEvictable firing', 'PrismSessionsEvictable resolved'])
})

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
