import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { faults } from '../support/faults.ts'
import { startRig } from '../support/proxied-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'
import { atRest, countWrites } from '../support/writes.ts'

const options = { ttl: '5m', tags: ['all'] } as const
const refresh = { ...options, refresh: true } as const

async function twoApps (t: Test): Promise<[FastifyInstance, FastifyInstance]> {
  const { url } = await startRedisProcess(t)
  const apps: [FastifyInstance, FastifyInstance] = [await cachingApp(t, { url }), await cachingApp(t, { url })]
  await apps[0].cache.wrap('rows', 1, options, () => 'old')
  await stored(apps[0])
  return apps
}

/** A function that returns a value once it may. */
function held<Value> (value: Value) {
  const gate = Promise.withResolvers<void>()
  const made = {
    runs: 0,
    open: gate.resolve,
    make: async () => {
      made.runs += 1
      await gate.promise
      return value
    }
  }
  return made
}

const never = () => { throw new Error('nothing is stored') }

async function got (apps: readonly FastifyInstance[]): Promise<unknown[]> {
  return await Promise.all(apps.map((app) => app.cache.get('rows', 1)))
}

t.test('cache.wrap with refresh calls the function, serves the stored value until then, and all processes have the new one when it resolves', async (t) => {
  const apps = await twoApps(t)
  const made = held('new')
  const refreshed = apps[0].cache.wrap('rows', 1, refresh, made.make)
  await until(() => made.runs === 1, { what: 'the function runs although a value is stored' })

  t.same(await Promise.all(apps.map((app) => app.cache.wrap('rows', 1, options, never))), ['old', 'old'])
  made.open()
  t.equal(await refreshed, 'new')

  t.same(await got(apps), ['new', 'new'], 'without a wait')
  t.same(await Promise.all(apps.map((app) => app.cache.wrap('rows', 1, options, never))), ['new', 'new'])
})

t.test('refreshes of one tick share a run, and a later one starts its own', async (t) => {
  const [app] = await twoApps(t)
  const [first, second] = [held('first'), held('second')]
  const together = Array.from({ length: 5 }, () => app.cache.wrap('rows', 1, refresh, first.make))
  await until(() => first.runs > 0, { what: 'the first runs' })
  const later = app.cache.wrap('rows', 1, refresh, second.make)
  await until(() => second.runs > 0, { what: 'the second does not wait for the first' })
  first.open()
  second.open()

  t.same(await Promise.all(together), Array(5).fill('first'))
  t.equal(await later, 'second')
  t.same([first.runs, second.runs], [1, 1])
  t.equal(await app.cache.get('rows', 1), 'second')
})

t.test('a refresh that shares the run of another one resolves only when no process returns the old value any more, whatever the run returns', async (t) => {
  // A long value takes long to be written, and until then others read the old one.
  for (const result of ['new'.repeat(300_000), undefined]) {
    for (let round = 0; round < 10; round++) {
      const apps = await twoApps(t)
      const app = apps[0]
      const refreshed = Array.from({ length: 4 }, () => app.cache.wrap('rows', 1, refresh, () => result))
      const seen = await Promise.all(refreshed.map(async (each) => {
        await each
        return await got(apps)
      }))
      t.ok(seen.flat().every((value) => value === result), 'neither the other calls nor another process see the old value')
      await Promise.all(apps.map(async (each) => await each.close()))
    }
  }
})

t.test('a refresh that begins after the purge of another one, but before its run, rejects runs that began between them', async (t) => {
  const rig = await startRig(t)
  const [slow, other] = [await cachingApp(t, { url: rig.url }), await cachingApp(t, { url: rig.redis.url })]
  await slow.cache.wrap('rows', 2, options, () => 'warm')
  await other.cache.wrap('rows', 1, options, () => undefined) // runs without the lock for a time: no lock orders the writes
  await until(async () => (await rig.control.keys('api:cache:lock:*')).length > 0, { what: 'the lock is bypassed' })
  await rig.proxy.fault('latency', { delayMs: 300 })
  const [early, first, second] = [held('old'), held('new'), held('new')]
  for (const made of [first, second]) made.open()

  const sequence = async () => await rig.control.get('api:cache:seq')
  const before = await sequence()
  const refreshes = [slow.cache.wrap('rows', 1, refresh, first.make)]
  await until(async () => await sequence() !== before, { what: 'its fence is purged' })
  const begun = other.cache.wrap('rows', 1, options, early.make)
  await until(() => early.runs === 1, { what: 'a run begins' })
  t.equal(first.runs, 0, 'the refresh waits for Redis')
  refreshes.push(slow.cache.wrap('rows', 1, refresh, second.make))
  t.same(await Promise.all(refreshes), ['new', 'new'])
  early.open()
  await begun
  await stored(other)

  t.equal(await other.cache.get('rows', 1), 'new')
})

t.test('of concurrent refreshes in two processes the one that began last is stored, whichever ends last', async (t) => {
  for (const order of [[0, 1], [1, 0]] as const) {
    const apps = await twoApps(t)
    const made = [held('first'), held('second')] as const
    const refreshed = []
    for (const index of [0, 1] as const) {
      refreshed.push(apps[index].cache.wrap('rows', 1, refresh, made[index].make))
      await until(() => made[index].runs === 1, { what: 'it runs' })
    }
    for (const index of order) {
      made[index].open()
      await refreshed[index]
      t.not((await got(apps)).includes('old'), `${index} has resolved`)
    }
    t.same(await got(apps), ['second', 'second'], `order of ends ${order}`)
  }
})

t.test('a run that began before a refresh is not stored over its value, with or without the lock', async (t) => {
  for (const kind of ['with the lock', 'without the lock'] as const) {
    const apps = await twoApps(t)
    await apps[0].cache.purge('all')
    if (kind === 'without the lock') await apps[0].cache.wrap('rows', 1, options, () => undefined)
    const early = held('early')
    const begun = apps[0].cache.wrap('rows', 1, options, early.make)
    await until(() => early.runs === 1, { what: 'a run begins' })
    t.equal(await apps[1].cache.wrap('rows', 1, refresh, () => 'new'), 'new')
    early.open()
    t.equal(await begun, 'early')
    await stored(apps[0])

    t.same(await got(apps), ['new', 'new'], kind)
  }
})

t.test('a purge or delete during a refresh wins', async (t) => {
  const invalidations = { purge: (app: FastifyInstance) => app.cache.purge('all'), delete: (app: FastifyInstance) => app.cache.delete('rows', 1) }
  for (const [name, invalidate] of Object.entries(invalidations)) {
    const apps = await twoApps(t)
    const made = held('new')
    const refreshed = apps[0].cache.wrap('rows', 1, refresh, made.make)
    await until(() => made.runs === 1, { what: 'the function runs' })
    await invalidate(apps[1])
    made.open()
    t.equal(await refreshed, 'new')

    t.same(await got(apps), [undefined, undefined], name)
  }
})

t.test('a refresh whose function fails leaves the stored value, and one that returns undefined removes it', async (t) => {
  const apps = await twoApps(t)
  await t.rejects(apps[0].cache.wrap('rows', 1, refresh, () => { throw new Error('the database is down') }), /the database is down/)
  t.same(await got(apps), ['old', 'old'])
  t.equal(await apps[1].cache.wrap('rows', 1, refresh, () => undefined), undefined)
  t.same(await got(apps), [undefined, undefined])
})

t.test('a refresh during an outage calls the function and stores nothing, and an option of another kind is rejected', async (t) => {
  const rig = await startRig(t)
  const app = await cachingApp(t, { url: rig.url })
  await faults.down.inject(rig)
  await until(() => app.redisPool.state === 'degraded', { what: 'the outage is detected' })

  t.equal(await app.cache.wrap('rows', 1, refresh, () => 'new'), 'new')
  await t.rejects(app.cache.wrap('rows', 1, { ...options, refresh: 'yes' as never }, () => 1), { code: 'PRISM_ERR_OPTION', message: /wrap\.refresh/ })
  await t.rejects(app.cache.wrap('rows', 1, refresh, () => app.cache.wrap('rows', 1, refresh, () => 1)), { code: 'PRISM_ERR_WRAP_RECURSION' })
})

t.test('a hit of cache.wrap is one MGET of the value, its tags and the epoch', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = await cachingApp(t, { url })
  await app.cache.wrap('rows', 1, options, () => 'stored')
  await stored(app)
  const writes = countWrites(t, Number(new URL(url).port))
  await atRest(writes, app.redisPool.batch)

  t.equal(await app.cache.wrap('rows', 1, options, never), 'stored')
  t.same([writes.writes, ...writes.commands], [1, ['MGET', 1]])
  const client = app.redis.duplicate()
  t.after(() => client.disconnect())
  const [monitor, keys] = [await client.monitor(), [] as string[][]]
  t.after(() => monitor.disconnect())
  monitor.on('monitor', (_time, words: string[]) => keys.push(words))
  t.equal(await app.cache.wrap('rows', 1, options, never), 'stored')
  await until(() => keys.some(([name]) => name === 'mget'), { what: 'the command is seen' })
  t.match(keys.find(([name]) => name === 'mget'), ['mget', /^api:cache:epoch:/, /^api:cache:wrap:rows:/, 'api:cache:tag:all'])
})
