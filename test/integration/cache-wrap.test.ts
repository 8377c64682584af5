import { inspect } from 'node:util'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { faults } from '../support/faults.ts'
import { startRig } from '../support/proxied-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'
import { atRest, countWrites } from '../support/writes.ts'

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

  const calls = Array.from({ length: 40 }, (_, index) => apps[index % 2]?.cache.wrap('rows', { a: 1 }, options, made.value))
  await until(() => made.runs > 0 && apps[0].cache.counts.wait + apps[1].cache.counts.wait > 0, { what: 'one process runs the function, and the other waits' })
  made.open()
  const values = await Promise.all(calls)

  t.equal(made.runs, 1)
  t.same(new Set(values.map((each) => each?.run)), new Set([1]))
})

t.test('cache.wrap returns a copy to each caller', async (t) => {
  const app = await cachingApp(t)
  const made = maker()
  const calls = Array.from({ length: 3 }, async () => {
    const value = await app.cache.wrap('rows', {}, options, made.value)
    value.list.push(value.list.length)
    return value
  })
  await until(() => made.runs > 0, { what: 'the function runs' })
  made.open()

  t.same((await Promise.all(calls)).map(({ list }) => list), [[0], [0], [0]])
})

t.test('cache.wrap gives each caller a stored value of its own, whatever its name and parameters contain', async (t) => {
  const { url } = await startRedisProcess(t)
  const [app, other] = [await cachingApp(t, { url }), await cachingApp(t, { url })]
  const values = [{ list: [1], value: { value: 1 } }, [[], ',"value":'], {}, [], 'text,"value":', '', 0, -1.5, true, false, null]
  const params = ['a', ',"value":1', { value: ',"value":{}' }, '\\",\\"value\\":', '\u2028 "']

  for (const [index, value] of values.entries()) {
    const param = params[index % params.length]
    const tags = index % 2 === 0 ? [] : [',"value":', 'all']
    const call = (from: FastifyInstance) => from.cache.wrap<unknown>(`rows,"value":${index}`, param, { ttl: '5m', tags }, () => value)
    await call(other)
    await stored(other)
    const found = await Promise.all([call(app), call(app), call(app)])
    t.same(found, [value, value, value], JSON.stringify(value))
    const [one, two, three] = found
    if (typeof one === 'object' && one !== null) t.ok(one !== two && two !== three && one !== three, 'no two callers share an object')
  }
})

t.test('cache.wrap reads once for all callers of a turn, but not for callers with other tags', async (t) => {
  const { url, port } = await startRedisProcess(t)
  const app = await cachingApp(t, { url })
  const call = (tags: string[]) => app.cache.wrap('rows', 1, { ttl: '5m', tags }, () => ({ made: true }))
  await call(['a'])
  await stored(app)

  const count = countWrites(t, port)
  await atRest(count, app.redisPool.batch)
  await call(['a'])
  const bytesOfOne = count.bytes
  count.clear()
  const alike = await Promise.all([call(['a']), call(['a']), call(['a'])])
  t.same(alike, [{ made: true }, { made: true }, { made: true }])
  t.equal(count.bytes, bytesOfOne, 'three callers send what one sends')

  await app.cache.purge('b')
  let runs = 0
  const again = (tags: string[]) => app.cache.wrap('rows', 1, { ttl: '5m', tags }, () => ++runs)
  t.same(await Promise.all([again(['a']), again(['a', 'b'])]), [{ made: true }, 1], 'the purge of b concerns only the caller that names b')
})

t.test('cache.wrap fails all calls of a process with one failed run, and each other process makes one, at once', async (t) => {
  const apps = await twoApps(t)
  const made = maker()
  made.failures = 2

  const calls = Array.from({ length: 20 }, (_, index) => apps[index % 2]?.cache.wrap('rows', 1, options, made.value))
  await until(() => made.runs === 1 && apps[0].cache.counts.wait + apps[1].cache.counts.wait > 0, { what: 'one makes it, and the other process waits' })
  made.open()
  const reasons = (await Promise.allSettled(calls)).map((each) => each.status === 'rejected' ? each.reason as Error : undefined)

  t.equal(made.runs, 2)
  t.same(new Set(reasons.filter((_, index) => index % 2 === 0).map((error) => error?.message)).size, 1)
  t.same(new Set(reasons.map((error) => error?.message)), new Set(['run 1 failed', 'run 2 failed']))
  t.equal(new Set(reasons).size, 20, 'each has an error of its own')
  t.same((await apps[0].cache.wrap('rows', 1, options, made.value)).run, 3, 'no failure is stored')
})

t.test('after an aborted run, cache.wrap runs the functions of all waiting calls concurrently', async (t) => {
  const app = await cachingApp(t)
  const gate = Promise.withResolvers<void>()
  let [now, most] = [0, 0]
  const make = async () => {
    most = Math.max(most, ++now)
    await gate.promise
    await new Promise((resolve) => { setTimeout(resolve, 10) })
    now -= 1
    throw new DOMException('aborted', 'AbortError')
  }
  const calls = Array.from({ length: 10 }, () => app.cache.wrap('rows', 1, options, make))
  await until(() => now === 1, { what: 'one runs' })
  gate.resolve()

  t.ok((await Promise.allSettled(calls)).every(({ status }) => status === 'rejected'))
  t.equal(most, 9)
})

t.test('cache.wrap waits for a function that hangs no longer than lockTimeout, in any process', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await cachingApp(t, { url, lockTimeout: '400ms' }), await cachingApp(t, { url, lockTimeout: '400ms' })]
  await one.cache.wrap('warm', 1, options, () => 1)
  let runs = 0
  const make = async () => ++runs === 1 ? await new Promise<number>(() => {}) : runs
  one.cache.wrap('rows', 1, options, make).catch(() => {}) // never settles
  await until(() => runs === 1, { what: 'the function hangs' })
  const begunAt = performance.now()
  const values = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? one : other).cache.wrap('rows', 1, options, make)))

  t.ok(performance.now() - begunAt < 4000, 'not the default of 5 s')
  t.ok(runs <= 3, `${runs} runs: at most one in each process besides`)
  t.ok(values.every((value) => value > 1))
})

t.test('cache.wrap refuses a call within its own function', async (t) => {
  const app = await cachingApp(t)
  const wrap = async <Value>(params: unknown, make: () => Value | Promise<Value>) => await app.cache.wrap('tree', params, options, make)
  const refused = { code: 'PRISM_ERR_WRAP_RECURSION', message: /tree/ }

  await t.rejects(wrap(1, () => wrap(1, () => 'inner')), refused)
  await t.rejects(wrap(1, () => wrap(2, async () => { await new Promise(setImmediate); return await wrap(1, () => 'inner') })), refused, 'through another one, and after a wait')
  t.equal(await wrap(3, () => wrap(4, () => 'inner')), 'inner', 'with other parameters')
  t.equal(await wrap(5, () => wrap(6, () => 1).then((one) => wrap(6, () => 2).then((two) => one + two))), 2, 'one after the other')

  let late: Promise<number> | undefined
  const gate = Promise.withResolvers<void>()
  t.equal(await wrap(7, () => { late = gate.promise.then(() => wrap(7, () => 2)); return 1 }), 1)
  await app.cache.purge('all')
  gate.resolve()
  t.equal(await late, 2, 'from what a finished run has left behind')
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

  const calls = Array.from({ length: 10 }, () => app.cache.wrap('rows', 1, options, made.value))
  await until(() => made.runs > 0, { what: 'the function runs' })
  made.open()

  t.same((await Promise.all(calls)).map(({ run }) => run), Array(10).fill(1))
  t.equal((await app.cache.wrap('rows', 1, options, made.value)).run, 2)
})

t.test('cache.wrap distinguishes names and parameters, and rejects parameters that JSON cannot represent', async (t) => {
  const app = await cachingApp(t)
  const get = async (name: string, params: unknown) => {
    const value = await app.cache.wrap(name, params, options, () => `${name} ${inspect(params)}`)
    await stored(app)
    return value
  }

  const same = [{ a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }, { a: 1, b: { c: 2, d: 3 }, e: undefined }]
  const apart = ['', '{}', 0, 1, '1', null, 'null', undefined, 'undefined', [], {}, [undefined], [null], [0], [undefined, null], [[1], 2], [1, 2], '{a}:b', new Date(0), Buffer.from('x'), { __proto__: null, x: 1 }]
  t.same(await Promise.all(same.map((each) => get('rows', each))), Array(3).fill(await get('rows', same[0])))
  for (const [index, params] of apart.entries()) {
    for (const name of ['rows', '{rows}']) t.equal(await get(name, params), `${name} ${inspect(params)}`, `${name} ${index}`)
  }
  for (const params of [new Map([[1, 2]]), { ids: new Set([1]) }, [NaN], Infinity, 1n, Symbol('x'), { of: () => 1 }, new URLSearchParams('a=1'), /x/]) {
    await t.rejects(get('rows', params), { code: 'PRISM_ERR_OPTION' })
  }
})

t.test('cache.wrap without its function is rejected, also where the value is stored', async (t) => {
  const app = await cachingApp(t)
  await app.cache.wrap('value', 1, options, () => 1)
  await stored(app)

  await t.rejects((app.cache.wrap as (...args: unknown[]) => Promise<unknown>).call(app.cache, 'value', 1, options), { code: 'PRISM_ERR_OPTION', message: /wrap function/ })
})
