import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import type { RedisOptions } from '../../../src/redis/options.ts'
import type { ServerInfo } from '../../../src/redis/health/server-info.ts'
import { startRig } from '../../support/faults.ts'
import type { Rig } from '../../support/faults.ts'
import { freePort } from '../../support/ports.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { until } from '../../support/until.ts'
import { countWrites } from '../../support/writes.ts'

const unavailable = { code: 'PRISM_ERR_REDIS_UNAVAILABLE', statusCode: 503 }
const shared = { code: 'PRISM_ERR_REDIS_SHARED' }

function open (t: Test, options: RedisOptions): PooledRedis {
  const pool = new PooledRedis(resolveRedisPolicy(options))
  t.after(() => pool.quit())
  return pool
}

async function start (t: Test): Promise<Rig & { pool: PooledRedis }> {
  const rig = await startRig(t)
  const pool = open(t, { url: rig.url })
  await pool.start(5000)
  await until(() => pool.load.ready === pool.load.connections, { what: 'all connections are ready' })
  return { ...rig, pool }
}

t.test('pool replies like an ioredis client', async (t) => {
  const { pool } = await start(t)

  t.equal(await pool.set('text', 'value'), 'OK')
  t.equal(await pool.get('text'), 'value')
  t.same(await pool.getBuffer('text'), Buffer.from('value'))
  t.equal(await pool.hset('hash', { one: 1, two: 2 }), 2)
  t.same(await pool.hgetall('hash'), { one: '1', two: '2' })
  t.same(await pool.mget('text', 'none'), ['value', null])
  t.equal(await pool.call('STRLEN', 'text'), 5)
  t.equal(await pool.eval('return ARGV[1]', 0, 'x'), 'x')
  pool.defineCommand('twice', { numberOfKeys: 0, lua: 'return ARGV[1] * 2' })
  t.equal(await (pool as unknown as { twice: (number: number) => Promise<number> }).twice(21), 42)
  const scanned: string[] = []
  for await (const some of pool.scanStream()) scanned.push(...some)
  t.same(scanned.sort(), ['hash', 'text'])
  await t.rejects(pool.incr('hash'), { name: 'ReplyError', message: /^WRONGTYPE/ })
})

t.test('a tracing agent that replaces sendCommand sees the commands of batches', async (t) => {
  const { url } = await startRig(t)
  const { sendCommand } = Redis.prototype
  const seen: string[] = []
  const traced = function (this: Redis, ...given: Parameters<typeof sendCommand>) {
    seen.push(given[0].name)
    return sendCommand.apply(this, given)
  }
  const readBy = async () => {
    const pool = open(t, { url })
    await pool.start(5000)
    seen.length = 0
    t.equal(await pool.batch.get('none'), null)
    return seen.filter((name) => name === 'mget')
  }

  const untraced = await readBy()
  Redis.prototype.sendCommand = traced
  const byAgent = await readBy().finally(() => { Redis.prototype.sendCommand = sendCommand })

  t.same([untraced, byAgent], [[], ['mget']])
})

t.test('pool sends a pipeline and a transaction as one write each', async (t) => {
  const { pool, proxy } = await start(t)
  await pool.ping()
  const written = countWrites(t, proxy.port)

  const pipeline = await pool.pipeline([['set', 'one', '1'], ['hgetall', 'none']]).incr('one').exec()
  const transaction = await pool.multi().incr('one').get('one').exec()

  t.same(pipeline, [[null, 'OK'], [null, {}], [null, 2]])
  t.same(transaction, [[null, 3], [null, '3']])
  t.equal(written.writes, 2)
})

t.test('pool also replies to a pipeline by callback', async (t) => {
  const { pool } = await start(t)

  const results = await new Promise((resolve, reject) => {
    pool.pipeline().set('one', '1').exec((error, results) => error ? reject(error) : resolve(results))
  })

  t.same(results, [[null, 'OK']])
})

t.test('pool rejects commands that would block or change a shared connection', async (t) => {
  const { pool } = await start(t)

  await t.rejects(pool.subscribe('channel'), shared)
  await t.rejects(pool.blpop('list', 0), shared)
  await t.rejects(pool.xread('BLOCK', 0, 'STREAMS', 'stream', '$'), shared)
  await t.rejects(pool.select(1), shared)
  await t.rejects(pool.watch('key'), shared)
  await t.rejects(pool.client('REPLY', 'OFF'), shared)
  t.throws(() => pool.pipeline().blpop('list', 0), shared)
  t.throws(() => pool.multi({ pipeline: false }), shared)
  t.equal(await pool.ping(), 'PONG')
})

t.test('pool opens a dedicated connection for a caller', async (t) => {
  const { pool } = await start(t)
  const own = pool.duplicate()
  t.after(() => own.disconnect())

  const popped = own.blpop('list', 5)
  await pool.rpush('list', 'value')

  t.same(await popped, ['list', 'value'])
})

t.test('pool settles every kind of call while Redis hangs, and responds after it', async (t) => {
  const { pool, redis } = await start(t)
  redis.signal('SIGSTOP')
  t.after(() => redis.signal('SIGCONT'))

  const calls = [pool.get('a'), pool.pipeline().get('a').exec(), pool.multi().get('a').exec(), pool.batch.get('a'), pool.lease()]
  const outcomes = await Promise.allSettled(calls)
  await until(() => pool.batch.get('a').then(() => false, () => pool.state === 'degraded'), { what: 'the circuit breaker opens' })
  const refused = await pool.get('a').catch((error: Error) => error)
  redis.signal('SIGCONT')

  for (const outcome of outcomes) t.match(outcome, { status: 'rejected', reason: unavailable })
  t.match(refused, unavailable)
  await until(() => pool.state === 'ready', { what: 'the pool has recovered' })
  t.equal(await until(() => pool.ping(), { what: 'a reply' }), 'PONG')
})

t.test('pool reports the start and the end of an outage once each', async (t) => {
  const { pool, redis } = await start(t)
  const told: boolean[] = []
  pool.on('outage', (isOut: boolean) => told.push(isOut))

  await redis.kill()
  await until(() => pool.get('a').then(() => false, () => told.length > 0), { what: 'the outage is reported' })
  await redis.start()
  await until(() => pool.state === 'ready', { what: 'the pool has recovered' })

  t.same(told, [true, false])
})

t.test('pool reports which server it has reached, and each change of it', async (t) => {
  const { pool, redis } = await start(t)
  const servers: ServerInfo[] = []
  pool.on('server', (server: ServerInfo) => servers.push(server))
  const before = pool.server?.runId

  await redis.restart()
  await until(() => servers.length > 0, { what: 'the new server is reported' })

  t.match(servers, [{ version: /^\d+\.\d+\.\d+$/, isCluster: false, isLoading: false, maxmemoryBytes: 0, maxmemoryPolicy: 'noeviction' }])
  t.not(servers[0]?.runId, before)
})

t.test('pool starts with a server that denies INFO', async (t) => {
  const rig = await startRig(t)
  await rig.control.call('ACL', 'SETUSER', 'default', '-info')
  const pool = open(t, { url: rig.url })

  await reached({ redisPool: pool })

  t.match(pool.server, { version: '', runId: '', isCluster: false })
  t.equal(await pool.ping(), 'PONG')
})

t.test('pool does not wait for a server that nothing listens at, and connects later', async (t) => {
  const rig = await startRig(t)
  await rig.proxy.fault('down')
  const pool = open(t, { url: rig.url })

  t.equal(await pool.start(86_400_000), false)
  t.equal(pool.state, 'degraded')
  await rig.proxy.heal()

  await until(() => pool.state === 'ready', { what: 'the pool has connected' })
  t.equal(await pool.start(), true)
})

t.test('pool stops waiting at its time limit', async (t) => {
  const rig = await startRig(t)
  await rig.proxy.fault('stalledHandshake')

  t.equal(await open(t, { url: rig.url }).start(50), false)
})

t.test('pool rejects every command after its end, and can be ended twice', async (t) => {
  const { pool } = await start(t)
  const waiting = pool.batch.get('a')

  t.equal(await pool.quit(), 'OK')
  t.equal(await pool.quit(), 'OK')

  t.equal(pool.status, 'end')
  await t.rejects(waiting, unavailable)
  await t.rejects(pool.batch.get('a'), unavailable)
  await t.rejects(pool.get('a'), unavailable)
  await t.rejects(pool.lease(), { code: 'PRISM_ERR_REDIS_CLOSED' })
  t.throws(() => pool.pipeline(), unavailable)
})

t.test('pool opens no connection after its end', async (t) => {
  const { pool, proxy } = await start(t)
  const operations = Array.from({ length: 3000 }, (_, index) => pool.batch.command('GET', [`${index}`]))

  await new Promise((resolve) => setImmediate(resolve))
  await pool.quit()
  await Promise.allSettled(operations)

  await until(() => proxy.connections === 0, { what: 'all connections are closed' })
  t.same(pool.load, { connections: 0, ready: 0, inFlight: 0 })
})

t.test('pool authenticates a user, selects a database and applies a prefix', async (t) => {
  const rig = await startRig(t, ['--user', 'app', 'on', '>s@:/cret', '~*', '&*', '+@all', '--user', 'default', 'off'])
  const pool = open(t, { url: `redis://app:${encodeURIComponent('s@:/cret')}@127.0.0.1:${rig.proxy.port}/3`, prefix: 'shop:' })

  await reached({ redisPool: pool })
  await pool.set(pool.keyspace.cacheTag('x'), '1')

  await rig.control.select(3)
  t.same(await rig.control.keys('*'), ['shop:api:cache:tag:x'])
})

t.test('pool opens its connections beside a client of the app, and leaves that client unchanged', async (t) => {
  const rig = await startRig(t)
  await rig.control.select(2)
  const pool = open(t, { client: rig.control })

  await reached({ redisPool: pool })
  await pool.set('key', 'value')
  await pool.quit()

  t.equal(await rig.control.get('key'), null)
  t.equal(rig.control.status, 'ready')
})

t.test('pool stays degraded if nothing listens at the address', async (t) => {
  const pool = open(t, { url: `redis://127.0.0.1:${await freePort()}` })

  t.equal(await pool.start(), false)

  await t.rejects(pool.batch.get('a'), unavailable)
  await t.rejects(pool.get('a'), unavailable)
  t.equal(pool.state, 'degraded')
})
