import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import prism from '../../plugins/index.ts'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { startCluster } from '../support/cluster.ts'
import { faults, startRig } from '../support/faults.ts'
import type { Rig } from '../support/faults.ts'
import { buildLimitedApp } from '../support/limited-app.ts'
import { until } from '../support/until.ts'

const key = 'ratelimit:{ip:127.0.0.1}:all'

/** Remaining quota according to Redis. */
async function remaining (app: FastifyInstance): Promise<number> {
  const reply = await app.inject('/')
  return Number(/;r=(\d+)/.exec(String(reply.headers.ratelimit))?.[1])
}

async function send (app: FastifyInstance, count: number): Promise<number[]> {
  const replies = await Promise.all(Array.from({ length: count }, () => app.inject('/')))
  return replies.map(({ statusCode }) => statusCode)
}

/** Waits until Redis counts again, and checks that every counter expires. */
async function recovered (app: FastifyInstance, { control }: Rig): Promise<void> {
  await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable again' })
  await until(async () => {
    await app.inject('/')
    return await control.exists(key) === 1
  }, { what: 'requests are counted in Redis again' })
}

for (const [name, fault] of Object.entries(faults)) {
  test(`rate-limit serves requests during a Redis fault (${name}: ${fault.does}), and rejects none for it afterwards`, async (t) => {
    const rig = await startRig(t)
    const app = await buildLimitedApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, limit: { quota: 1000 } })
    await send(app, 10)

    await fault.inject(rig)
    const during = [...await send(app, 20), ...await send(app, 20), ...await send(app, 20)]
    await fault.heal(rig)
    await recovered(app, rig)
    const after = await send(app, 20)

    t.ok([...during, ...after].every((status) => status === 200))
    const keys = await rig.control.keys('ratelimit:*')
    for (const each of keys) t.ok(await rig.control.pttl(each) > 0, 'the key expires')
    t.ok(await remaining(app) >= 800, 'the outage consumed little')
  })
}

test('a request for which Redis has failed does not wait for Redis again in a limit that needs the session', async (t) => {
  const rig = await startRig(t)
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: rig.url }, session: { secrets: ['a secret of the tests: 32 or more'] }, cache: false, events: false, rateLimit: { quota: 1000 } })
  app.post('/sign-in', async (request) => { await request.session.signIn('ada') })
  app.get('/', { config: { rateLimit: { quota: () => 1 } } }, async () => 'done')
  await app.ready()
  await until(() => app.redisPool.state === 'ready', { what: 'Redis is reached' })
  const { headers } = await app.inject({ method: 'POST', url: '/sign-in' })
  const sendRequest = async () => await app.inject({ url: '/', headers: { cookie: String(headers['set-cookie']).split(';')[0] ?? '' } })

  await faults.hung.inject(rig)
  const before = app.redisPool.batch.counts.writes
  const first = await sendRequest()

  t.equal(first.statusCode, 200)
  t.equal(app.redisPool.batch.counts.writes - before, 1)
  t.equal((await sendRequest()).statusCode, 429, 'the process counts locally')
  await faults.hung.heal(rig)
})

test('rate-limit does not count requests that a hung Redis reads after their timeout', async (t) => {
  const rig = await startRig(t)
  const app = await buildLimitedApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, limit: { quota: 100 } })
  await send(app, 1)

  await faults.hung.inject(rig)
  const hungAt = performance.now()
  const during = await send(app, 30)
  await until(() => performance.now() - hungAt > 3000, { what: 'all requests have timed out' })
  await faults.hung.heal(rig)
  await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable again' })

  t.ok(during.every((status) => status === 200))
  t.equal(await remaining(app), 98)
})

test('rate-limit counts at most once a script that ran although its reply was lost', async (t) => {
  const rig = await startRig(t)
  const app = await buildLimitedApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, limit: { quota: 100 } })
  await send(app, 1)

  await rig.proxy.fault('replyLost')
  await send(app, 5)
  await rig.proxy.heal()
  await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable again' })

  t.ok(await remaining(app) >= 93)
})

test('rate-limit continues to count after Redis has lost its scripts', async (t) => {
  const rig = await startRig(t)
  const app = await buildLimitedApp(t, { url: rig.url, limit: { quota: 100 } })
  await send(app, 5)

  await rig.control.script('FLUSH')
  await send(app, 5)

  t.equal(await remaining(app), 89)
})

test('rate-limit replaces a counter of another type or format', async (t) => {
  const rig = await startRig(t)
  const app = await buildLimitedApp(t, { url: rig.url, limit: { quota: 100 } })

  for (const spoil of [
    () => rig.control.hset(key, 'a', 'b'),
    () => rig.control.set(key, 's'),
    () => rig.control.set(key, 's is no count'),
    () => rig.control.set(key, 'x'.repeat(1000)),
    () => rig.control.set(key, '')
  ]) {
    await rig.control.del(key)
    await spoil()
    t.equal(await remaining(app), 99)
    t.ok(await rig.control.pttl(key) > 0)
  }
})

test('rate-limit restores a counter\'s missing expiry, when it allows and when it rejects', async (t) => {
  const rig = await startRig(t)
  const apps = [await buildLimitedApp(t, { url: rig.url, limit: { quota: 3 } }), await buildLimitedApp(t, { url: rig.url, limit: { quota: 3 } })] as const

  await send(apps[0], 1)
  await rig.control.persist(key)
  const persistedAt = Date.now()
  await until(() => Date.now() > persistedAt, { what: 'the next bucket, of a millisecond: within one the counter is changed in place', everyMs: 1 })
  await send(apps[0], 1)
  const afterAllowed = await rig.control.pttl(key)
  await send(apps[0], 2)
  await rig.control.persist(key)
  const statuses = await send(apps[1], 1)
  const afterRefused = await rig.control.pttl(key)

  t.ok(afterAllowed > 0)
  t.same(statuses, [429])
  t.ok(afterRefused > 0)
})

test('rate-limit sends Redis at most one command for 1,000 requests of a blocked client', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 10 } })
  await send(app, 10)
  const { commands } = app.redisPool.batch.counts

  const statuses: number[] = []
  for (let round = 0; round < 10; round++) statuses.push(...await send(app, 100))

  t.ok(statuses.every((status) => status === 429))
  t.ok(app.redisPool.batch.counts.commands - commands <= 1)
})

test('rate-limit allows a blocked client again when its quota refills, and not before', async (t) => {
  const windowMs = 5000
  const app = await buildLimitedApp(t, { limit: { quota: 2, window: `${windowMs}ms` } })
  const begunAt = performance.now()
  await send(app, 2)

  const refused = await app.inject('/')
  await until(async () => (await app.inject('/')).statusCode === 200, { what: 'the quota has refilled', everyMs: 1 })

  t.equal(refused.statusCode, 429)
  t.ok(performance.now() - begunAt > windowMs - 100, 'the clocks of Redis and this process may differ a little')
})

test('rate-limit continues its local count over several outages: no recovery allows a second quota', async (t) => {
  const rig = await startRig(t)
  const app = await buildLimitedApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, limit: { quota: 20, window: '10m' } })
  const passed: number[] = []

  for (let outage = 0; outage < 3; outage++) {
    await rig.proxy.fault('down')
    await until(async () => await app.redisPool.get(key).then(() => false, () => app.redisPool.isCircuitOpen), { what: 'the outage is detected' })
    passed.push((await send(app, 30)).filter((status) => status === 200).length)
    await rig.proxy.heal()
    await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable again' })
    t.equal((await send(app, 1))[0], 200, 'Redis counts again, with its own counter')
  }

  t.same(passed, [20, 0, 0])
})

test('rate-limit continues its local count while one Cluster master is down, also when another master restarts', { timeout: 300_000 }, async (t) => {
  const cluster = await startCluster(t, { args: ['--cluster-require-full-coverage', 'no'] })
  const app = await buildLimitedApp(t, { url: cluster.url, limit: { quota: 20, window: '10m' } })
  await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
  await until(() => app.redisPool.server?.isComplete, { what: 'the run_id of all masters is known' })
  const dead = await cluster.ownerOf(await cluster.slotOf(key))
  const [other] = cluster.masters.filter((node) => node !== dead)
  let servers = 0
  app.redisPool.on('server', () => { servers += 1 })

  await dead.server.kill()
  await until(async () => await app.redisPool.get(key).then(() => false, () => app.redisPool.isCircuitOpen), { what: 'the outage is detected' })
  const first = await send(app, 30)
  await other?.server.restart()
  await until(() => servers > 0, { what: 'the restart of the other master is detected' })
  const second = await send(app, 30)

  t.equal([...first, ...second].filter((status) => status === 200).length, 20)
})
