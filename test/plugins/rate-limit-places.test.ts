import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import { faults, startRig } from '../helpers/faults.ts'
import { buildLimitedApp } from '../helpers/limited-app.ts'
import { startRedisProcess } from '../helpers/redis-process.ts'
import { until } from '../helpers/until.ts'

/** A route whose requests are under way until they are let go. */
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

test('places lets so many requests of a partition be under way at once, over all processes', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, two] = [gate(3), gate(3)]
  const apps = [await buildLimitedApp(t, { url, limit: {}, routes: one.routes }), await buildLimitedApp(t, { url, limit: {}, routes: two.routes })] as const

  const first = Array.from({ length: 10 }, (_, index) => apps[index % 2 === 0 ? 0 : 1].inject('/'))
  const refused: number[] = []
  for (const each of first) each.then(({ statusCode }) => { if (statusCode === 429) refused.push(statusCode) })
  await until(() => refused.length === 7, { what: 'all but three are refused' })
  const other = apps[0].inject({ url: '/', remoteAddress: '192.0.2.9' })
  await until(() => one.waiting.length + two.waiting.length === 4, { what: 'another client has places of its own' })
  one.open()
  two.open()
  const statuses = (await Promise.all([...first, other])).map(({ statusCode }) => statusCode)

  t.equal(statuses.filter((status) => status === 200).length, 4)
  await until(async () => await apps[0].redisPool.zcard('ratelimit:{ip:127.0.0.1}:GET:/%23places-places') === 0, { what: 'the places are free again' })
})

test('places tells a refused request which places are full', async (t) => {
  const one = gate(1, { name: 'reports' })
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  const first = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'one is under way' })

  const second = await app.inject('/')
  one.open()

  t.equal(second.statusCode, 429)
  t.equal(second.headers['retry-after'], '1')
  t.same(second.json()['violated-policies'], ['reports'])
  t.equal((await first).statusCode, 200)
})

test('places is given back when a client goes away', async (t) => {
  const one = gate(1)
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))
  await until(() => one.waiting.length === 1, { what: 'one is under way' })

  socket.destroy()

  await until(async () => await app.redisPool.zcard('ratelimit:{ip:127.0.0.1}:GET:/%23places-places') === 0, { what: 'its place is free' })
  one.open()
})

test('places of a crashed process end by themselves', async (t) => {
  const one = gate(1)
  const app = await buildLimitedApp(t, { limit: {}, routes: one.routes })
  const key = 'ratelimit:{ip:127.0.0.1}:GET:/%23places-places'
  await app.redisPool.zadd(key, Date.now() - 1, 'crashed.1', Date.now() + 3_600_000, 'from-the-future.1')

  const reply = app.inject('/')
  await until(() => one.waiting.length === 1, { what: 'it is under way' })
  const lifeMs = await app.redisPool.pttl(key)
  one.open()

  t.equal((await reply).statusCode, 200)
  t.ok(lifeMs > 0 && lifeMs <= 30_000)
})

test('places counts in the process while Redis is gone', async (t) => {
  const rig = await startRig(t)
  const one = gate(2)
  const app = await buildLimitedApp(t, { url: rig.url, limit: {}, routes: one.routes })
  await faults.down.inject(rig)

  const all = Array.from({ length: 5 }, () => app.inject('/'))
  const refused = await Promise.any(all.map(async (each) => {
    const { statusCode } = await each
    if (statusCode !== 429) throw new Error('passed')
    return statusCode
  }))
  await until(() => one.waiting.length === 2, { what: 'two are under way' })
  one.open()
  const statuses = (await Promise.all(all)).map(({ statusCode }) => statusCode)

  t.equal(refused, 429)
  t.same(statuses.toSorted(), [200, 200, 429, 429, 429])
})
