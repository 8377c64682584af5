import type { Redis } from 'ioredis'
import t from 'tap'
import { CacheStore } from '../../src/cache/storage/cache-store.ts'
import { cachingApp, isHit } from '../support/caching.ts'
import { propertyRuns } from '../support/property-runs.ts'
import { racePurges } from '../support/purging-process.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** Calls by command, and the total duration of scripts. */
async function statsOf (client: Redis): Promise<{ calls: Record<string, number>, scriptMicroseconds: number }> {
  const rows = [...(await client.info('commandstats')).matchAll(/^cmdstat_(\w+):calls=(\d+),usec=(\d+)/gm)]
  const calls = Object.fromEntries(rows.filter(([, name]) => !['info', 'ping', 'client'].includes(name ?? '')).map(([, name = '', count]) => [name, Number(count)]))
  return { calls, scriptMicroseconds: Number(rows.find(([, name]) => name === 'evalsha')?.[3] ?? 0) }
}

/** Sends a request. @returns whether it was a hit */
t.test('a purge of a hundred thousand entries sends Redis the same single write as a purge of one', async (t) => {
  const { url, client } = await startRedis(t)
  const app = await cachingApp(t, { url })
  const pool = app.redisPool
  await until(() => pool.load.ready === pool.load.connections, { what: 'all connections are ready' })
  const store = new CacheStore(pool.batch, pool.keyspace, () => pool.server)
  const nameOf = (index: number) => `api:cache:test:{${index}}`
  const find = async (index: number) => (await store.look(nameOf(index), [], (packed) => JSON.parse(packed.toString()) as { sequence: number, tags: string[] }).settled()).outcome
  t.same(await find(0), 'none')
  const sequence = await store.sequenceForFill(['few', 'many'])
  const stored = (tag: string) => JSON.stringify({ sequence, tags: [tag] })
  await client.eval("for index = 0, 99999 do redis.call('SET', (ARGV[1]:gsub('0', index)), index == 0 and ARGV[2] or ARGV[3], 'PX', 600000) end", 0, nameOf(0), stored('few'), stored('many'))
  // From here on the server has the script loaded.
  const costOf = async (tag: string) => {
    const [before, { writes }] = [await statsOf(client), { ...pool.batch.counts }]
    await store.purge([tag])
    const after = await statsOf(client)
    const calls = Object.entries(after.calls).map(([name, count]) => [name, count - (before.calls[name] ?? 0)] as const).filter(([, count]) => count > 0)
    return { calls: Object.fromEntries(calls), writes: pool.batch.counts.writes - writes, microseconds: after.scriptMicroseconds - before.scriptMicroseconds }
  }
  t.same(await Promise.all([0, 1, 99_999].map(find)), ['found', 'found', 'found'])
  await store.purge(['another'])

  const few = await costOf('few')
  const many = await costOf('many')

  t.comment(`in Redis: ${few.microseconds} µs for one, ${many.microseconds} µs for 99,999`)
  t.same(many.calls, few.calls)
  t.same(few.calls, { evalsha: 1, time: 1, get: 2, set: 2 })
  t.equal(many.writes, 1)
  t.same(await Promise.all([0, 1, 99_999].map(find)), ['none', 'none', 'none'])
})

t.test('a purge during a fill is honoured by another process, in any interleaving of two processes', { timeout: 110_000 }, async (t) => {
  const { url, client } = await startRedis(t)
  const rounds = propertyRuns(100)

  const races = await Promise.all([racePurges(t, url, rounds), racePurges(t, url, rounds)])

  t.comment(JSON.stringify(races))
  for (const { stale, hits, purges } of races) {
    t.equal(stale, 0)
    t.ok(hits > 0 && purges > 0)
  }
  const keys = await client.keys('api:cache:*')
  const lifetimes = await Promise.all(keys.map((key) => client.pttl(key)))
  t.ok(lifetimes.every((ms) => ms !== -1), 'every key expires')
})

t.test('a soft purge makes responses stale: stale-while-revalidate and stale-if-error still serve them', async (t) => {
  const app = await cachingApp(t)
  let version = 1
  let gate: Promise<void> | undefined
  let isHeld = false
  app.get('/a', { config: { cache: { tags: ['all'], staleWhileRevalidate: '1m', staleIfError: '1m' } } }, async () => {
    const seen = version
    isHeld = gate !== undefined
    await gate
    if (seen < 0) throw new Error('broken')
    return { seen }
  })
  const get = async () => (await app.inject('/a')).json<{ seen: number }>().seen
  t.equal(await get(), 1)
  await until(() => isHit(app), { what: 'it is stored' })

  const { promise, resolve } = Promise.withResolvers<void>()
  gate = promise
  version = 2
  await app.cache.purge('all', { soft: true })
  const first = app.inject('/a')
  await until(() => isHeld, { what: 'the revalidation runs' })
  t.equal(await get(), 1, 'stale during the revalidation')
  resolve()
  await first
  gate = undefined
  await until(async () => await get() === 2, { what: 'the new response is stored' })

  version = -1
  await app.cache.purge('all', { soft: true })
  const standIn = await app.inject('/a')
  t.equal(standIn.statusCode, 200)
  t.equal(standIn.json<{ seen: number }>().seen, 2)

  version = 3
  await app.cache.purge('all')
  t.equal(await get(), 3, 'removed')
})

t.test('a soft purge removes responses of a tag whose version was lost, because earlier purges are unknown', async (t) => {
  const app = await cachingApp(t)
  let version = 1
  app.get('/a', { config: { cache: { tags: ['all'], staleWhileRevalidate: '1m' } } }, async () => ({ seen: version }))
  const get = async () => (await app.inject('/a')).json<{ seen: number }>().seen
  await get()
  await until(() => isHit(app), { what: 'it is stored' })

  version = 2
  await app.redis.unlink('api:cache:tag:all')
  await app.cache.purge('all', { soft: true })

  t.same(await Promise.all([get(), get(), get()]), [2, 2, 2])
})

t.test('a purge rejects invalid arguments', async (t) => {
  const app = await cachingApp(t)
  await t.rejects(app.cache.purge('all', { soft: 'yes' as never }), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(app.cache.purge('all', { hard: true } as never), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(app.cache.purge(''), { code: 'PRISM_ERR_OPTION' })
  for (const args of [[['a', 'b']], [['a'], { soft: true }], ['a', ['b']], [[]]]) await t.rejects(app.cache.purge(...args as never[]), { code: 'PRISM_ERR_OPTION', message: /each tag as an argument of its own/ }, JSON.stringify(args))
  for (const args of [[], [{ soft: true }]]) await t.rejects(app.cache.purge(...args as never[]), { code: 'PRISM_ERR_OPTION', message: /at least one tag/ }, JSON.stringify(args))
  for (const args of [[null], [undefined], [7], ['a', null]]) await t.rejects(app.cache.purge(...args as never[]), { code: 'PRISM_ERR_OPTION' }, String(args))
})
