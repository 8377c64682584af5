import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { resolveRedisPolicy } from '../../../../src/redis/options.ts'
import { PooledRedis } from '../../../../src/redis/client.ts'
import { Script, SingleScript } from '../../../../src/redis/batch/script.ts'
import { consume } from '../../../../src/rate-limit/script-reply.ts'
import { commandTimeout } from '../../../support/deadline.ts'
import { reached } from '../../../support/wait-for-redis.ts'
import { startRedis } from '../../../support/redis.ts'
import { propertyRuns } from '../../../support/property-runs.ts'

async function start (t: Test): Promise<{ pool: PooledRedis, script: (lua: string, costMicroseconds?: number) => Script<unknown> }> {
  const folder = mkdtempSync(join(tmpdir(), 'prism-script-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const { url } = await startRedis(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url, commandTimeout }))
  t.after(() => pool.quit())
  await reached({ redisPool: pool })
  let scripts = 0
  const script = (lua: string, costMicroseconds = 10) => {
    const path = join(folder, `${scripts += 1}.lua`)
    writeFileSync(path, lua)
    return new Script<unknown>({ url: pathToFileURL(path), costMicroseconds, read: (reply) => reply })
  }
  return { pool, script }
}

t.test('a script of one operation a call has Redis\'s own keys and arguments, and fails alone', async (t) => {
  const { pool, script } = await start(t)
  const path = join(mkdtempSync(join(tmpdir(), 'prism-script-')), 'single.lua')
  writeFileSync(path, `if ARGV[1] == 'fail' then return redis.error_reply('ERR refused') end
return { #KEYS, KEYS[1] or false, unpack(ARGV) }`)
  const single = new SingleScript<unknown>({ url: pathToFileURL(path), costMicroseconds: 10, read: (reply) => reply })
  const calls = pool.batch.counts.commands
  const replies = await Promise.allSettled([
    pool.batch.runScript(single, ['one', 'two'], ['a', 'é', 3]),
    pool.batch.runScript(single, [], ['fail']),
    pool.batch.runScript(single, ['three'], []),
    pool.batch.runScript(script('return 1'), [], [])
  ])

  t.same(replies.map((reply) => reply.status === 'fulfilled' ? reply.value : reply.reason.code), [[2, 'one', 'a', 'é', '3'], 'PRISM_ERR_REDIS_REPLY', [1, 'three'], 1])
  t.equal(pool.batch.counts.commands - calls, 4)
})

t.test('script receives each operation\'s own keys and arguments, in any number', async (t) => {
  const { pool, script } = await start(t)
  const echo = script('return { #KEYS, #ARGV, KEYS[1] or false, ARGV[#ARGV] or false }')

  const replies = await Promise.all([
    pool.batch.runScript(echo, ['one', 'two'], ['a', 'b', 3]),
    pool.batch.runScript(echo, [], []),
    pool.batch.runScript(echo, ['three'], []),
    pool.batch.runScript(echo, [], [Buffer.from('é')])
  ])

  t.same(replies, [[2, 3, 'one', '3'], [0, 0, null, null], [1, 0, 'three', null], [0, 1, null, 'é']])
})

t.test('script returns each operation of a tick its own reply, whatever arguments they share', async (t) => {
  const { pool, script } = await start(t)
  const echo = script("return table.concat(KEYS, ' ') .. '|' .. table.concat(ARGV, '|')")
  const text = fc.constantFrom('', 'a', 'b', '$3\r\nabc\r\n', 'é', '😀', 'x'.repeat(300), 7, 1_700_000_000_000)
  const operation = fc.record({ keys: fc.array(fc.constantFrom('one', 'two', 'drei:é'), { maxLength: 3 }), args: fc.array(text, { maxLength: 4 }), isBytes: fc.boolean() })

  await fc.assert(fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 60 }), async (operations) => {
    const replies = await Promise.all(operations.map(({ keys, args, isBytes }) => pool.batch.runScript(echo, keys, args.map((arg) => isBytes ? Buffer.from(String(arg)) : arg))))
    const wanted = operations.map(({ keys, args }) => `${keys.join(' ')}|${args.join('|')}`)
    if (JSON.stringify(replies) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(replies)} instead of ${JSON.stringify(wanted)}`)
  }), { numRuns: propertyRuns(100) })
  t.pass('over random ticks')
})

t.test('script returns numbers, texts, lists, nil and false', async (t) => {
  const { pool, script } = await start(t)
  const values = script("local values = { number = 42, text = 'x', list = { 1, 'two', { 3 } }, no = false, yes = true, status = redis.status_reply('OK') } return values[ARGV[1]]")
  const operation = (name: string) => pool.batch.runScript(values, [], [name])

  const replies = await Promise.all(['number', 'text', 'list', 'no', 'yes', 'status', 'missing'].map(operation))

  t.same(replies, [42, 'x', [1, 'two', [3]], null, 1, 'OK', null])
})

t.test('script fails only the operation whose error it returns, raises or encounters', async (t) => {
  const { pool, script } = await start(t)
  const failing = script(`
    if ARGV[1] == 'return' then return redis.error_reply('MINE told so') end
    if ARGV[1] == 'raise' then error('raised') end
    if ARGV[1] == 'raise a table' then error({ err = 'MINE raised so' }) end
    if ARGV[1] == 'meet' then return redis.call('INCR', KEYS[1]) end
    if ARGV[1] == 'nil' then return nothing.there end
    return 'fine'`)
  await pool.hset('hash', 'field', 'value')
  const operation = (text: string) => pool.batch.runScript(failing, ['hash'], [text])

  const outcomes = await Promise.allSettled(['return', 'raise', 'raise a table', 'meet', 'nil', 'well'].map(operation))

  for (const outcome of outcomes.slice(0, 5)) t.match(outcome, { status: 'rejected', reason: { code: 'PRISM_ERR_REDIS_REPLY', statusCode: 500 } })
  t.match(outcomes.map((outcome) => outcome.status === 'rejected' ? String(outcome.reason) : outcome.value), [/MINE told so/, /raised/, /MINE raised so/, /WRONGTYPE/, /nothing/, 'fine'])
})

t.test('script runs the code before its operations once per call', async (t) => {
  const { pool, script } = await start(t)
  const counting = script('local count = 0\n-- each operation\ncount = count + 1\nreturn count')

  const replies = await Promise.all([1, 2, 3].map(() => pool.batch.runScript(counting, [], [])))

  t.same(replies, [1, 2, 3])
})

t.test('script with another dividing line throws', async (t) => {
  const { script } = await start(t)

  t.throws(() => script('local count = 0\n-- each call\nreturn count'), { message: /-- each operation/ })
})

t.test('scripts of the request path run their shared code once per call', async (t) => {
  const { pool } = await start(t)
  const checks = Array.from({ length: 20 }, (_, index) => pool.batch.runScript(consume, [`counter:{${index}}`], [1, 0, 's 10 60000 1000 1']))
  await Promise.all(checks)
  await pool.config('RESETSTAT')

  await Promise.all(checks.map((_, index) => pool.batch.runScript(consume, [`counter:{${index}}`], [1, 0, 's 10 60000 1000 1'])))

  t.match(await pool.info('commandstats'), /cmdstat_mget:calls=1,/)
})

t.test('script gives each operation of a call the same Redis time', async (t) => {
  const { pool, script } = await start(t)
  const clock = script('return { nowMs, tonumber(time[1]), tonumber(time[2]) }')

  const [one, two] = await Promise.all([pool.batch.runScript(clock, [], []), pool.batch.runScript(clock, [], [])]) as [number[], number[]]

  t.same(one, two)
  t.equal(one[0], Number(one[1]) * 1000 + Math.floor(Number(one[2]) / 1000))
})

t.test('script accepts as many operations per call as fit into 250 µs, and one that takes longer', async (t) => {
  const { pool, script } = await start(t)

  t.equal(script('return 1', 5).operationsPerCall, 50)
  t.equal(script('return 1', 60).operationsPerCall, 4)
  t.equal(script('return 1', 1000).operationsPerCall, 1)
  t.equal(await pool.batch.runScript(script('return 1', 1000), [], []), 1)
})

t.test('a reply of an unexpected shape fails its operation only', async (t) => {
  const { pool, script } = await start(t)
  const lua = script('return ARGV[1]')
  const strict = Object.assign(lua, { read: (reply: unknown) => reply === 'good' ? reply : Promise.reject(new TypeError('not good')) })

  const outcomes = await Promise.allSettled([pool.batch.runScript(strict, [], ['good']), pool.batch.runScript(strict, [], ['bad'])])

  t.match(outcomes, [{ status: 'fulfilled', value: 'good' }, { status: 'rejected', reason: TypeError }])
})
