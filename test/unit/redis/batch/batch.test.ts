import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { RedisReplyError, RedisUnavailableError } from '../../../../src/shared/errors.ts'
import { resolveRedisPolicy } from '../../../../src/redis/options.ts'
import { PooledRedis } from '../../../../src/redis/client.ts'
import { Script } from '../../../../src/redis/batch/script.ts'
import { startRig } from '../../../support/faults.ts'
import type { Rig } from '../../../support/faults.ts'
import { until } from '../../../support/until.ts'
import { countWrites } from '../../../support/writes.ts'
import { propertyRuns } from '../../../support/property-runs.ts'

interface Echo { text: string, value: string | null }

const echo = new Script<Echo>({
  url: new URL('../echo.lua', import.meta.url),
  costMicroseconds: 5,
  read: (reply) => {
    const [text, , value] = reply as [string, number, string | null]
    return { text, value }
  }
})

async function startPool (t: Test, url: string): Promise<PooledRedis> {
  const pool = new PooledRedis(resolveRedisPolicy({ url }))
  t.after(() => pool.quit())
  await pool.start(5000)
  await until(() => pool.load.ready === pool.load.connections, { what: 'all connections are ready' })
  return pool
}

async function start (t: Test): Promise<Rig & { pool: PooledRedis }> {
  const rig = await startRig(t)
  return { ...rig, pool: await startPool(t, rig.url) }
}

t.test('batch sends the operations of one tick as one write of few commands', async (t) => {
  const { pool, proxy, control } = await start(t)
  await control.mset('a', '1', 'b', '2')
  await pool.batch.runScript(echo, ['a'], ['warm'])
  const written = countWrites(t, proxy.port)

  const operations = Array.from({ length: 50 }, (_, index) => pool.batch.runScript(echo, ['a'], [`${index}`]))
  const reads = Array.from({ length: 100 }, (_, index) => pool.batch.get(index % 2 ? 'a' : 'b'))
  const replies = await Promise.all(operations)
  const values = await Promise.all(reads)

  t.equal(written.writes, 1)
  t.same([...written.commands], [['MGET', 1], ['EVALSHA', 1]])
  t.same(replies.map(({ text }) => text), Array.from({ length: 50 }, (_, index) => `${index}`))
  t.same(values.map(String), Array.from({ length: 100 }, (_, index) => index % 2 ? '1' : '2'))
})

t.test('batch sends reads of requests before background work, in whichever order they were enqueued', async (t) => {
  const { pool, control, proxy } = await start(t)
  await pool.ping()
  const written = countWrites(t, proxy.port)

  await Promise.all([
    pool.batch.command('RPUSH', ['order', 'background'], 'background'),
    pool.batch.command('RPUSH', ['order', 'request'])
  ])

  t.equal(written.writes, 1)
  t.same(await control.lrange('order', 0, -1), ['request', 'background'])
})

t.test('batch splits the operations of a script so that one call stays within 250 µs', async (t) => {
  const { pool, proxy } = await start(t)
  await pool.batch.runScript(echo, ['a'], ['warm'])
  const written = countWrites(t, proxy.port)

  await Promise.all(Array.from({ length: 120 }, () => pool.batch.runScript(echo, ['a'], ['x'])))

  t.equal(echo.operationsPerCall, 50)
  t.same([...written.commands], [['EVALSHA', 3]])
  t.equal(written.writes, 1)
})

t.test('batch fails only the operation whose key has the wrong type', async (t) => {
  const { pool, control } = await start(t)
  await control.hset('hash', 'field', 'value')
  await control.set('text', 'value')

  const [fine, wrong, read, readWrong] = await Promise.allSettled([
    pool.batch.runScript(echo, ['text'], ['x']),
    pool.batch.runScript(echo, ['hash'], ['x']),
    pool.batch.get('text'),
    pool.batch.get('hash')
  ])

  t.match(fine, { status: 'fulfilled', value: { text: 'x', value: 'value' } })
  t.match(wrong, { status: 'rejected', reason: RedisReplyError })
  t.match(read, { value: Buffer.from('value') })
  t.match(readWrong, { status: 'fulfilled', value: null })
})

t.test('batch runs an operation after SCRIPT FLUSH', async (t) => {
  const { pool, control } = await start(t)
  await pool.batch.runScript(echo, ['a'], ['x'])
  await control.script('FLUSH')

  const replies = await Promise.all([pool.batch.runScript(echo, ['a'], ['y']), pool.batch.runScript(echo, ['a'], ['z'])])

  t.same(replies.map(({ text }) => text), ['y', 'z'])
})

t.test('batch reads a value known to be large in parallel to small ones, not before them', async (t) => {
  const { pool, proxy, control } = await start(t)
  await control.set('large', Buffer.alloc(1_000_000, 'x'))
  await control.set('small', 'y')
  await pool.batch.get('large')
  const written = countWrites(t, proxy.port)

  const [large, small] = await Promise.all([pool.batch.get('large'), pool.batch.get('small')])

  t.equal(large?.length, 1_000_000)
  t.equal(String(small), 'y')
  t.same([...written.commands].sort(), [['GET', 1], ['MGET', 1]])
})

t.test('batch settles every operation when large replies wait for capacity, and when Redis dies meanwhile', async (t) => {
  const { pool, control, redis } = await start(t)
  const keys = Array.from({ length: 30 }, (_, index) => `large:${index}`)
  for (const key of keys) await control.set(key, Buffer.alloc(600_000, 'x'))
  for (const key of keys) await until(() => pool.batch.get(key), { what: 'one large reply' })

  const values = await Promise.allSettled(keys.map((key) => pool.batch.get(key)))
  const late = Promise.allSettled(keys.map((key) => pool.batch.get(key)))
  await redis.kill()

  t.ok(values.some(({ status }) => status === 'fulfilled'))
  t.equal((await late).length, 30)
})

t.test('batch times out as a whole, drops later replies, and continues with correct ones', async (t) => {
  const { pool, proxy } = await start(t)
  await pool.batch.runScript(echo, ['a'], ['warm'])
  await proxy.fault('latency', { delayMs: 300 })

  const outcomes = await Promise.allSettled([pool.batch.runScript(echo, ['a'], ['late']), pool.batch.get('a')])
  await proxy.heal()
  const next = await until(() => pool.batch.runScript(echo, ['a'], ['next']), { what: 'a reply after the delay' })

  for (const outcome of outcomes) t.match(outcome, { status: 'rejected', reason: RedisUnavailableError })
  t.equal(next.text, 'next')
})

t.test('batch returns every operation its own reply or error in any interleaving of operations, pauses, faults, timeouts and flushes', { timeout: 110_000 }, async (t) => {
  const { pool, proxy, control } = await start(t)
  await control.set('text', 'value')
  let operationCount = 0
  let replyCount = 0
  const steps: Record<string, () => Promise<unknown>> = {
    mend: async () => {
      await proxy.heal()
      await until(() => pool.state === 'ready', { what: 'the pool has recovered' })
    },
    tick: () => new Promise((resolve) => setImmediate(resolve)),
    flush: () => control.script('FLUSH'),
    kick: () => control.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'),
    reset: async () => {
      await proxy.fault('reset')
      await proxy.heal()
    },
    slow: async () => await proxy.fault('latency', { delayMs: 20 }),
    late: async () => await proxy.fault('latency', { delayMs: 250 }),
    fast: async () => await proxy.heal()
  }
  const isOwn = async () => {
    const text = `${operationCount += 1}`
    const outcome = await pool.batch.runScript(echo, ['key'], [text]).catch((error: Error) => error)
    if (outcome instanceof Error) return outcome instanceof RedisUnavailableError
    replyCount += 1
    return outcome.text === text
  }
  /** An operation that fails by itself, among others that do not. */
  const isWrong = async () => {
    await control.hset('hash', 'field', 'value')
    const outcome = await pool.batch.runScript(echo, ['hash'], ['x']).catch((error: Error) => error)
    return outcome instanceof RedisReplyError || outcome instanceof RedisUnavailableError
  }
  const isRead = async () => {
    const outcome = await pool.batch.get('text').catch((error: Error) => error)
    return outcome instanceof RedisUnavailableError || String(outcome) === 'value'
  }

  await fc.assert(fc.asyncProperty(fc.array(fc.constantFrom(...Array<string>(12).fill('operation'), 'wrong', 'wrong', 'read', 'read', ...Array<string>(4).fill('replies'), 'mend', 'mend', 'mend', ...Object.keys(steps)), { minLength: 10, maxLength: 40, size: 'max' }), async (names) => {
    await steps.mend?.()
    const settled: Promise<boolean>[] = []
    for (const name of names) {
      if (name === 'operation') settled.push(isOwn())
      else if (name === 'wrong') settled.push(isWrong())
      else if (name === 'read') settled.push(isRead())
      else if (name === 'replies') await Promise.all(settled)
      else await steps[name]?.()
    }
    return (await Promise.all(settled)).every(Boolean)
  }), { numRuns: propertyRuns(20) })

  t.ok(replyCount > operationCount / 8, `operations receive replies between the faults: ${replyCount} of ${operationCount}`)
})
