import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startCluster } from '../support/cluster.ts'
import { faults } from '../support/faults.ts'
import { startRig } from '../support/proxied-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

const options = { ttl: '5m', tags: ['all'] } as const

async function twoApps (t: Test, lockTimeout: '5s' | '30s' | '300ms' = '5s'): Promise<[FastifyInstance, FastifyInstance]> {
  const { url } = await startRedisProcess(t)
  return [await cachingApp(t, { url, lockTimeout }), await cachingApp(t, { url, lockTimeout })]
}

/** A function whose first run returns `old`, once it may, and whose later runs return `new`. */
function slowThenNew () {
  const gate = Promise.withResolvers<void>()
  const made = {
    runs: 0,
    open: gate.resolve,
    value: async (): Promise<string> => {
      if (++made.runs > 1) return 'new'
      await gate.promise
      return 'old'
    }
  }
  return made
}

/** What both apps return after a delete, from get and from wrap. */
async function served (apps: readonly FastifyInstance[], make: () => Promise<string>): Promise<unknown[]> {
  for (const app of apps) await stored(app)
  const got = await Promise.all(apps.map((app) => app.cache.get('rows', 1)))
  const wrapped = await Promise.all(apps.map((app) => app.cache.wrap('rows', 1, options, make)))
  for (const app of apps) await stored(app)
  return [...got, ...wrapped, ...await Promise.all(apps.map((app) => app.cache.get('rows', 1)))]
}

const onlyNew = [undefined, undefined, 'new', 'new', 'new', 'new']

t.test('cache.get returns what wrap has stored, as a copy, in every process, and calls no function', async (t) => {
  const [one, other] = await twoApps(t)
  for (const value of [{ list: [1] }, null, 0, '', false, 'text']) {
    await one.cache.wrap('rows', { a: 1, b: [value] }, options, () => value)
    await stored(one)
    for (const app of [one, other]) {
      t.same(await app.cache.get('rows', { b: [value], a: 1 }), value)
      t.equal(await app.cache.get('rows', { a: 2, b: [value] }), undefined, 'other parameters')
      t.equal(await app.cache.get('columns', { a: 1, b: [value] }), undefined, 'another name')
    }
  }
  const copies = [await one.cache.get<{ list: number[] }>('rows', { a: 1, b: [{ list: [1] }] }), await one.cache.get<{ list: number[] }>('rows', { a: 1, b: [{ list: [1] }] })]
  copies[0]?.list.push(2)
  t.same(copies[1], { list: [1] })
  await t.rejects(one.cache.get('rows', { id: 1n }), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(one.cache.get('', 1), { code: 'PRISM_ERR_OPTION' })
})

t.test('cache.get returns undefined for a value that has expired, was purged or is being computed, and during an outage', async (t) => {
  const rig = await startRig(t)
  const app = await cachingApp(t, { url: rig.url })
  const keep = async (ttl: '60ms' | '5m') => {
    await app.cache.wrap('rows', ttl, { ttl, tags: ['all'] }, () => ttl)
    await stored(app)
  }
  await keep('60ms')
  await until(async () => await app.cache.get('rows', '60ms') === undefined, { what: 'it has expired' })
  await keep('5m')
  t.equal(await app.cache.get('rows', '5m'), '5m')
  await app.cache.purge('all')
  t.equal(await app.cache.get('rows', '5m'), undefined, 'purged')
  const made = slowThenNew()
  const early = app.cache.wrap('slow', 1, options, made.value)
  await until(() => made.runs === 1, { what: 'the function runs' })
  t.equal(await app.cache.get('slow', 1), undefined, 'it does not wait')
  made.open()
  await early
  await keep('5m')
  await faults.down.inject(rig)
  await until(() => app.redisPool.state === 'degraded', { what: 'the outage is detected' })
  t.equal(await app.cache.get('rows', '5m'), undefined)
  await t.rejects(app.cache.delete('rows', '5m'), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
})

t.test('cache.delete removes one value in every process, and no other', async (t) => {
  const [one, other] = await twoApps(t)
  for (const id of [1, 2]) await one.cache.wrap('rows', id, options, () => `row ${id}`)
  await stored(one)

  await other.cache.delete('rows', 1)

  for (const app of [one, other]) t.same([await app.cache.get('rows', 1), await app.cache.get('rows', 2)], [undefined, 'row 2'])
  await one.cache.delete('rows', 'missing')
  t.equal(one.cache.counts.purge + other.cache.counts.purge, 2, 'counts as a purge')
})

/** How the run that the delete must reject came to be, beside one that simply takes the lock. */
const preparations: Record<string, (app: FastifyInstance) => Promise<void>> = {
  'of a key that is new': async () => {},
  'of a key that was deleted before': async (app) => await app.cache.delete('rows', 1),
  'that replaces an expired value': async (app) => {
    await app.cache.wrap('rows', 1, { ttl: '1ms' }, () => 'expired')
    await stored(app)
    await until(async () => await app.cache.get('rows', 1) === undefined, { what: 'the value has expired' })
  },
  'without the lock, because the last result was undefined': async (app) => {
    await app.cache.wrap('rows', 1, options, () => undefined)
    await until(async () => (await app.redis.keys('api:cache:lock:*')).length > 0, { what: 'the lock is bypassed' })
  },
  'beside a run that hangs': async (app) => {
    let isBegun = false
    app.cache.wrap('rows', 1, options, () => { isBegun = true; return new Promise(() => {}) }).catch(() => {})
    await until(() => isBegun, { what: 'it hangs' })
  }
}

for (const [kind, prepare] of Object.entries(preparations)) {
  for (const place of ['the same', 'another'] as const) {
    t.test(`cache.delete in ${place} process rejects the result of a run ${kind}`, async (t) => {
      const apps = await twoApps(t, kind.includes('hangs') ? '300ms' : '5s')
      await prepare(apps[0])
      const made = slowThenNew()
      const early = apps[0].cache.wrap('rows', 1, options, made.value)
      await until(() => made.runs === 1, { what: 'the function runs' })

      await apps[place === 'another' ? 1 : 0].cache.delete('rows', 1)
      made.open()

      t.equal(await early, 'old', 'its own caller called before')
      t.same(await served(apps, made.value), onlyNew)
    })
  }
}

for (const [index, caller] of ['the same', 'another'].entries()) {
  t.test(`a call after cache.delete does not wait for a run of ${caller} process that began before`, async (t) => {
    const apps = await twoApps(t, '30s')
    await apps[0].cache.wrap('warm', 1, options, () => 1)
    const made = slowThenNew()
    const early = apps[0].cache.wrap('rows', 1, options, made.value)
    await until(() => made.runs === 1, { what: 'the function runs' })
    await apps[1].cache.delete('rows', 1)

    const late = apps[index as 0 | 1].cache.wrap('rows', 1, options, made.value)
    await until(() => made.runs === 2, { what: 'a second run starts while the first runs' })
    made.open()

    t.same([await early, await late], ['old', 'new'])
    t.same(await served(apps, made.value), ['new', 'new', 'new', 'new', 'new', 'new'])
  })
}

t.test('cache.delete rejects older results also when Redis loses the version that it has raised', async (t) => {
  const apps = await twoApps(t)
  const made = slowThenNew()
  const early = apps[0].cache.wrap('rows', 1, options, made.value)
  await until(() => made.runs === 1, { what: 'the function runs' })
  await apps[1].cache.delete('rows', 1)
  const lost = await apps[0].redis.keys('api:cache:tag:*wrap*')
  t.equal(lost.length, 1)
  await apps[0].redis.del(...lost)
  made.open()
  await early

  t.same(await served(apps, made.value), onlyNew)
})

t.test('cache.delete in a Cluster rejects the results of runs that began before', { timeout: 300_000 }, async (t) => {
  const { url } = await startCluster(t)
  const apps = [await cachingApp(t, { url }), await cachingApp(t, { url })] as const
  await until(async () => {
    await apps[0].cache.wrap('rows', 0, options, () => 'warm')
    return await apps[1].cache.get('rows', 0) === 'warm'
  }, { what: 'both are connected' })
  const made = slowThenNew()
  const early = apps[0].cache.wrap('rows', 1, options, made.value)
  await until(() => made.runs === 1, { what: 'the function runs' })
  await apps[1].cache.delete('rows', 1)
  made.open()
  await early

  t.same(await served(apps, made.value), onlyNew)
  t.equal(await apps[1].cache.get('rows', 0), 'warm')
  await apps[0].cache.wrap('rows', 1, { ...options, refresh: true }, () => 'newer')
  t.equal(await apps[1].cache.get('rows', 1), 'newer')
})

t.test('cache.wrap, get, delete and refresh return nothing older than a delete or a refresh that has resolved, in any interleaving, also when Redis loses keys', async (t) => {
  const { url } = await startRedisProcess(t)
  const apps = await Promise.all([cachingApp(t, { url }), cachingApp(t, { url }), cachingApp(t, { url })])
  const any = () => apps[Math.floor(Math.random() * apps.length)] as FastifyInstance
  const values = [0, 0, 0]
  const atLeast = [0, 0, 0]
  const seen = { reads: 0, hits: 0, stale: 0 }
  const pause = async () => {
    if (Math.random() < 0.2) await new Promise((resolve) => setTimeout(resolve, Math.random() * 8))
    for (let count = Math.floor(Math.random() * 6); count > 0; count--) await turn()
  }
  const make = (id: number) => async () => {
    const value = values[id]
    await pause()
    return Math.random() < 0.1 ? undefined : value
  }
  const check = (value: number | undefined, least: number) => {
    seen.reads += 1
    if (value !== undefined && value < least) seen.stale += 1
  }
  const steps: ((id: number) => Promise<void>)[] = [
    async (id) => { const least = atLeast[id] ?? 0; check(await any().cache.wrap('rows', id, options, make(id)), least) },
    async (id) => { const least = atLeast[id] ?? 0; const value = await any().cache.get<number>('rows', id); check(value, least); if (value !== undefined) seen.hits += 1 },
    async (id) => { const value = values[id] = (values[id] ?? 0) + 1; await any().cache.delete('rows', id); atLeast[id] = Math.max(atLeast[id] ?? 0, value) },
    async (id) => { const value = values[id] = (values[id] ?? 0) + 1; await any().cache.wrap('rows', id, { ...options, refresh: true }, make(id)); atLeast[id] = Math.max(atLeast[id] ?? 0, value) },
    async () => { if (Math.random() < 0.2) await any().redis.del(...await any().redis.keys('api:cache:tag:*wrap*'), 'none') }
  ]
  for (let round = 0; round < 300; round++) {
    await Promise.all(Array.from({ length: 6 }, async () => {
      await pause()
      await steps[[0, 0, 0, 1, 1, 1, 2, 3, 4][Math.floor(Math.random() * 9)] ?? 0]?.(round % 3)
    }))
  }

  t.equal(seen.stale, 0)
  t.ok(seen.hits > 100, `${seen.hits} hits of ${seen.reads} reads`)
})
