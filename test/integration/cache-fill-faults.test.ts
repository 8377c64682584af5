import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { faults, startRig } from '../support/faults.ts'
import type { Rig } from '../support/faults.ts'
import { until } from '../support/until.ts'

/** Two apps on one Redis, each with a route that calls the test at each step. */
interface Pair {
  rig: Rig
  apps: readonly [FastifyInstance, FastifyInstance]
  runs: number
  /** before the cache uses the lookup's reply, for the first request */
  guard: () => Promise<unknown>
  /** in the first handler run */
  work: () => Promise<unknown>
}

async function startPair (t: Test): Promise<Pair> {
  const rig = await startRig(t)
  const apps = [await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs }), await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs })] as const
  const pair: Pair = { rig, apps, runs: 0, guard: async () => {}, work: async () => {} }
  let isGuarded = false
  for (const app of apps) {
    const preHandler = async () => {
      if (isGuarded) return
      isGuarded = true
      await pair.guard()
    }
    app.get('/', { config: { cache: { tags: ['a'] } }, preHandler }, async () => {
      const run = ++pair.runs
      if (run === 1) await pair.work()
      return { run }
    })
  }
  return pair
}

async function expectResponses (t: Test, pair: Pair, replies: Promise<{ statusCode: number, body: string }>[]): Promise<void> {
  for (const { statusCode, body } of await Promise.all(replies)) t.match([statusCode, body], [200, /^{"run":\d+}$/])
  t.ok(pair.runs <= replies.length, `${pair.runs} runs for ${replies.length} requests`)
}

const chosen = ['blackHole', 'down', 'replyLost', 'hung', 'flushed', 'scriptsFlushed', 'kicked', 'readOnly'] as const

for (const name of chosen) {
  const fault = faults[name]
  t.test(`cache responds to every request if Redis fails during a fill: ${name}`, async (t) => {
    for (const step of ['with the lookup', 'after the lookup', 'while the handler runs', 'while others wait'] as const) {
      const pair = await startPair(t)
      const { rig, apps: [one, other] } = pair
      const isWaiting = () => one.cache.counts.wait > 0 && other.cache.counts.wait > 0
      if (step === 'after the lookup') pair.guard = () => fault.inject(rig)
      else if (step === 'with the lookup') await fault.inject(rig)
      else pair.work = () => step === 'while the handler runs' ? fault.inject(rig) : until(isWaiting, { what: 'the requests wait' }).then(() => fault.inject(rig))

      const first = one.inject('/')
      if (step.startsWith('while')) await until(() => pair.runs === 1, { what: 'the handler runs' })
      const others = [one, one, other, other].map((app) => app.inject('/'))
      t.comment(step)
      await expectResponses(t, pair, [first, ...others])

      await fault.heal(rig)
      await until(async () => /hit/.test(String((await other.inject('/')).headers['cache-status'])), { what: 'the cache hits again' })
    }
  })
}

for (const name of ['blackHole', 'down', 'hung'] as const) {
  t.test(`cache stops the wait for a fill in another process soon after Redis fails: ${name}`, async (t) => {
    let best = Infinity
    // The fastest run excludes the delay of a busy machine.
    for (let count = 0; count < 4 && best > 750; count++) {
      const pair = await startPair(t)
      const { apps: [one, other], rig } = pair
      const gate = Promise.withResolvers<void>()
      pair.work = () => gate.promise
      const first = one.inject('/')
      await until(() => pair.runs === 1, { what: 'the handler runs' })
      const waits = other.cache.counts.wait
      const waiting = other.inject('/')
      await until(() => other.cache.counts.wait > waits, { what: 'the other process waits' })

      await faults[name].inject(rig)
      const goneAt = performance.now()
      t.equal((await waiting).statusCode, 200)
      best = Math.min(best, performance.now() - goneAt)
      gate.resolve()
      t.equal((await first).statusCode, 200)
      await faults[name].heal(rig)
    }
    t.ok(best <= 750, `${Math.round(best)} ms`)
  })
}

t.test('cache sends Redis no further commands for a request for which Redis has failed, whether the lookup is known at once or later', async (t) => {
  const rig = await startRig(t)
  const app = await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs })
  const routes = { partition: { partition: () => 'one' }, tags: { tags: (request: { guarded?: boolean }) => request.guarded === true ? ['a'] : undefined } }
  const gate: { wait: Promise<void> | undefined } = { wait: undefined }
  let [runs, waiting] = [0, 0]
  for (const [name, options] of Object.entries(routes)) {
    const preHandler = async (request: object) => { Object.assign(request, { guarded: true }); waiting++; await gate.wait }
    app.get(`/${name}`, { config: { cache: options as never }, preHandler }, async () => ({ run: ++runs }))
  }
  for (const name of Object.keys(routes)) {
    await faults.blackHole.inject(rig)
    const guard = Promise.withResolvers<void>()
    gate.wait = guard.promise
    const atGuard = waiting + 3
    const replies = [1, 2, 3].map(() => app.inject(`/${name}`))
    await until(() => waiting === atGuard, { what: 'their guard hook runs' })
    // What was enqueued before the failure has failed too.
    await until(async () => await app.redisPool.batch.get('later').then(() => false, () => true), { what: 'Redis has failed' })
    const before = app.cache.counts.bypass
    const startedAt = runs
    const enqueued: unknown[] = []
    const { batch } = app.redisPool
    const { enqueueGet } = batch
    batch.enqueueGet = (...given) => { enqueued.push(given); return enqueueGet.apply(batch, given) }
    guard.resolve()
    for (const { statusCode, headers } of await Promise.all(replies)) {
      t.equal(statusCode, 200)
      t.match(headers['cache-status'], /redis|collapsed/)
    }
    batch.enqueueGet = enqueueGet
    t.same(enqueued, [], `${name}: Redis receives no command`)
    t.equal(runs - startedAt, 1, `${name}: they share one handler run`)
    t.ok(app.cache.counts.bypass > before)
    await faults.blackHole.heal(rig)
    gate.wait = undefined
    await until(async () => /hit/.test(String((await app.inject(`/${name}`)).headers['cache-status'])), { what: 'the cache hits again' })
  }
})

t.test('cache replaces a handler run that hangs, and every waiting request receives a response', async (t) => {
  const pair = await startPair(t)
  const { apps: [one, other] } = pair
  pair.work = () => new Promise(() => {})

  one.inject('/').catch(() => {}) // the handler never settles
  await until(() => pair.runs === 1, { what: 'the handler hangs' })
  const replies = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? one : other).inject('/')))

  t.same(new Set(replies.map(({ statusCode }) => statusCode)), new Set([200]))
  t.ok(pair.runs <= 3, `${pair.runs} runs: at most one per process`)
  await stored(other)
  t.match((await one.inject('/')).headers['cache-status'], /hit/)
})

t.test('cache sends Redis two writes before the handler and one after it for a purged key, and three for a key that another process fills', async (t) => {
  const pair = await startPair(t)
  const { apps: [one, other] } = pair
  await Promise.all(pair.apps.map((app) => until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })))
  const writesOf = (app: FastifyInstance) => app.redisPool.batch.counts.writes

  // In the first round a process may subscribe to notifications first; in a slow round the lock is extended.
  for (let round = 1, isSeen = false; !isSeen; round++) {
    const begunAt = performance.now()
    const gate = Promise.withResolvers<void>()
    pair.runs = 0
    pair.work = () => gate.promise
    const waits = other.cache.counts.wait
    await one.cache.purge('a')
    const [before, otherBefore] = [writesOf(one), writesOf(other)]

    const first = one.inject('/')
    await until(() => pair.runs === 1, { what: 'the handler runs' })
    const newWrites = writesOf(one) - before
    const waiting = other.inject('/')
    await until(() => other.cache.counts.wait > waits, { what: 'the other process waits' })
    gate.resolve()
    const [, { headers }] = await Promise.all([first, waiting])

    t.match(headers['cache-status'], /fwd=miss; .*collapsed/)
    if (round === 1 || (performance.now() - begunAt > 250 && round < 50)) continue
    isSeen = true
    t.equal(newWrites, 2, 'lookup and lock')
    t.equal(writesOf(one) - before, 3, 'lookup, lock and store')
    t.equal(writesOf(other) - otherBefore, 3, 'lookup, lock and second lookup')
  }
})

t.test('cache releases the concurrency slot of a run that starts after its response was sent', async (t) => {
  const app = await cachingApp(t)
  const held = Promise.withResolvers<void>()
  const replies: FastifyReply[] = []
  let runs = 0
  app.addHook('preHandler', async (_request, reply) => { replies.push(reply) })
  app.get('/:id', { config: { cache: { maxConcurrency: 1 } } }, async (_request, reply) => {
    runs += 1
    await held.promise
    reply.header('cache-control', 'no-store')
    return 'made'
  })
  const first = app.inject('/1')
  await until(() => runs === 1, { what: 'the handler runs' })
  const second = app.inject('/1')
  await until(() => replies.length === 2, { what: 'another request waits for the run' })

  replies[1]?.hijack().raw.end('the wait timed out')
  t.equal((await second).body, 'the wait timed out')
  held.resolve()
  t.equal((await first).body, 'made')
  await until(() => runs === 2, { what: 'the waiter runs the handler' })
  await stored(app)

  t.equal((await app.inject('/2')).statusCode, 200)
})

for (const isGoneBefore of [true, false]) {
  t.test(`cache ends the fill of a hijacked reply if its client disconnects ${isGoneBefore ? 'before' : 'after'} the hijack`, async (t) => {
    const app = await cachingApp(t)
    const gone = Promise.withResolvers<void>()
    const replies: FastifyReply[] = []
    app.get('/:id', { config: { cache: { maxConcurrency: 1 } } }, async (_request, reply) => {
      if (replies.push(reply) > 1) return 'made'
      if (isGoneBefore) await gone.promise
      reply.hijack()
      if (!isGoneBefore) await gone.promise
      reply.raw.end('the client is gone')
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const client = connect((app.server.address() as AddressInfo).port, '127.0.0.1', () => client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n'))
    await until(() => replies.length === 1, { what: 'the handler runs' })

    client.destroy()
    await until(() => replies[0]?.raw.closed, { what: 'the app has seen the disconnection' })
    gone.resolve()

    await until(async () => (await app.inject('/2')).statusCode === 200, { what: 'the slot is released' })
    await until(async () => (await app.redis.keys('api:cache:lock:*')).length === 0, { what: 'the lock is released' })
  })
}
