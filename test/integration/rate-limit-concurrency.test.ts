import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { startCluster } from '../support/cluster.ts'
import { faults, startRig } from '../support/faults.ts'
import { buildLimitedApp } from '../support/limited-app.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

/** Prefix of the slots of one address at that route. */
const start = 'ratelimit:{ip:127.0.0.1}:GET:/%23'

/** A route whose requests are in progress until the gate opens. */
function gate (concurrency: number, choice: object = {}) {
  const waiting: (() => void)[] = []
  return {
    waiting,
    open: () => { waiting.splice(0).forEach((go) => go()) },
    routes: (app: FastifyInstance) => {
      app.get('/', { config: { rateLimit: { concurrency, ...choice } } }, async () => {
        await new Promise<void>((resolve) => { waiting.push(resolve) })
        return { fine: true }
      })
    }
  }
}

test('concurrency limits the requests of a partition in progress in all processes', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, two] = [gate(3), gate(3)]
  const apps = [await buildLimitedApp(t, { url, limit: {}, routes: one.routes }), await buildLimitedApp(t, { url, limit: {}, routes: two.routes })] as const

  const first = Array.from({ length: 10 }, (_, index) => apps[index % 2 === 0 ? 0 : 1].inject('/'))
  const refused: number[] = []
  for (const each of first) each.then(({ statusCode }) => { if (statusCode === 429) refused.push(statusCode) })
  await until(() => refused.length === 7, { what: 'all but three are rejected' })
  const other = apps[0].inject({ url: '/', remoteAddress: '192.0.2.9' })
  await until(() => one.waiting.length + two.waiting.length === 4, { what: 'another client has its own slots' })
  one.open()
  two.open()
  const statuses = (await Promise.all([...first, other])).map(({ statusCode }) => statusCode)

  t.equal(statuses.filter((status) => status === 200).length, 4)
  await until(async () => await apps[0].redisPool.zcard(`${start}concurrency`) === 0, { what: 'the slots are free again' })
})

test('concurrency names the violated policy in a rejection', async (t) => {
  const one = gate(1, { name: 'reports' })
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  const first = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'one request is in progress' })

  const second = await app.inject('/')
  one.open()

  t.equal(second.statusCode, 429)
  t.equal(second.headers['retry-after'], '1')
  t.same(second.json()['violated-policies'], ['reports'])
  t.equal((await first).statusCode, 200)
})

test('a slot is released when the client disconnects', async (t) => {
  const one = gate(1)
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))
  await until(() => one.waiting.length === 1, { what: 'one request is in progress' })

  socket.destroy()

  await until(async () => await app.redisPool.zcard(`${start}concurrency`) === 0, { what: 'its slot is free' })
  one.open()
})

test('slots of a crashed process expire', async (t) => {
  const one = gate(1)
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  const key = `${start}concurrency`
  await app.redisPool.zadd(key, Date.now() - 1, 'crashed.1', Date.now() + 3_600_000, 'from-the-future.1')

  const reply = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'the request is in progress' })
  const lifeMs = await app.redisPool.pttl(key)
  one.open()

  t.equal((await reply).statusCode, 200)
  t.ok(lifeMs > 0 && lifeMs <= 30_000)
})

test('concurrency is counted in the process during an outage', async (t) => {
  const rig = await startRig(t)
  const one = gate(2)
  const app = await buildLimitedApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, limit: {}, routes: one.routes })
  await faults.down.inject(rig)

  const all = Array.from({ length: 5 }, () => app.inject('/'))
  const refused = await Promise.any(all.map(async (each) => {
    const { statusCode } = await each
    if (statusCode !== 429) throw new Error('passed')
    return statusCode
  }))
  await until(() => one.waiting.length === 2, { what: 'two requests are in progress' })
  one.open()
  const statuses = (await Promise.all(all)).map(({ statusCode }) => statusCode)

  t.equal(refused, 429)
  t.same(statuses.toSorted(), [200, 200, 429, 429, 429])
})

test('slots and quotas of a request are one round trip, and a rejection by one consumes nothing of the other', async (t) => {
  const one = gate(1, { quota: 2 })
  const app = await buildLimitedApp(t, { limit: { quota: 10 }, routes: one.routes })
  const first = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'one request is in progress' })
  const { writes } = app.redisPool.batch.counts

  const full = await app.inject('/')
  const newWrites = app.redisPool.batch.counts.writes - writes
  one.open()
  await first
  await until(async () => await app.redisPool.exists(`${start}route-concurrency`) === 0, { what: 'its slot is free' })
  const second = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'the second request is in progress' })
  one.open()
  await second
  await until(async () => await app.redisPool.exists(`${start}route-concurrency`) === 0, { what: 'its slot is free' })
  const used = await app.inject('/')

  t.equal(newWrites, 1)
  t.equal(full.statusCode, 429)
  t.same(full.json()['violated-policies'], ['route-concurrency'])
  t.equal(full.headers['ratelimit-policy'], '"default";q=10;w=60, "route";q=2;w=60, "route-concurrency";q=1;qu="concurrent-requests"')
  t.match(full.headers.ratelimit, /^"default";r=9;t=\d+, "route";r=1;t=\d+, "route-concurrency";r=0$/, 'no quota was consumed')
  t.equal((await second).statusCode, 200)
  t.same(used.json()['violated-policies'], ['route'])
  t.match(used.headers.ratelimit, /^"default";r=8;t=\d+, "route";r=0;t=\d+, "route-concurrency";r=1$/)
  t.equal(await app.redisPool.exists(`${start}route-concurrency`), 0, 'a rejection by the quota holds no slot')
})

test('exactly 20 of 600 concurrent requests to three apps hold a slot, and only these consume the quota', async (t) => {
  const { url } = await startRedisProcess(t)
  const gates = [1, 2, 3].map(() => gate(20, { quota: 500 }))
  const apps = await Promise.all(gates.map(({ routes }) => buildLimitedApp(t, { url, limit: {}, routes })))
  let refused = 0

  const all = Array.from({ length: 600 }, async (_, index) => {
    const reply = await apps[index % 3]?.inject('/')
    if (reply?.statusCode === 429) refused += 1
    return reply
  })
  await until(() => refused === 580, { what: 'all but twenty are rejected' })
  const waiting = gates.reduce((sum, { waiting }) => sum + waiting.length, 0)
  const held = await apps[0]?.redisPool.zcard(`${start}route-concurrency`)
  for (const { open } of gates) open()
  const replies = await Promise.all(all)

  t.equal(waiting, 20)
  t.equal(held, 20)
  t.equal(replies.filter((reply) => reply?.statusCode === 200).length, 20)
  await until(async () => await apps[0]?.redisPool.exists(`${start}route-concurrency`) === 0, { what: 'all slots are free' })
  const next = apps[0]?.inject('/')
  await until(() => gates[0]?.waiting.length === 1, { what: 'another request is in progress' })
  gates[0]?.open()
  t.match((await next)?.headers.ratelimit, /"route";r=479;/)
})

test('slots of pipelined requests are released when their connection breaks, also of requests whose response waits for an earlier one', async (t) => {
  const one = gate(3)
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3)))
  await until(() => one.waiting.length === 3, { what: 'three requests are in progress' })

  socket.destroy()

  await until(async () => await app.redisPool.exists(`${start}concurrency`) === 0, { what: 'their slots are free' })
  one.open()
  t.pass('free')
})

for (const name of ['down', 'hung', 'replyLost'] as const) {
  test(`slots released during a Redis fault (${name}) reject no request afterwards`, async (t) => {
    const rig = await startRig(t)
    const one = gate(1)
    const app = await buildLimitedApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, limit: {}, routes: one.routes })
    const first = app.inject('/')
    await until(() => one.waiting.length === 1, { what: 'one request is in progress' })

    await faults[name].inject(rig)
    one.open()
    await first
    const during = app.inject('/')
    await until(() => one.waiting.length === 1, { what: 'another request is in progress without Redis' })
    one.open()
    await during
    await faults[name].heal(rig)
    await until(() => app.redisPool.state === 'ready', { what: 'Redis is reachable again' })

    await until(async () => await rig.control.exists(`${start}concurrency`) === 0, { what: 'no slot is held' })
    const after = app.inject('/')
    await until(() => one.waiting.length === 1, { what: 'the request is in progress' })
    one.open()
    t.equal((await after).statusCode, 200)
  })
}

test('a slot is released if one check of a request passes and another rejects, in a Cluster', async (t) => {
  const { url } = await startCluster(t)
  const one = gate(1, { quota: 1, by: () => 'another partition' })
  const app = await buildLimitedApp(t, { url, limit: { concurrency: 5 }, routes: one.routes })
  const first = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'one request is in progress' })

  const second = await app.inject('/')

  t.equal(second.statusCode, 429)
  await until(async () => await app.redisPool.zcard('ratelimit:{ip:127.0.0.1}:all%23default-concurrency') === 1, { what: 'the rejected request holds no slot' })
  one.open()
  t.equal((await first).statusCode, 200)
})

test('concurrency with dryRun only reports', async (t) => {
  const one = gate(1, { dryRun: true })
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })

  const all = [app.inject('/'), app.inject('/')]
  await until(() => one.waiting.length === 2, { what: 'both requests are in progress' })
  one.open()

  t.same((await Promise.all(all)).map(({ statusCode }) => statusCode), [200, 200])
})
