import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { faults } from '../support/faults.ts'
import { startRig } from '../support/proxied-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

const options = { ttl: '5m', tags: ['all'] } as const

/** A slow producer of values, which counts its runs and their concurrency. */
function maker () {
  const gate = Promise.withResolvers<void>()
  const made = {
    runs: 0,
    now: 0,
    most: 0,
    open: gate.resolve,
    failures: 0,
    value: async (): Promise<{ run: number, list: number[] }> => {
      const run = ++made.runs
      made.most = Math.max(made.most, ++made.now)
      await gate.promise
      made.now -= 1
      if (run <= made.failures) throw new Error(`run ${run} failed`)
      return { run, list: [] }
    }
  }
  return made
}

async function twoApps (t: Parameters<typeof cachingApp>[0]): Promise<[FastifyInstance, FastifyInstance]> {
  const { url } = await startRedisProcess(t)
  return [await cachingApp(t, { url }), await cachingApp(t, { url })]
}

t.test('cache.wrap produces a value once for all concurrent calls in all processes', async (t) => {
  const apps = await twoApps(t)
  const made = maker()

  const asked = Array.from({ length: 40 }, (_, index) => apps[index % 2]?.cache.wrap('rows', { a: 1 }, options, made.value))
  await until(() => made.runs > 0 && apps[0].cache.counts.wait + apps[1].cache.counts.wait > 0, { what: 'one process runs the function, and the other waits' })
  made.open()
  const values = await Promise.all(asked)

  t.equal(made.runs, 1)
  t.same(new Set(values.map((each) => each?.run)), new Set([1]))
})

t.test('cache.wrap returns a copy to each caller', async (t) => {
  const app = await cachingApp(t)
  const made = maker()
  const asked = Array.from({ length: 3 }, async () => {
    const value = await app.cache.wrap('rows', {}, options, made.value)
    value.list.push(value.list.length)
    return value
  })
  await until(() => made.runs > 0, { what: 'the function runs' })
  made.open()

  t.same((await Promise.all(asked)).map(({ list }) => list), [[0], [0], [0]])
})

t.test('cache.wrap runs the function for one caller after the other if it fails', async (t) => {
  const apps = await twoApps(t)
  const made = maker()
  made.failures = 3
  made.open()

  const asked = Array.from({ length: 20 }, (_, index) => apps[index % 2]?.cache.wrap('rows', 1, options, made.value))
  const settled = await Promise.allSettled(asked)

  t.equal(settled.filter(({ status }) => status === 'rejected').length, 3)
  t.equal(made.runs, 4)
  t.equal(made.most, 1)
})

t.test('cache.wrap does not store undefined, and does not delay the next caller', async (t) => {
  const [one, other] = await twoApps(t)
  let runs = 0
  const nothing = () => { runs += 1 }

  for (const app of [one, other, one]) t.equal(await app.cache.wrap('nothing', 1, options, nothing), undefined)
  t.equal(runs, 3)
  await until(async () => {
    const value = await one.cache.wrap('nothing', 1, options, () => 'something')
    await stored(one)
    return await other.cache.wrap('nothing', 1, options, () => 'else') === value
  }, { what: 'a value is stored' })
})

t.test('cache.wrap returns nothing older than a purge to callers after it, in any process', async (t) => {
  const [one, other] = await twoApps(t)
  const [before, after] = [maker(), maker()]
  await one.cache.wrap('warm', 1, options, () => 1)
  const early = one.cache.wrap('rows', 1, options, before.value)
  await until(() => before.runs > 0, { what: 'the function runs' })

  await other.cache.purge('all')
  after.open()
  const late = await Promise.all([one, other].map((app) => app.cache.wrap('rows', 1, options, after.value)))
  before.open()

  t.equal((await early).run, 1)
  t.equal(before.runs, 1)
  t.same(late.map(({ run }) => run), [1, 1])
  await stored(one)
  t.equal((await other.cache.wrap('rows', 1, options, after.value)).run, 1)
  t.equal(after.runs, 1)
})

t.test('cache.wrap takes over from a process that was killed', async (t) => {
  const app = await cachingApp(t)
  await app.cache.wrap('rows', 1, options, () => 1)
  await stored(app)
  const [key = ''] = await app.redis.keys('api:cache:wrap:*')
  await app.redis.del(key)
  await app.redis.set(`api:cache:lock:${key.slice(key.indexOf('{'))}`, '9000000000000000 gone', 'PX', 500)

  t.equal(await app.cache.wrap('rows', 1, options, () => 2), 2)
})

t.test('cache.wrap shares runs in the process during a Redis outage, and stores nothing', async (t) => {
  const rig = await startRig(t)
  const app = await cachingApp(t, { url: rig.url })
  await faults.down.inject(rig)
  await until(() => app.redisPool.state === 'degraded', { what: 'the outage is detected' })
  const made = maker()

  const asked = Array.from({ length: 10 }, () => app.cache.wrap('rows', 1, options, made.value))
  await until(() => made.runs > 0, { what: 'the function runs' })
  made.open()

  t.same((await Promise.all(asked)).map(({ run }) => run), Array(10).fill(1))
  t.equal((await app.cache.wrap('rows', 1, options, made.value)).run, 2)
})

t.test('cache.wrap distinguishes names and parameters, and rejects parameters that JSON cannot represent', async (t) => {
  const app = await cachingApp(t)
  const get = async (name: string, params: unknown) => {
    const value = await app.cache.wrap(name, params, options, () => `${name} ${JSON.stringify(params)}`)
    await stored(app)
    return value
  }

  const same = [{ a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }, { a: 1, b: { c: 2, d: 3 }, e: undefined }]
  const apart = ['', '{}', 0, 1, '1', null, 'null', undefined, 'undefined', [], {}, [[1], 2], [1, 2], '{a}:b', new Date(0), Buffer.from('x'), { __proto__: null, x: 1 }]
  t.same(await Promise.all(same.map((each) => get('rows', each))), Array(3).fill(await get('rows', same[0])))
  for (const [index, params] of apart.entries()) {
    for (const name of ['rows', '{rows}']) t.equal(await get(name, params), `${name} ${JSON.stringify(params)}`, `${name} ${index}`)
  }
  for (const params of [new Map([[1, 2]]), { ids: new Set([1]) }, [NaN], Infinity, 1n, Symbol('x'), { of: () => 1 }, new URLSearchParams('a=1'), /x/]) {
    await t.rejects(get('rows', params), { code: 'PRISM_ERR_OPTION' })
  }
})
