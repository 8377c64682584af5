import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { PooledRedis } from '../../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../../src/redis/options.ts'
import { Script } from '../../../../src/redis/batch/script.ts'
import { commandTimeout as patientTimeout } from '../../../support/deadline.ts'
import { startProxiedCluster } from '../../../support/proxied-cluster.ts'
import { startRig } from '../../../support/proxied-redis.ts'
import { until } from '../../../support/until.ts'

t.setTimeout(300_000)

/** Shared: each test has keys of its own, and heals it. */
const world = await startProxiedCluster(t)
const tries = 20
const unavailable = { code: 'PRISM_ERR_REDIS_UNAVAILABLE', statusCode: 503 }
const increase = new Script({ url: new URL('../increase.lua', import.meta.url), costMicroseconds: 5, read: Number })
const lua = "return redis.call('INCR', KEYS[1])"

async function open (t: Test, url: string, commandTimeout = patientTimeout): Promise<PooledRedis> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 2, max: 4, commandTimeout }))
  t.after(() => pool.quit())
  pool.defineCommand('increase', { numberOfKeys: 1, lua })
  await until(() => pool.load.ready === pool.load.connections && pool.load.ready > 0, { what: 'all connections are ready' })
  return pool
}

/** Each way to increase a counter by one. */
const ways = {
  'a command': (pool: PooledRedis, key: string) => pool.incr(key),
  'a command of a batch': (pool: PooledRedis, key: string) => pool.batch.command('INCR', [key]),
  'a script of a batch': (pool: PooledRedis, key: string) => pool.batch.runScript(increase, [key], []),
  'a defined command': (pool: PooledRedis, key: string) => (pool as unknown as { increase: (key: string) => Promise<unknown> }).increase(key),
  'a pipeline': async (pool: PooledRedis, key: string) => await settledPipeline(pool.pipeline().incr(key).exec()),
  'a transaction': async (pool: PooledRedis, key: string) => await settledPipeline(pool.multi().incr(key).exec()),
  'a dedicated connection': async (pool: PooledRedis, key: string) => {
    await using lease = await until(() => pool.lease().catch(() => undefined), { what: 'a dedicated connection' })
    await lease.client.incr(key)
  }
}

const { 'a dedicated connection': onLease, ...onPool } = ways

async function settledPipeline (results: Promise<[error: Error | null, result: unknown][] | null>): Promise<void> {
  const error = (await results)?.find(([error]) => error !== null)?.[0]
  if (error != null) throw error
}

const commands = ['INCR', 'EVAL', 'EVALSHA', 'EXEC']

for (const [name, run] of Object.entries(ways)) {
  t.test(`in a Cluster ${name} whose connection breaks before its reply runs once, and fails`, async (t) => {
    const pool = await open(t, world.url)
    const statuses: unknown[] = []

    for (let index = 0; index < tries; index++) {
      const key = `{counter:${name}:${index}}`
      // Every node has the script loaded, and no reply of an attempt that timed out is left to be lost instead.
      await until(() => run(pool, `${key}:warm`).then(() => pool.state === 'ready' && pool.load.inFlight === 0, () => false), { what: 'the node responds' })
      let isLost = false
      await world.loseReply(commands, () => { isLost = true })
      const error: Error & { statusCode?: number } = await run(pool, key).then(() => new Error('unexpected success'), (error: Error) => error)
      await until(() => isLost, { what: 'the reply is lost' })
      await world.heal()
      statuses.push(name.includes('batch') || name.includes('command') ? error.statusCode : /closed|no reply within/i.test(error.message))
      await until(() => pool.get(key).then(() => true, () => false), { what: 'the node responds again' })
    }

    const counts = await Promise.all(Array.from({ length: tries }, (_, index) => pool.get(`{counter:${name}:${index}}`)))
    t.same(counts, Array.from({ length: tries }, () => '1'))
    t.ok(statuses.every((status) => status === 503 || status === true), JSON.stringify(statuses))
  })
}

t.test('a client made by duplicate() re-sends nothing either, nor does the pool of a single server', async (t) => {
  const rig = await startRig(t)
  const pool = await open(t, rig.url)
  const duplicate = pool.duplicate()
  t.after(() => duplicate.disconnect())
  const runs: ((key: string) => Promise<unknown>)[] = [(key) => duplicate.incr(key), (key) => duplicate.eval(lua, 1, key), (key) => onLease(pool, key), ...Object.values(onPool).map((run) => (key: string) => run(pool, key))]

  for (const [way, run] of runs.entries()) {
    await until(() => run('warm').then(() => true), { what: 'the server knows the script' })
    for (let index = 0; index < tries; index++) {
      await until(() => Promise.all([duplicate.ping(), pool.batch.command('GET', ['key'])]).then(() => pool.state === 'ready', () => false), { what: 'both are connected' })
      await rig.proxy.fault('replyLostThenReset', { after: commands })
      await t.rejects(run(`counter:${way}:${index}`))
      await rig.proxy.heal()
    }
  }
  await until(() => duplicate.ping().then(() => true, () => false), { what: 'the client has reconnected' })

  const keys = runs.flatMap((_, way) => Array.from({ length: tries }, (_, index) => `counter:${way}:${index}`))
  t.same(await rig.control.mget(keys), keys.map(() => '1'))
})

/** A busy machine meets this deadline; a redirection that is delayed by `lateMs` each way does not. */
const [deadlineMs, lateMs] = [800, 600]

/** Moves a slot to another master; clients that follow the redirection of the old master are delayed. */
async function moveSlot (t: Test, key: string, ms: number): Promise<Redis> {
  const slot = await world.cluster.slotOf(key)
  const from = await world.cluster.ownerOf(slot)
  const to = world.cluster.masters.find((node) => node !== from)
  if (to === undefined) throw new Error('a Cluster has three masters')
  await world.cluster.migrateSlot(slot, to)
  await world.proxies.get(from)?.fault('latency', { delayMs: ms })
  t.after(() => world.heal())
  return to.control
}

t.test('in a Cluster a dedicated connection is not redirected after the deadline', async (t) => {
  const pool = await open(t, world.url, deadlineMs)
  await using lease = await until(() => pool.lease().catch(() => undefined), { what: 'a dedicated connection' })
  await lease.client.incr('early')
  await lease.client.incr('late')
  await moveSlot(t, 'early', 0)
  t.equal(await lease.client.incr('early'), 2)
  const owner = await moveSlot(t, 'late', lateMs)

  await t.rejects(lease.client.incr('late'), unavailable)
  await world.heal()
  await until(() => lease.client.get('late').then((value) => value !== null, () => false), { what: 'the new owner responds' })

  t.equal(await owner.get('late'), '1')
})

for (const [name, run] of Object.entries(onPool)) {
  t.test(`in a Cluster ${name} that is redirected runs once, and not at all after the deadline`, async (t) => {
    const [early, late] = [`early: ${name}`, `late: ${name}`]
    const pool = await open(t, world.url, deadlineMs)
    await run(pool, early)
    await moveSlot(t, early, 0)
    await run(pool, early)
    t.equal(await pool.get(early), '2', 'the redirection is followed')

    await run(pool, late)
    const owner = await moveSlot(t, late, lateMs)
    await t.rejects(run(pool, late), unavailable)
    await world.heal()
    // A re-sent command would have arrived by then.
    await until(() => pool.load.inFlight === 0, { what: 'every reply has arrived' })
    await until(async () => await pool.get(late) !== null && await owner.get(late) !== null, { what: 'the new owner responds' })
    t.equal(await owner.get(late), '1')
  })
}

t.test('an error inside a script\'s reply is returned to the caller, whatever its text, and the script runs once', async (t) => {
  const pool = await open(t, world.url)
  const words = ['TRYAGAIN Multiple keys', 'MOVED 1 127.0.0.1:1', 'CLUSTERDOWN', 'NOSCRIPT', 'LOADING', 'READONLY', 'Connection is closed.']

  for (const word of words) {
    const key = `{word}:${word.slice(0, 6)}`
    await t.rejects(pool.batch.runScript(new Script({ url: new URL('../increase-and-fail.lua', import.meta.url), costMicroseconds: 5, read: Number }), [key], [word]))
    await t.rejects(pool.eval("redis.call('INCR', KEYS[1]); return redis.call('GET')", 1, `${key}:own`))
    t.same([await pool.get(key), await pool.get(`${key}:own`)], ['1', '1'], word)
  }
})

t.end() // the running Cluster would keep the process alive
