import { Redis, type RedisOptions } from 'ioredis'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { startProxy, type Proxy } from './proxy.ts'
import { disconnectTimeout, startRedisProcess, type RedisProcess } from './redis-process.ts'
import { until } from './until.ts'

t.setTimeout(300_000)

interface Scene { redis: RedisProcess, proxy: Proxy, client: Redis, direct: Redis }

async function scene (t: Test, options: RedisOptions = {}): Promise<Scene> {
  const redis = await startRedisProcess(t)
  const proxy = await startProxy(t, redis)
  const direct = open(t, redis.port)
  const client = open(t, proxy.port, options)
  await client.ping()
  return { redis, proxy, client, direct }
}

function open (t: Test, port: number, options: RedisOptions = {}): Redis {
  const client = new Redis({ port, retryStrategy: null, maxRetriesPerRequest: 0, protocol: 2, disconnectTimeout, ...options })
  client.on('error', () => {}) // each test looks at its own call's error
  t.after(() => client.disconnect())
  return client
}

/** The current state of a promise. */
async function isPending (promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending')
  const first = await Promise.race([promise.catch(() => {}), new Promise((resolve) => setImmediate(resolve, pending))])
  return first === pending
}

t.test('a proxy forwards everything and counts it', async (t) => {
  const { proxy, client } = await scene(t)
  const big = 'x'.repeat(3_000_000)

  proxy.clearCounts()
  await client.set('big', big)
  await client.pipeline().get('small').get('small').ping().exec()

  t.equal(await client.get('big'), big)
  t.strictSame(Object.fromEntries(proxy.commands), { SET: 1, GET: 3, PING: 1 })
  t.equal(proxy.commandCount, 5)
  t.equal(proxy.connections, 1)
  t.ok(proxy.bytes > 3_000_000 && proxy.replyBytes > 3_000_000 && proxy.writes >= 3)
})

t.test('a proxy forwards a close to the other side', async (t) => {
  const { proxy, client, direct } = await scene(t)

  await client.quit()
  await until(() => proxy.connections === 0, { what: 'the proxy has no connection' })
  const second = open(t, proxy.port)
  await second.ping()
  const closed = once(second, 'close')
  await direct.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')

  await t.resolves(closed)
})

t.test('a black hole transfers and closes nothing, and new connections work after it', async (t) => {
  const { proxy, client, direct } = await scene(t)

  await proxy.fault('blackHole')
  const lost = client.set('k', 'v')
  lost.catch(() => {})
  const newcomer = open(t, proxy.port)
  await once(newcomer, 'connect')
  await until(() => proxy.commands.has('SET'), { what: 'the command reached the proxy' })
  t.equal(await direct.exists('k'), 0, 'nothing came through')
  await proxy.heal()

  t.equal(await open(t, proxy.port).ping(), 'PONG')
  t.equal(client.status, 'ready', 'the silent connection was never closed')
  t.ok(await isPending(lost))
})

t.test('a partition delivers held data late', async (t) => {
  const { proxy, client, direct } = await scene(t)

  await proxy.fault('partition')
  const late = client.incr('k')
  await until(() => proxy.commands.has('INCR'), { what: 'the command reached the proxy' })
  t.equal(await direct.exists('k'), 0)
  await proxy.heal()

  t.equal(await late, 1)
})

t.test('half open: the server is gone and the client does not know, and the reverse', async (t) => {
  const { proxy, client, direct } = await scene(t)
  const others = async () => String(await direct.call('CLIENT', 'LIST', 'TYPE', 'normal')).split('\n').filter((line) => line.includes('id=')).length - 1

  t.equal(await others(), 1)
  await proxy.fault('halfOpen')
  await until(async () => await others() === 0, { what: 'the server lost the client' })
  const lost = client.ping()
  lost.catch(() => {})
  const second = open(t, proxy.port)
  t.equal(await second.ping(), 'PONG', 'new connections are well')
  t.equal(client.status, 'ready')
  t.ok(await isPending(lost))

  const closed = once(second, 'close')
  await proxy.fault('halfOpen', { lost: 'client' })
  await closed
  t.equal(await others(), 1, 'the server still holds the connection of the client that is gone')
})

t.test('a reset ends open and new connections with ECONNRESET', async (t) => {
  const { proxy, client } = await scene(t)

  const error = once(client, 'error')
  await proxy.fault('reset')
  t.match(await error, [{ code: 'ECONNRESET' }])
  const newcomer = open(t, proxy.port)
  await t.rejects(newcomer.ping())
  await proxy.heal()

  t.equal(await open(t, proxy.port).ping(), 'PONG')
})

t.test('latency delays each reply, keeps the order, and lets requests travel side by side', async (t) => {
  const { proxy, client } = await scene(t)

  await proxy.fault('latency', { delayMs: 40, jitterMs: 20 })
  const startedAt = performance.now()
  const order: number[] = []
  await Promise.all(Array.from({ length: 200 }, async (_, i) => {
    await client.ping()
    order.push(i)
  }))
  const tookMs = performance.now() - startedAt

  t.strictSame(order, Array.from({ length: 200 }, (_, i) => i))
  t.ok(tookMs >= 79, `both ways were delayed: ${tookMs} ms`)
  t.ok(tookMs < 200 * 80, `not one after the other: ${tookMs} ms`)
})

t.test('a throttle transfers at most the given bytes per second', async (t) => {
  const { proxy, client } = await scene(t)

  await proxy.fault('throttle', { bytesPerSecond: 100_000 })
  const startedAt = performance.now()
  await client.set('k', 'x'.repeat(30_000))

  t.ok(performance.now() - startedAt >= 290)
  await proxy.fault('throttle', { bytesPerSecond: 1 })
  const crawling = client.get('k')
  await until(() => proxy.commands.has('GET'), { what: 'the command reached the proxy' })
  await proxy.heal()
  t.equal((await crawling)?.length, 30_000, 'what crawls arrives at once when healed')
})

t.test('garbage makes the client drop a valid connection', async (t) => {
  const { proxy, client } = await scene(t)

  await proxy.fault('garbage')
  await t.rejects(client.get('k'))
  const newcomer = open(t, proxy.port)
  await once(newcomer, 'ready')
  await t.rejects(newcomer.get('k'), 'a new connection is greeted well, then gets garbage')
  await proxy.heal()

  t.equal(await open(t, proxy.port).ping(), 'PONG')
})

t.test('garbage then silence leaves the client\'s QUIT without a reply', async (t) => {
  const { proxy, client } = await scene(t, { disconnectTimeout: 60_000 })

  await proxy.fault('garbageThenSilence')
  await t.rejects(client.get('k'))
  client.disconnect()
  await proxy.heal()
  await open(t, proxy.port).ping()

  t.equal(proxy.connections, 2, 'the connection is still half open')
})

t.test('half a reply then silence leaves the caller waiting, half a reply then close does not', async (t) => {
  const { proxy, client, direct } = await scene(t)
  await direct.set('k', 'a value of some length')

  await proxy.fault('halfReply')
  const waiting = client.get('k')
  waiting.catch(() => {})
  await until(() => proxy.commands.has('GET'), { what: 'the command reached the proxy' })
  t.ok(await isPending(waiting))
  t.equal(client.status, 'ready')

  await proxy.fault('halfReplyThenClose')
  const second = open(t, proxy.port)
  await t.rejects(second.get('k'))
})

t.test('a lost reply belongs to a command that has run', async (t) => {
  const { proxy, client, direct } = await scene(t)

  await proxy.fault('replyLost')
  const waiting = client.incr('k')
  waiting.catch(() => {})

  await until(async () => await direct.get('k') === '1', { what: 'the command ran' })
  t.ok(await isPending(waiting))
})

t.test('a stalled handshake accepts connections and sends nothing', async (t) => {
  const { proxy, client } = await scene(t)

  const closed = once(client, 'close')
  await proxy.fault('stalledHandshake')
  await closed
  const newcomer = open(t, proxy.port)
  await once(newcomer, 'connect')
  await until(() => proxy.commands.size > 1, { what: 'the newcomer sent its greeting' })
  t.not(newcomer.status, 'ready')
  await proxy.heal()

  t.equal(await open(t, proxy.port).ping(), 'PONG')
})

t.test('a proxy that is down refuses connections, and listens again on its port', async (t) => {
  const { proxy, client } = await scene(t)

  const closed = once(client, 'close')
  await proxy.fault('down')
  await closed
  const newcomer = open(t, proxy.port)
  t.match(await once(newcomer, 'error'), [{ code: 'ECONNREFUSED' }])
  await proxy.heal()

  t.equal(await open(t, proxy.port).ping(), 'PONG')
})
