import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import { CacheStore } from '../../src/cache/storage/cache-store.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { racePurges } from '../support/purging-process.ts'
import { startRedis } from '../support/redis.ts'
import type { TestRedis } from '../support/redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { startSwitch } from '../support/redis-switch.ts'
import { until } from '../support/until.ts'

/** How often which command ran, and how long scripts took in all. */
async function statsOf (client: Redis): Promise<{ calls: Record<string, number>, scriptMicroseconds: number }> {
  const rows = [...(await client.info('commandstats')).matchAll(/^cmdstat_(\w+):calls=(\d+),usec=(\d+)/gm)]
  const calls = Object.fromEntries(rows.filter(([, name]) => !['info', 'ping', 'client'].includes(name ?? '')).map(([, name = '', count]) => [name, Number(count)]))
  return { calls, scriptMicroseconds: Number(rows.find(([, name]) => name === 'evalsha')?.[3] ?? 0) }
}

/** Waits until an app knows which server it speaks to. */
async function reached ({ redisPool }: FastifyInstance, { client }: TestRedis): Promise<void> {
  const info = await client.info('server')
  await until(() => info.includes(redisPool.server?.runId ?? 'none') && redisPool.state === 'ready', { what: 'the server is reached' })
}

/** Asks once more, whether the cache answers. */
async function isHit (app: FastifyInstance): Promise<boolean> {
  return String((await app.inject('/a')).headers['cache-status']).includes('; hit')
}

t.test('purge asks as much of Redis for a hundred thousand entries as for one, in one write', async (t) => {
  const { url, client } = await startRedis(t)
  const app = await cachingApp(t, { url })
  const pool = app.redisPool
  await until(() => pool.load.ready === pool.load.connections, { what: 'all connections are ready' })
  const store = new CacheStore(pool.batch, pool.keyspace, () => pool.server)
  const nameOf = (index: number) => `api:cache:test:{${index}}`
  const find = async (index: number) => (await store.look(nameOf(index), [], (packed) => JSON.parse(packed.toString()) as { sequence: number, tags: string[] }).settled()).outcome
  t.same(await find(0), 'none')
  const sequence = await store.begin(['few', 'many'])
  for (let start = 0; start < 100_000; start += 5000) {
    const pipeline = client.pipeline()
    for (let index = start; index < start + 5000; index++) pipeline.set(nameOf(index), JSON.stringify({ sequence, tags: [index === 0 ? 'few' : 'many'] }), 'PX', 600_000)
    await pipeline.exec()
  }
  // What follows is asked of a server that knows the script.
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

t.test('purge is honoured by another process though it comes in the middle of a fill: 500 interleavings over two processes', { timeout: 110_000 }, async (t) => {
  const { url, client } = await startRedis(t)

  const races = await Promise.all([racePurges(t, url, 250), racePurges(t, url, 250)])

  t.comment(JSON.stringify(races))
  for (const { stale, hits, purges } of races) {
    t.equal(stale, 0)
    t.ok(hits > 0 && purges > 0)
  }
  const keys = await client.keys('api:cache:*')
  const lifetimes = await Promise.all(keys.map((key) => client.pttl(key)))
  t.ok(lifetimes.every((ms) => ms !== -1), 'no key without an end')
})

t.test('soft purge makes stale: who may be served meanwhile is, and who comes after an error', async (t) => {
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
  await until(() => isHeld, { what: 'it is made anew' })
  t.equal(await get(), 1, 'stale while it is made anew')
  resolve()
  await first
  gate = undefined
  await until(async () => await get() === 2, { what: 'the new one is stored' })

  version = -1
  await app.cache.purge('all', { soft: true })
  const standIn = await app.inject('/a')
  t.equal(standIn.statusCode, 200)
  t.equal(standIn.json<{ seen: number }>().seen, 2)

  version = 3
  await app.cache.purge('all')
  t.equal(await get(), 3, 'gone is gone')
})

t.test('soft purge of a tag whose marker was lost drops: nobody knows what was purged before', async (t) => {
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

t.test('purge refuses what cannot be meant', async (t) => {
  const app = await cachingApp(t)
  await t.rejects(app.cache.purge('all', { soft: 'yes' as never }), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(app.cache.purge('all', { hard: true } as never), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(app.cache.purge(''), { code: 'PRISM_ERR_OPTION' })
  for (const args of [[['a', 'b']], [['a'], { soft: true }], ['a', ['b']], [[]]]) await t.rejects(app.cache.purge(...args as never[]), { code: 'PRISM_ERR_OPTION', message: /each tag as an argument of its own/ }, JSON.stringify(args))
  for (const args of [[], [{ soft: true }]]) await t.rejects(app.cache.purge(...args as never[]), { code: 'PRISM_ERR_OPTION', message: /at least one tag/ }, JSON.stringify(args))
  for (const args of [[null], [undefined], [7], ['a', null]]) await t.rejects(app.cache.purge(...args as never[]), { code: 'PRISM_ERR_OPTION' }, String(args))
})

t.test('a server that comes back with an older snapshot brings no purged answer back, not to a process that never saw it before either', async (t) => {
  const server = await startRedisProcess(t)
  const client = new Redis(server.url)
  t.after(() => { client.disconnect() })
  client.on('error', () => {}) // it is killed
  let version = 1
  const start = async () => {
    const app = await cachingApp(t, { url: server.url })
    app.get('/a', { config: { cache: { ttl: '1h', tags: ['all'] } } }, async () => ({ seen: version }))
    return app
  }
  const app = await start()
  await until(() => isHit(app), { what: 'it is stored' })
  await client.save()
  await server.keepSnapshot()
  const [kept = ''] = await client.keys('api:cache:GET:*')
  version = 2
  await app.cache.purge('all')

  await server.restart({ withSnapshot: true })

  await until(async () => await client.exists(kept) === 1, { what: 'the snapshot holds the answer' })
  const fresh = await start()
  t.equal((await fresh.inject('/a')).json<{ seen: number }>().seen, 2)
  await until(() => app.redisPool.state === 'ready' && app.redisPool.server?.runId === fresh.redisPool.server?.runId, { what: 'the first one has reached it' })
  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
  await until(() => isHit(app), { what: 'it is stored again' })
  t.same((await client.keys('api:cache:epoch:*')).length, 2, 'each server has a marker of its own')
})

t.test('a replica that never heard of a purge and becomes master brings no purged answer back', async (t) => {
  const [master, replica] = [await startRedis(t, { args: ['--repl-diskless-sync-delay', '0'] }), await startRedis(t)]
  const { url, turn } = await startSwitch(t, master.port)
  await replica.client.replicaof('127.0.0.1', master.port)
  const app = await cachingApp(t, { url })
  let version = 1
  app.get('/a', { config: { cache: { ttl: '1h', tags: ['all'] } } }, async () => ({ seen: version }))
  await until(() => isHit(app), { what: 'it is stored' })
  await until(async () => (await replica.client.keys('api:cache:GET:*')).length === 1, { what: 'the replica holds the answer' })
  await replica.client.replicaof('NO', 'ONE')
  version = 2
  await app.cache.purge('all')

  turn(replica.port)
  await reached(app, replica)

  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
  await until(() => isHit(app), { what: 'it is stored there' })
  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
})

t.test('a master that was away brings no purged answer back, though nobody asked for anything meanwhile', async (t) => {
  const [first, second] = [await startRedis(t), await startRedis(t)]
  const { url, turn } = await startSwitch(t, first.port)
  const app = await cachingApp(t, { url })
  let version = 1
  app.get('/a', { config: { cache: { ttl: '1h', tags: ['all'] } } }, async () => ({ seen: version }))
  await until(() => isHit(app), { what: 'it is stored' })

  turn(second.port)
  await reached(app, second)
  version = 2
  const other = await cachingApp(t, { url })
  await other.cache.purge('all')
  turn(first.port)
  await reached(app, first)

  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
})

t.test('a master whose clock is behind brings no purged answer back either', async (t) => {
  const [ahead, behind] = [await startRedis(t), await startRedis(t)]
  const { url, turn } = await startSwitch(t, ahead.port)
  const app = await cachingApp(t, { url })
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  let version = 1
  let isHeld = false
  app.get('/a', { config: { cache: { ttl: '1h', tags: ['all'] } } }, async () => {
    const seen = version
    isHeld = true
    await gate
    return { seen }
  })
  const inAnHour = (Date.now() + 3_600_000) * 1000
  await ahead.client.set('api:cache:seq', inAnHour, 'PX', 600_000)
  await app.cache.purge('another')
  const before = app.inject('/a')
  await until(() => isHeld, { what: 'it is being made' })

  turn(behind.port)
  await reached(app, behind)
  version = 2
  await app.cache.purge('all')
  open()
  await before
  await stored(app)

  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
})

/** Redis's clock in microseconds, as far off as this: markers of a master whose clock was ahead. */
const inAnHour = () => String((Date.now() + 3_600_000) * 1000)

/** Ways in which the sequence comes to stand below what a look compares with it. */
const setBacks: Record<string, (app: FastifyInstance) => Promise<unknown>> = {
  'below the global marker': (app) => app.redis.set('api:cache:seq', '5', 'PX', 600_000),
  'below a tag\'s marker': async (app) => {
    await app.cache.purge('a')
    await app.redis.set('api:cache:seq', '5', 'PX', 600_000)
  },
  'below the marker of a soft purge': async (app) => {
    await app.cache.purge('a', { soft: true })
    await app.redis.set('api:cache:seq', '5', 'PX', 600_000)
  },
  'below a marker that is ahead of the clock': (app) => app.redis.set('api:cache:tag:a', inAnHour(), 'PX', 600_000)
}

for (const [way, setBack] of Object.entries(setBacks)) {
  t.test(`cache stores again with the first fill that sees a purge sequence ${way}, and purges win as ever`, async (t) => {
    const app = await cachingApp(t)
    let version = 1
    app.get('/:id', { config: { cache: { tags: ['a'] } } }, async () => ({ version }))
    app.get('/each/:id', { config: { cache: { tags: ['a'], vary: ['x-a'] } } }, async () => ({ version }))
    const wrapped = () => app.cache.wrap('wrapped', {}, { ttl: '1h', tags: ['a'] }, () => ({ version }))
    const ask = async (url: string) => {
      const reply = await app.inject(url)
      await stored(app)
      return { version: reply.json<{ version: number }>().version, status: String(reply.headers['cache-status']) }
    }
    // The first of them is looked for again as one that was found lately, the others as new.
    await ask('/known')
    t.match(await ask('/known'), { status: /hit/ })

    await setBack(app)
    version = 2
    const filled = ['/known', '/new', '/each/new']
    for (const url of filled) await ask(url)
    await wrapped()
    await stored(app)
    for (const url of filled) t.match(await ask(url), { status: /hit/ }, url)
    version = 3
    t.equal((await wrapped()).version, 2)

    for (const purge of [() => app.cache.purge('a'), () => app.cache.purge('a', { soft: true })]) {
      version += 1
      await purge()
      for (const url of [...filled, '/newer']) t.equal((await ask(url)).version, version, `${url} after a purge`)
      t.equal((await wrapped()).version, version)
      for (const url of filled) t.match(await ask(url), { status: /hit/ }, `${url} is stored again`)
    }
  })
}

t.test('cache purges a tag for good whose sequence was set back while an answer was made', async (t) => {
  const app = await cachingApp(t)
  const gate = Promise.withResolvers<void>()
  let version = 1
  app.get('/', { config: { cache: { tags: ['a'] } } }, async () => {
    const seen = version
    await gate.promise
    return { version: seen }
  })
  await app.redis.set('api:cache:seq', inAnHour(), 'PX', 600_000)
  await app.cache.purge('b')
  const before = app.inject('/')
  await until(async () => (await app.redis.keys('api:cache:lock:*')).length > 0, { what: 'it is being made' })

  await app.redis.set('api:cache:seq', '5', 'PX', 600_000)
  version = 2
  await app.cache.purge('a')
  gate.resolve()
  await before
  await stored(app)

  t.equal((await app.inject('/')).json<{ version: number }>().version, 2)
})
