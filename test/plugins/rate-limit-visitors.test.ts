import { AsyncLocalStorage } from 'node:async_hooks'
import Fastify from 'fastify'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import type { RouteRateLimit } from '../../plugins/rate-limit.ts'
import { startCluster } from '../helpers/cluster.ts'
import { reached, unlessLate } from '../helpers/reached.ts'
import { startRedisProcess } from '../helpers/redis-process.ts'
import { until } from '../helpers/until.ts'

async function build (t: Test, choice: RouteRateLimit, url?: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: url ?? (await startRedisProcess(t)).url }, session: { secrets: ['a secret of the tests, 32 or more'] }, cache: false, events: false, rateLimit: { quota: 1000 } })
  app.post('/sign-in/:name', { config: { rateLimit: false } }, async (request) => {
    await request.session.signIn((request.params as { name: string }).name)
    return {}
  })
  app.post('/sign-out', { config: { rateLimit: false } }, async (request) => await request.session.signOut())
  app.get('/', { config: { rateLimit: choice } }, async (request) => ({ user: request.session.userId ?? null, standing: request.rateLimit.at(-1), writes: app.redisPool.batch.counts.writes }))
  await app.ready()
  await reached(app)
  return app
}

async function signIn (app: FastifyInstance, name: string): Promise<string> {
  const { cookies } = await unlessLate(() => app.inject({ method: 'POST', url: `/sign-in/${encodeURIComponent(name)}` }))
  return `${cookies[0]?.name}=${cookies[0]?.value}`
}

const visit = (app: FastifyInstance, cookie?: string, remoteAddress = '192.0.2.1') => app.inject({ url: '/', remoteAddress, ...(cookie === undefined ? {} : { headers: { cookie } }) })

async function statuses (count: number, send: () => Promise<LightMyRequestResponse>): Promise<number[]> {
  const all: number[] = []
  for (let index = 0; index < count; index++) all.push((await send()).statusCode)
  return all
}

test('rate-limit counts a user on all devices and addresses, and everybody else by address', async (t) => {
  const app = await build(t, { quota: 3, by: 'user' })
  const [phone, laptop, other] = [await signIn(app, 'ann'), await signIn(app, 'ann'), await signIn(app, 'bob')]

  t.same(await statuses(2, () => visit(app, phone)), [200, 200])
  t.same(await statuses(2, () => visit(app, laptop, '192.0.2.2')), [200, 429])
  t.same(await statuses(4, () => visit(app, other)), [200, 200, 200, 429])
  t.same(await statuses(4, () => visit(app)), [200, 200, 200, 429])
})

test('rate-limit counts each device by itself when told to count sessions', async (t) => {
  const app = await build(t, { quota: 2, by: 'session' })
  const [phone, laptop] = [await signIn(app, 'ann'), await signIn(app, 'ann')]

  t.same(await statuses(3, () => visit(app, phone)), [200, 200, 429])
  t.same(await statuses(3, () => visit(app, laptop)), [200, 200, 429])
})

test('rate-limit never charges a user for a revoked, forged or foreign cookie', async (t) => {
  const app = await build(t, { quota: 3, by: 'user' })
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })
  const forged = `${own.slice(0, -4)}AAAA`

  const flood = await Promise.all(Array.from({ length: 60 }, (_, index) => visit(app, index % 2 === 0 ? stolen : forged, '198.51.100.7')))

  t.equal(flood.filter(({ statusCode }) => statusCode === 200).length, 3, 'they have the quota of their address')
  t.same(await statuses(4, () => visit(app, own)), [200, 200, 200, 429], 'the user has all of hers')
})

test('rate-limit gives the signed-in another quota in the same round trip', async (t) => {
  const app = await build(t, { quota: { user: 4, anonymous: 2 }, by: 'user' })
  const cookie = await signIn(app, 'ann')
  await visit(app, cookie)
  const { writes } = app.redisPool.batch.counts

  const reply = await visit(app, cookie)

  t.equal(app.redisPool.batch.counts.writes - writes, 1)
  t.match(reply.headers['ratelimit-policy'], /"route";q=4;w=60/)
  t.match(reply.json(), { user: 'ann', standing: { name: 'route', quota: 4, remaining: 2 } })
  t.same(await statuses(3, () => visit(app, cookie)), [200, 200, 429])
  const anonymous = await visit(app)
  t.match(anonymous.headers['ratelimit-policy'], /"route";q=2;w=60/)
})

test('rate-limit gives a revoked or forged cookie no quota of a user, where addresses are counted', async (t) => {
  const app = await build(t, { quota: { user: 4, anonymous: 2 }, by: 'ip' })
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })
  const { writes } = app.redisPool.batch.counts

  const first = await visit(app, own, '192.0.2.1')
  const asked = app.redisPool.batch.counts.writes - writes
  const dead = await visit(app, stolen, '198.51.100.7')

  t.equal(asked, 1, 'one round trip')
  t.match(first.headers['ratelimit-policy'], /"route";q=4;w=60/)
  t.match(first.headers.ratelimit, /"route";r=3;/)
  t.match(dead.headers['ratelimit-policy'], /"route";q=2;w=60/)
  t.match(dead.headers.ratelimit, /"route";r=1;/)
  t.match(dead.json(), { user: null, standing: { name: 'route', quota: 2, remaining: 1 } })
  t.same(await statuses(2, () => visit(app, stolen, '198.51.100.7')), [200, 429])
  t.same(await statuses(3, () => visit(app, `${own.slice(0, -4)}AAAA`, '198.51.100.8')), [200, 200, 429])
  t.same(await statuses(4, () => visit(app, own, '192.0.2.1')), [200, 200, 200, 429])
})

test('rate-limit counts a user in the slot of the session, and keeps a hostile name in its place', async (t) => {
  const app = await build(t, { quota: 3, by: 'user' })

  for (const name of ['a:x', '}{', 'ip:192.0.2.1']) {
    const cookie = await signIn(app, name)
    t.same(await statuses(4, () => visit(app, cookie)), [200, 200, 200, 429], name)
  }

  const keys = await app.redisPool.keys('ratelimit:*')
  t.ok(keys.includes('ratelimit:{a%3Ax}:GET:/'))
  t.ok(keys.includes('ratelimit:{%7D%7B}:GET:/'))
  t.ok(keys.includes('ratelimit:{ip%3A192.0.2.1}:GET:/'))
})

test('rate-limit asks a quota of session data once the session is loaded, in a second round trip', async (t) => {
  const app = await build(t, { by: 'user', quota: (request) => request.session.userId === 'ann' ? 3 : 1 })
  const cookie = await signIn(app, 'ann')
  await visit(app, cookie)
  const { writes } = app.redisPool.batch.counts

  const reply = await visit(app, cookie)

  t.equal(app.redisPool.batch.counts.writes - writes, 2)
  t.match(reply.headers.ratelimit, /^"default";r=\d+;t=\d+, "route";r=1;t=\d+$/)
  t.same(await statuses(2, () => visit(app, cookie)), [200, 429])
  t.same(await statuses(2, () => visit(app)), [200, 429])
})

test('rate-limit takes a user\'s place in the round trip that counts', async (t) => {
  const app = await build(t, { concurrency: 1, by: 'user' })
  const cookie = await signIn(app, 'ann')
  await visit(app, cookie)
  await until(async () => await app.redisPool.exists('ratelimit:{ann}:GET:/%23places') === 0, { what: 'her place is free' })
  const { writes } = app.redisPool.batch.counts

  const reply = await visit(app, cookie)

  t.equal(reply.json().writes - writes, 1)
  t.match(reply.headers.ratelimit, /"places";r=0$/)
  await until(async () => await app.redisPool.exists('ratelimit:{ann}:GET:/%23places') === 0, { what: 'her place is free' })
})

test('rate-limit never gives a revoked cookie a place of its user', async (t) => {
  const app = await build(t, { concurrency: 1, by: 'user' })
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })

  const [theft, visitOfHers] = await Promise.all([visit(app, stolen), visit(app, own)])

  t.same([theft.statusCode, visitOfHers.statusCode], [200, 200])
})

test('rate-limit counts addresses and users in a Cluster, each in a slot of its own', async (t) => {
  const { url } = await startCluster(t)
  const app = await build(t, { quota: 3, by: 'user' }, url)
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })

  t.same(await statuses(4, () => visit(app, stolen, '198.51.100.7')), [200, 200, 200, 429])
  t.same(await statuses(4, () => visit(app, own)), [200, 200, 200, 429])
  t.same(await statuses(4, () => visit(app)), [200, 200, 200, 429])
})

test('rate-limit asks what a stranger costs in the async context of the request', async (t) => {
  const contexts = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  const cost = () => {
    seen.push(contexts.getStore())
    return 1
  }
  const app = await build(t, { quota: 3, by: 'user', cost })
  const ended = await signIn(app, 'ann')
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: ended } })

  const { statusCode } = await contexts.run('its own', async () => await visit(app, ended))

  t.equal(statusCode, 200)
  t.same(seen, ['its own', 'its own'])
})
