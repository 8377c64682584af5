import { once } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fastify from 'fastify'
import t from 'tap'
import alerts from '../../service/plugins/alerts.ts'
import prism from '../../plugins/index.ts'
import metrics from '../../plugins/metrics.ts'
import { rules } from '../../service/alerts/rules.ts'
import { hasty, receiver, secret, changes, watched } from '../support/alerts.ts'
import { buildTestApp } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

for (const { name, above, severity } of rules.filter(({ signal }) => signal === 'memoryShare')) {
  t.test(`${name} fires within 10 s for a Redis filled past ${above * 100} %, and resolves`, async (t) => {
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
    t.same(changes(messages), [`${name} firing`, `${name} resolved`])
  })
}

t.test('the memory alert uses the configured limit if Redis has none', async (t) => {
  const redis = await startRedis(t)
  await redis.client.set('fill', 'x'.repeat(10_000_000))

  const { sees } = await watched(t, hasty('PrismRedisMemoryCritical'), { redisUrl: redis.url, redisMemoryBytes: 11 * 1024 * 1024 })

  t.ok((await sees('firing')).value)
  await redis.client.flushall()
  await sees('resolved')
})

t.test('the eviction alert fires for many evictions, and resolves', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '8mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { messages, sees } = await watched(t, hasty('PrismRedisEvictions'), { redisUrl: redis.url })

  let made = 0
  await until(async () => {
    const pipeline = redis.client.pipeline()
    for (let index = 0; index < 500; index++) pipeline.set(`flood:${++made}`, 'x'.repeat(2000))
    await pipeline.exec()
    return messages.length > 0
  }, { what: 'evictions reported', everyMs: 50, deadlineMs: 45_000 })
  await sees('resolved')

  t.same(changes(messages), ['PrismRedisEvictions firing', 'PrismRedisEvictions resolved'])
})

t.test('the connection alert fires for killed connections, and resolves', async (t) => {
  const redis = await startRedis(t)
  const { messages, sees } = await watched(t, hasty('PrismRedisConnectionErrors'), { redisUrl: redis.url })
  await until(async () => (await redis.client.call('CLIENT', 'LIST') as string).split('\n').length > 4, { what: 'connections' })

  await until(async () => {
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    return messages.length > 0
  }, { what: 'losses reported', everyMs: 100, deadlineMs: 45_000 })
  await sees('resolved')

  t.same(changes(messages), ['PrismRedisConnectionErrors firing', 'PrismRedisConnectionErrors resolved'])
})

t.test('the rejection alert fires for rejected connections, and resolves', async (t) => {
  const redis = await startRedis(t)
  const { messages, sees } = await watched(t, hasty('PrismRedisConnectionsRejected'), { redisUrl: redis.url })

  // Only for a moment each time: the sampling of Redis can need a new connection.
  await until(async () => {
    await redis.client.config('SET', 'maxclients', '1')
    const socket = connect(redis.port, redis.host)
    await once(socket.resume(), 'close').catch(() => {}) // the rejection is intended
    await redis.client.config('SET', 'maxclients', '1000')
    return messages.length > 0
  }, { what: 'rejections reported', everyMs: 50, deadlineMs: 45_000 })
  await sees('resolved')

  t.same(changes(messages), ['PrismRedisConnectionsRejected firing', 'PrismRedisConnectionsRejected resolved'])
})

for (const name of ['PrismRedisDown', 'PrismBreakerOpen']) {
  t.test(`${name} fires for a Redis that is down, and resolves`, async (t) => {
    const redis = await startRedis(t)
    const { messages, sees } = await watched(t, hasty(name), { redisUrl: redis.url })

    await redis.kill()
    await sees('firing')
    await redis.restart()
    await sees('resolved')

    t.same(changes(messages), [`${name} firing`, `${name} resolved`])
  })
}

t.test('the latency alert fires for slow round trips, and resolves', async (t) => {
  t.setTimeout(100_000)
  const rig = await startRig(t)
  // The loopback of a test machine is not always fast.
  const rule = hasty('PrismRoundTripSlow', { above: 0.1, clear: 0.09 })
  const { messages, sees } = await watched(t, rule, { redisUrl: rig.url })

  await rig.proxy.fault('latency', { delayMs: 130, jitterMs: 0 })
  const raised = await sees('firing')
  await rig.proxy.heal()
  await sees('resolved')

  t.ok((raised.value ?? 0) > 0.1)
  t.same(changes(messages), ['PrismRoundTripSlow firing', 'PrismRoundTripSlow resolved'])
})

t.test('the hit-rate alert fires below 80 %, and resolves', async (t) => {
  const { app, messages } = await watched(t, hasty('PrismHitRateLow'), {})
  const send = async (url: string) => await app.inject(url)

  let made = 0
  await until(async () => {
    await send(`/cities/${3_000_000 + ++made}`)
    return messages.length > 0
  }, { what: 'misses reported', deadlineMs: 45_000 })
  await until(async () => {
    await send('/cities/2988507')
    return messages.length > 1
  }, { what: 'hits reported', deadlineMs: 45_000 })

  t.same(changes(messages), ['PrismHitRateLow firing', 'PrismHitRateLow resolved'])
})

t.test('the pool alert fires for an exhausted pool, and resolves', async (t) => {
  t.setTimeout(100_000)
  const rig = await startRig(t)
  const { url, messages } = await receiver(t)
  const app = fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: rig.url, min: 1, max: 1 }, session: false, cache: false, rateLimit: false, events: false })
  await app.register(metrics, { every: '50ms' })
  await app.register(alerts, { url, secret, rules: [hasty('PrismPoolExhausted')], retryMs: 20 })
  await app.ready()
  await rig.proxy.fault('latency', { delayMs: 40, jitterMs: 0 })

  // One write per turn of the event loop, each above the crowding limit of the only connection; in bursts, so that replies arrive in time.
  const burst = async () => {
    for (let write = 0; write < 3; write++) {
      for (let index = 0; index < 520; index++) app.redisPool.batch.command('ping', []).catch(() => {}) // late ones time out
      await nextTurn()
    }
    return messages.length > 0
  }
  await until(burst, { what: 'exhaustion reported', everyMs: 100, deadlineMs: 45_000 })
  await rig.proxy.heal()
  await until(() => messages.length > 1, { what: 'the resolution', deadlineMs: 45_000 })

  t.same(changes(messages), ['PrismPoolExhausted firing', 'PrismPoolExhausted resolved'])
})

t.test('the policy alert fires for a policy that can evict sessions, and resolves after its change', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { messages, sees } = await watched(t, hasty('PrismSessionsEvictable'), { redisUrl: redis.url })

  await sees('firing')
  await redis.client.config('SET', 'maxmemory-policy', 'volatile-ttl')
  await sees('resolved')

  t.same(changes(messages), ['PrismSessionsEvictable firing', 'PrismSessionsEvictable resolved'])
})

t.test('the policy alert ignores a cache server whose sessions are elsewhere', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru'] })
  const sessions = await startRedis(t, { args: ['--maxmemory', '50mb', '--maxmemory-policy', 'noeviction'] })
  const options = { redisUrl: redis.url, metricsEvery: '50ms', alerting: { rules: [hasty('PrismSessionsEvictable')] } } as const

  const together = await buildTestApp(t, options)
  const apart = await buildTestApp(t, { ...options, sessionRedisUrl: sessions.url })
  await until(() => together.alerts.all[0]?.state === 'firing' && apart.metrics.history.last?.redis, { what: 'both have evaluated', deadlineMs: 45_000 })

  t.match(apart.alerts.all, [{ state: 'inactive', value: 0 }])
  t.match(await apart.metrics.registry.text(), /^prism_sessions_evictable 0$/m)
})
