import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import { cachingApp, isHit, stored } from '../support/caching.ts'
import { startRedis } from '../support/redis.ts'
import type { TestRedis } from '../support/redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { startSwitch } from '../support/redis-switch.ts'
import { until } from '../support/until.ts'

/** Waits until an app knows its Redis server. */
async function reached ({ redisPool }: FastifyInstance, { client }: TestRedis): Promise<void> {
  const info = await client.info('server')
  await until(() => info.includes(redisPool.server?.runId ?? 'none') && redisPool.state === 'ready', { what: 'the server is reached' })
}

/** Sends a request. @returns whether it was a hit */
t.test('a server that restarts with an older snapshot serves no purged response, also to a process that connects for the first time', async (t) => {
  const server = await startRedisProcess(t)
  const client = new Redis(server.url)
  t.after(() => { client.disconnect() })
  client.on('error', () => {}) // the server is killed
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

  await until(async () => await client.exists(kept) === 1, { what: 'the snapshot contains the response' })
  const fresh = await start()
  t.equal((await fresh.inject('/a')).json<{ seen: number }>().seen, 2)
  await until(() => app.redisPool.state === 'ready' && app.redisPool.server?.runId === fresh.redisPool.server?.runId, { what: 'the first process has connected' })
  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
  await until(() => isHit(app), { what: 'it is stored again' })
  t.same((await client.keys('api:cache:epoch:*')).length, 2, 'each server has its own epoch')
})

t.test('a replica that becomes master without a purge serves no purged response', async (t) => {
  const [master, replica] = [await startRedis(t, { args: ['--repl-diskless-sync-delay', '0'] }), await startRedis(t)]
  const { url, turn } = await startSwitch(t, master.port)
  await replica.client.replicaof('127.0.0.1', master.port)
  const app = await cachingApp(t, { url })
  let version = 1
  app.get('/a', { config: { cache: { ttl: '1h', tags: ['all'] } } }, async () => ({ seen: version }))
  await until(() => isHit(app), { what: 'it is stored' })
  await until(async () => (await replica.client.keys('api:cache:GET:*')).length === 1, { what: 'the replica has the response' })
  await replica.client.replicaof('NO', 'ONE')
  version = 2
  await app.cache.purge('all')

  turn(replica.port)
  await reached(app, replica)

  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
  await until(() => isHit(app), { what: 'it is stored there' })
  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
})

t.test('a master that returns after an outage serves no purged response, even without requests meanwhile', async (t) => {
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

t.test('a master with a slow clock serves no purged response', async (t) => {
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
  await until(() => isHeld, { what: 'the handler runs' })

  turn(behind.port)
  await reached(app, behind)
  version = 2
  await app.cache.purge('all')
  open()
  await before
  await stored(app)

  t.equal((await app.inject('/a')).json<{ seen: number }>().seen, 2)
})

/** Redis's clock in microseconds plus an hour: a tag version of a master with a fast clock. */
const inAnHour = () => String((Date.now() + 3_600_000) * 1000)

/** Ways in which the sequence becomes lower than the versions that a lookup compares with it. */
const setBacks: Record<string, (app: FastifyInstance) => Promise<unknown>> = {
  'below the server epoch': (app) => app.redis.set('api:cache:seq', '5', 'PX', 600_000),
  'below the version of a tag': async (app) => {
    await app.cache.purge('a')
    await app.redis.set('api:cache:seq', '5', 'PX', 600_000)
  },
  'below the version of a soft purge': async (app) => {
    await app.cache.purge('a', { soft: true })
    await app.redis.set('api:cache:seq', '5', 'PX', 600_000)
  },
  'below a version that is ahead of the clock': (app) => app.redis.set('api:cache:tag:a', inAnHour(), 'PX', 600_000)
}

for (const [way, setBack] of Object.entries(setBacks)) {
  t.test(`cache stores again with the first fill that reads a purge sequence ${way}, and purges still take effect`, async (t) => {
    const app = await cachingApp(t)
    let version = 1
    app.get('/:id', { config: { cache: { tags: ['a'] } } }, async () => ({ version }))
    app.get('/each/:id', { config: { cache: { tags: ['a'], vary: ['x-a'] } } }, async () => ({ version }))
    const wrapped = () => app.cache.wrap('wrapped', {}, { ttl: '1h', tags: ['a'] }, () => ({ version }))
    const send = async (url: string) => {
      const reply = await app.inject(url)
      await stored(app)
      return { version: reply.json<{ version: number }>().version, status: String(reply.headers['cache-status']) }
    }
    // The first is requested again as a key that was found recently, the others as unknown keys.
    await send('/known')
    t.match(await send('/known'), { status: /hit/ })

    await setBack(app)
    version = 2
    const filled = ['/known', '/new', '/each/new']
    for (const url of filled) await send(url)
    await wrapped()
    await stored(app)
    for (const url of filled) t.match(await send(url), { status: /hit/ }, url)
    version = 3
    t.equal((await wrapped()).version, 2)

    for (const purge of [() => app.cache.purge('a'), () => app.cache.purge('a', { soft: true })]) {
      version += 1
      await purge()
      for (const url of [...filled, '/newer']) t.equal((await send(url)).version, version, `${url} after a purge`)
      t.equal((await wrapped()).version, version)
      for (const url of filled) t.match(await send(url), { status: /hit/ }, `${url} is stored again`)
    }
  })
}

t.test('cache removes the responses of a purged tag whose sequence was set back during a fill', async (t) => {
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
  await until(async () => (await app.redis.keys('api:cache:lock:*')).length > 0, { what: 'the handler runs' })

  await app.redis.set('api:cache:seq', '5', 'PX', 600_000)
  version = 2
  await app.cache.purge('a')
  gate.resolve()
  await before
  await stored(app)

  t.equal((await app.inject('/')).json<{ version: number }>().version, 2)
})
