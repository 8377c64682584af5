import { AsyncLocalStorage } from 'node:async_hooks'
import Fastify from 'fastify'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import type { RateLimitOptions, RouteRateLimit } from '../../plugins/rate-limit.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startCluster } from '../support/cluster.ts'
import { signIn } from '../support/signed-in-users.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

async function build (t: Test, choice: RouteRateLimit, url?: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: url ?? (await startRedisProcess(t)).url, commandTimeout }, session: { secrets: ['a secret of the tests, 32 or more'] }, cache: false, events: false, rateLimit: { quota: 1000 } })
  app.post('/sign-in/:name', { config: { rateLimit: false } }, async (request) => {
    await request.session.signIn((request.params as { name: string }).name)
    return {}
  })
  app.post('/sign-out', { config: { rateLimit: false } }, async (request) => await request.session.signOut())
  app.get('/', { config: { rateLimit: choice as Omit<typeof choice, 'onExceeded'> } }, async (request) => ({ user: request.session.userId ?? null, quota: request.rateLimit.at(-1), writes: app.redisPool.batch.counts.writes }))
  await app.ready()
  await reached(app)
  return app
}

const sendRequest = (app: FastifyInstance, cookie?: string, remoteAddress = '192.0.2.1') => app.inject({ url: '/', remoteAddress, ...(cookie === undefined ? {} : { headers: { cookie } }) })

async function statuses (count: number, send: () => Promise<LightMyRequestResponse>): Promise<number[]> {
  const all: number[] = []
  for (let index = 0; index < count; index++) all.push((await send()).statusCode)
  return all
}

test('rate-limit by user counts all devices and addresses of a user together, and anonymous clients by address', async (t) => {
  const app = await build(t, { quota: 3, by: 'user' })
  const [phone, laptop, other] = [await signIn(app, 'ann'), await signIn(app, 'ann'), await signIn(app, 'bob')]

  t.same(await statuses(2, () => sendRequest(app, phone)), [200, 200])
  t.same(await statuses(2, () => sendRequest(app, laptop, '192.0.2.2')), [200, 429])
  t.same(await statuses(4, () => sendRequest(app, other)), [200, 200, 200, 429])
  t.same(await statuses(4, () => sendRequest(app)), [200, 200, 200, 429])
})

test('rate-limit by session counts each device separately', async (t) => {
  const app = await build(t, { quota: 2, by: 'session' })
  const [phone, laptop] = [await signIn(app, 'ann'), await signIn(app, 'ann')]

  t.same(await statuses(3, () => sendRequest(app, phone)), [200, 200, 429])
  t.same(await statuses(3, () => sendRequest(app, laptop)), [200, 200, 429])
})

test('rate-limit never charges a user for a revoked, forged or foreign cookie', async (t) => {
  const app = await build(t, { quota: 3, by: 'user' })
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })
  const forged = `${own.slice(0, -4)}AAAA`

  const flood = await Promise.all(Array.from({ length: 60 }, (_, index) => sendRequest(app, index % 2 === 0 ? stolen : forged, '198.51.100.7')))

  t.equal(flood.filter(({ statusCode }) => statusCode === 200).length, 3, 'they share the quota of their address')
  t.same(await statuses(4, () => sendRequest(app, own)), [200, 200, 200, 429], 'the user has the full quota')
})

test('rate-limit applies the quota of signed-in users in the same round trip', async (t) => {
  const app = await build(t, { quota: { user: 4, anonymous: 2 }, by: 'user' })
  const cookie = await signIn(app, 'ann')
  await sendRequest(app, cookie)
  const { writes } = app.redisPool.batch.counts

  const reply = await sendRequest(app, cookie)

  t.equal(app.redisPool.batch.counts.writes - writes, 1)
  t.match(reply.headers['ratelimit-policy'], /"route";q=4;w=60/)
  t.match(reply.json(), { user: 'ann', quota: { name: 'route', quota: 4, remaining: 2 } })
  t.same(await statuses(3, () => sendRequest(app, cookie)), [200, 200, 429])
  const anonymous = await sendRequest(app)
  t.match(anonymous.headers['ratelimit-policy'], /"route";q=2;w=60/)
})

test('rate-limit by address gives a revoked or forged cookie only the anonymous quota', async (t) => {
  const app = await build(t, { quota: { user: 4, anonymous: 2 }, by: 'ip' })
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })
  const { writes } = app.redisPool.batch.counts

  const first = await sendRequest(app, own, '192.0.2.1')
  const newWrites = app.redisPool.batch.counts.writes - writes
  const dead = await sendRequest(app, stolen, '198.51.100.7')

  t.equal(newWrites, 1, 'one round trip')
  t.match(first.headers['ratelimit-policy'], /"route";q=4;w=60/)
  t.match(first.headers.ratelimit, /"route";r=3;/)
  t.match(dead.headers['ratelimit-policy'], /"route";q=2;w=60/)
  t.match(dead.headers.ratelimit, /"route";r=1;/)
  t.match(dead.json(), { user: null, quota: { name: 'route', quota: 2, remaining: 1 } })
  t.same(await statuses(2, () => sendRequest(app, stolen, '198.51.100.7')), [200, 429])
  t.same(await statuses(3, () => sendRequest(app, `${own.slice(0, -4)}AAAA`, '198.51.100.8')), [200, 200, 429])
  t.same(await statuses(4, () => sendRequest(app, own, '192.0.2.1')), [200, 200, 200, 429])
})

test('rate-limit counts a user in the slot of the session, and escapes a hostile name', async (t) => {
  const app = await build(t, { quota: 3, by: 'user' })

  for (const name of ['a:x', '}{', 'ip:192.0.2.1']) {
    const cookie = await signIn(app, name)
    t.same(await statuses(4, () => sendRequest(app, cookie)), [200, 200, 200, 429], name)
  }

  const keys = await app.redisPool.keys('ratelimit:*')
  t.ok(keys.includes('ratelimit:{a%3Ax}:GET:/'))
  t.ok(keys.includes('ratelimit:{%7D%7B}:GET:/'))
  t.ok(keys.includes('ratelimit:{ip%3A192.0.2.1}:GET:/'))
})

test('rate-limit evaluates a quota of session data once the session is loaded, in a second round trip', async (t) => {
  const app = await build(t, { by: 'user', quota: (request) => request.session.userId === 'ann' ? 3 : 1 })
  const cookie = await signIn(app, 'ann')
  await sendRequest(app, cookie)
  const { writes } = app.redisPool.batch.counts

  const reply = await sendRequest(app, cookie)

  t.equal(app.redisPool.batch.counts.writes - writes, 2)
  t.match(reply.headers.ratelimit, /^"default";r=\d+;t=\d+, "route";r=1;t=\d+$/)
  t.same(await statuses(2, () => sendRequest(app, cookie)), [200, 429])
  t.same(await statuses(2, () => sendRequest(app)), [200, 429])
})

test('rate-limit acquires a user\'s concurrency slot in the round trip that counts', async (t) => {
  const app = await build(t, { concurrency: 1, by: 'user' })
  const cookie = await signIn(app, 'ann')
  await sendRequest(app, cookie)
  await until(async () => await app.redisPool.exists('ratelimit:{ann}:GET:/%23concurrency') === 0, { what: 'the slot is free' })
  const { writes } = app.redisPool.batch.counts

  const reply = await sendRequest(app, cookie)

  t.equal(reply.json().writes - writes, 1)
  t.match(reply.headers.ratelimit, /"concurrency";r=0$/)
  await until(async () => await app.redisPool.exists('ratelimit:{ann}:GET:/%23concurrency') === 0, { what: 'the slot is free' })
})

test('rate-limit never gives a revoked cookie a concurrency slot of its user', async (t) => {
  const app = await build(t, { concurrency: 1, by: 'user' })
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })

  const [theft, ownReply] = await Promise.all([sendRequest(app, stolen), sendRequest(app, own)])

  t.same([theft.statusCode, ownReply.statusCode], [200, 200])
})

test('rate-limit counts addresses and users in a Cluster, each in its own slot', async (t) => {
  const { url } = await startCluster(t)
  const app = await build(t, { quota: 3, by: 'user' }, url)
  const [stolen, own] = [await signIn(app, 'ann'), await signIn(app, 'ann')]
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: stolen } })

  t.same(await statuses(4, () => sendRequest(app, stolen, '198.51.100.7')), [200, 200, 200, 429])
  t.same(await statuses(4, () => sendRequest(app, own)), [200, 200, 200, 429])
  t.same(await statuses(4, () => sendRequest(app)), [200, 200, 200, 429])
})

test('rate-limit calls the cost function once, in the async context of the request, also if its session has ended', async (t) => {
  const contexts = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  const cost = () => {
    seen.push(contexts.getStore())
    return 1
  }
  const app = await build(t, { quota: 3, by: 'user', cost })
  const ended = await signIn(app, 'ann')
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: ended } })

  const { statusCode } = await contexts.run('its own', async () => await sendRequest(app, ended))

  t.equal(statusCode, 200)
  t.same(seen, ['its own'])
})

test('rate-limit sends a second write only for requests whose function returns a promise', async (t) => {
  // A batch leaves at the end of a turn of the event loop.
  const later = async () => {
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
    return 'later'
  }
  const app = await build(t, { quota: 100, by: (request) => request.headers['x-later'] === undefined ? 'now' : later() })
  const cookie = await signIn(app, 'ann')
  await sendRequest(app, cookie)
  const writesOf = async (headers: Record<string, string>) => {
    const { writes } = app.redisPool.batch.counts
    await app.inject({ url: '/', headers: { cookie, ...headers } })
    return app.redisPool.batch.counts.writes - writes
  }

  t.equal(await writesOf({}), 1)
  t.equal(await writesOf({ 'x-later': 'yes' }), 2)
})

test('rate-limit counts users and sessions if sessions use a separate Redis', async (t) => {
  const [own, shared] = [await startRedisProcess(t), await startRedisProcess(t)]
  const session = { secrets: ['a secret of the tests, 32 or more'], redis: { url: own.url, prefix: 'other:' } }
  const start = async (rateLimit: RateLimitOptions) => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(prism, { redis: { url: shared.url, prefix: `${Math.random()}:` }, session, cache: false, events: false, rateLimit })
    app.post('/sign-in/:name', { config: { rateLimit: false } }, async (request) => await request.session.signIn((request.params as { name: string }).name))
    app.post('/sign-out', { config: { rateLimit: false } }, async (request) => await request.session.signOut())
    app.post('/note', { config: { rateLimit: false } }, async (request) => request.session.set('test-note' as never, 'one' as never))
    app.get('/', async (request) => ({ user: request.session.userId ?? null, quotas: request.rateLimit }))
    app.get('/off', { config: { session: false } }, async () => 'no session')
    app.get('/required', { config: { session: 'required' } }, async () => 'signed in')
    await app.ready()
    await reached(app)
    return app
  }
  const at = (app: FastifyInstance, url: string, cookie: string) => app.inject({ url, headers: { cookie }, remoteAddress: '192.0.2.1' })

  const byUser = await start({ quota: 2, by: 'user' })
  const [ann, other, bob] = [await signIn(byUser, 'ann'), await signIn(byUser, 'ann'), await signIn(byUser, 'bob')]
  t.same([(await sendRequest(byUser, ann)).statusCode, (await sendRequest(byUser, other, '192.0.2.9')).statusCode, (await sendRequest(byUser, ann)).statusCode], [200, 200, 429], 'a user on all devices')
  t.same(await statuses(3, () => at(byUser, '/off', bob)), [200, 200, 429], 'also on a route without sessions')
  await byUser.rateLimits.reset('user:bob')
  t.same(await statuses(3, () => at(byUser, '/required', bob)), [200, 200, 429], 'and after a reset')
  await byUser.inject({ method: 'POST', url: '/sign-out', headers: { cookie: other } })
  t.same(await statuses(3, () => at(byUser, '/required', other)), [401, 401, 429], 'an ended session is counted by address, and before it is refused')
  t.same(await statuses(1, () => sendRequest(byUser)), [429], 'requests without a session are counted by address too')

  const bySession = await start({ quota: 2, by: 'session' })
  const devices = [await signIn(bySession, 'ann'), await signIn(bySession, 'ann'), await cookieOf(bySession.inject({ method: 'POST', url: '/note' }))]
  for (const cookie of devices) t.same(await statuses(3, () => sendRequest(bySession, cookie)), [200, 200, 429], 'each session separately, also an anonymous one')

  const bySize = await start({ quota: { user: 3, anonymous: 1 } })
  const cookie = await signIn(bySize, 'ann')
  const first = await sendRequest(bySize, cookie)
  t.match(first.headers, { 'ratelimit-policy': /^"default";q=3;w=60$/, ratelimit: /^"default";r=2;/ })
  t.match(first.json(), { user: 'ann', quotas: [{ name: 'default', quota: 3, remaining: 2 }] })
  t.same(await statuses(3, () => sendRequest(bySize, cookie)), [200, 200, 429])
  t.same(await statuses(2, () => sendRequest(bySize, undefined, '192.0.2.5')), [200, 429])

  const places = await start({ quota: 100, by: 'user', concurrency: 1 })
  const [one, two] = [await signIn(places, 'ann'), await signIn(places, 'bob')]
  for (const each of [one, two, one]) t.equal(await until(async () => (await sendRequest(places, each)).statusCode === 200, { what: 'a slot' }), true, 'slots are released')

  const held = await start({ quota: 2, by: 'user' })
  const trusted = await signIn(held, 'ann')
  await own.kill()
  t.same(await statuses(3, () => sendRequest(held, trusted)), [200, 200, 429], 'while Redis of the sessions is down, a sealed cookie identifies the user')
})

test('rate-limit is rejected at start if it depends on sessions and none are registered', async (t) => {
  const { url } = await startRedisProcess(t)
  const choices: RateLimitOptions[] = [{ by: 'user' }, { by: 'session' }, { quota: { user: 3, anonymous: 1 } }, { by: 'user', quota: () => 3 }]
  for (const choice of choices) {
    for (const isOfRoute of [false, true]) {
      const app = Fastify()
      t.after(() => app.close())
      await app.register(prism, { redis: { url, commandTimeout }, session: false, cache: false, events: false, rateLimit: isOfRoute ? {} : choice })
      if (isOfRoute) app.get('/', { config: { rateLimit: { quota: 1, ...choice } as object } }, async () => 'open')
      await t.rejects(async () => await app.ready(), { code: 'PRISM_ERR_OPTION', message: /rateLimit.*where no sessions are registered/ })
    }
  }
})

async function cookieOf (response: Promise<LightMyRequestResponse>): Promise<string> {
  const { cookies: [cookie] } = await response
  return `${cookie?.name}=${cookie?.value}`
}
