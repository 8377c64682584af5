import type { RouteRateLimit } from '../../plugins/rate-limit.ts'
import fastifyRateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { test } from 'tap'
import prism from '../../plugins/index.ts'
import { rateLimitStore } from '../../plugins/rate-limit.ts'
import { commandTimeout } from '../support/deadline.ts'
import { stored } from '../support/caching.ts'
import { buildLimitedApp } from '../support/limited-app.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'

const handler = async () => ({ fine: true })

async function statuses (app: FastifyInstance, ...urls: string[]): Promise<number[]> {
  const all: number[] = []
  for (const url of urls) all.push((await app.inject(url)).statusCode)
  return all
}

test('rate-limit applies the cost of the route, or of the stack', async (t) => {
  const app = await buildLimitedApp(t, {
    limit: { quota: 10 },
    routes: (app) => {
      app.get('/own', { config: { rateLimit: { quota: 5, cost: 2 } } }, handler)
      app.get('/dear', { config: { rateLimit: { cost: 4 } } }, handler)
      app.get('/free', { config: { rateLimit: { cost: 0 } } }, handler)
      app.get('/sized', { config: { rateLimit: { quota: 100, cost: (request) => Number((request.query as { size: string }).size) } } }, handler)
    }
  })

  t.same(await statuses(app, '/own', '/own', '/own'), [200, 200, 429], 'own quota')
  t.same(await statuses(app, '/dear', '/dear', '/dear'), [200, 200, 429], "the stack's quota")
  t.same(await statuses(app, '/free', '/free'), [200, 200])
})

test('rate-limit reports its unit if it is not requests', async (t) => {
  const size = (request: FastifyRequest) => Number(request.headers['content-length'] ?? 0)
  const app = await buildLimitedApp(t, { limit: { quota: 10 }, routes: (app) => { app.post('/', { config: { rateLimit: { quota: 1000, unit: 'content-bytes', cost: size } } }, handler) } })
  const post = async (bytes: number) => await app.inject({ method: 'POST', url: '/', payload: 'x'.repeat(bytes), headers: { 'content-type': 'text/plain' } })

  const [first, second, third] = [await post(600), await post(600), await post(400)]

  t.same([first.statusCode, second.statusCode, third.statusCode], [200, 429, 200])
  t.equal(first.headers['ratelimit-policy'], '"default";q=10;w=60, "route";q=1000;qu="content-bytes";w=60')
  t.match(first.headers.ratelimit, /"route";r=400;/)
})

test('rate-limit with concurrency and no quota accepts only the options of concurrency, and applies the cost to the stack\'s quota', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 10 }, routes: (app) => { app.get('/', { config: { rateLimit: { concurrency: 3, cost: 4, name: 'reports' } } }, handler) } })

  const reply = await app.inject('/')

  t.equal(reply.headers['ratelimit-policy'], '"default";q=10;w=60, "reports";q=3;qu="concurrent-requests"')
  t.match(reply.headers.ratelimit, /^"default";r=6;t=\d+, "reports";r=2$/)
  for (const wrong of [{ concurrency: 3, window: '1s' }, { concurrency: 0 }, { quota: 5, concurrency: 1.5 }, { quota: 5, unit: 'bytes' }]) {
    await t.rejects(buildLimitedApp(t, { limit: {}, routes: (app) => { app.get('/', { config: { rateLimit: wrong as never } }, handler) } }), { code: 'PRISM_ERR_OPTION' })
  }
})

test('rate-limit reports an invalid result of a cost function as an option error', async (t) => {
  const app = await buildLimitedApp(t, { limit: { cost: () => NaN } })

  const reply = await app.inject('/')

  t.equal(reply.statusCode, 500)
  t.equal(reply.json().code, 'PRISM_ERR_OPTION')
})

test('rate-limit counts routes of a group together, and rejects a group with different options', async (t) => {
  const config = { rateLimit: { quota: 2, group: 'writes' } }
  const app = await buildLimitedApp(t, { limit: {}, routes: (app) => { app.get('/a', { config }, handler).get('/b', { config }, handler) } })

  t.same(await statuses(app, '/a', '/b', '/a'), [200, 200, 429])
  await t.rejects(buildLimitedApp(t, { limit: {}, routes: (app) => { app.get('/a', { config }, handler).get('/b', { config: { rateLimit: { quota: 3, group: 'writes' } } }, handler) } }), { code: 'PRISM_ERR_OPTION' })
})

test('rate-limit applies several policies of a route', async (t) => {
  const app = await buildLimitedApp(t, {
    limit: { quota: 100 },
    routes: (app) => { app.get('/', { config: { rateLimit: [{ name: 'burst', quota: 2, window: '10m' }, { name: 'daily', quota: 3, window: '1d', algorithm: 'fixed' }] } }, handler) }
  })

  const first = await app.inject('/')
  const rest = await statuses(app, '/', '/')

  t.match(first.headers['ratelimit-policy'], '"default";q=100;w=60, "burst";q=2;w=600, "daily";q=3;w=86400')
  t.match(first.headers.ratelimit, /^"default";r=99;t=\d+, "burst";r=1;t=\d+, "daily";r=2;t=\d+$/)
  t.same(rest, [200, 429])
})

test('rate-limit with dryRun reports and rejects nothing', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 100 }, routes: (app) => { app.get('/', { config: { rateLimit: { quota: 2, dryRun: true, name: 'trial' } } }, async (request) => request.rateLimit) } })

  const replies = [await app.inject('/'), await app.inject('/'), await app.inject('/')]

  t.same(replies.map(({ statusCode }) => statusCode), [200, 200, 200])
  t.match(replies[2]?.json(), [{ name: 'default', remaining: 97, retryMs: 0 }, { name: 'trial', remaining: 0, retryMs: Number }])
})

/** As in apps without @fastify/rate-limit: that package gives the same name another type. */
type OnExceeded = NonNullable<RouteRateLimit['onExceeded']>

test('onExceeded replies itself, or throws the error to the app\'s error handler', async (t) => {
  const app = await buildLimitedApp(t, {
    limit: {},
    routes: (app) => {
      app.setErrorHandler((error: Error & { statusCode: number }, _request, reply) => reply.code(error.statusCode).send({ mine: error.message }))
      app.get('/own', { config: { rateLimit: { quota: 1, onExceeded: (() => ({ slow: 'down' })) as OnExceeded } as object } }, handler)
      app.get('/app', { config: { rateLimit: { quota: 1, onExceeded: ((_request, _reply, error) => { throw error }) as OnExceeded } as object } }, handler)
      app.get('/sent', { config: { rateLimit: { quota: 1, onExceeded: ((_request, reply) => reply.redirect('/wait', 302)) as OnExceeded } as object } }, handler)
    }
  })
  await statuses(app, '/own', '/app', '/sent')

  const [own, ofApp, sent] = [await app.inject('/own'), await app.inject('/app'), await app.inject('/sent')]

  t.same([own.statusCode, own.json()], [429, { slow: 'down' }])
  t.match([ofApp.statusCode, ofApp.json()], [429, { mine: /^Quota route exceeded/ }])
  t.same([sent.statusCode, sent.headers.location], [302, '/wait'])
})

test('rate-limit sends legacy fields and a jittered Retry-After if configured', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 2, window: '100s', legacyHeaders: true, jitter: 1 } })
  const first = await app.inject('/')
  await app.inject('/')

  const waits = new Set<number>()
  for (let index = 0; index < 20; index++) waits.add(Number((await app.inject('/')).headers['retry-after']))

  t.match(first.headers, { 'x-ratelimit-limit': '2', 'x-ratelimit-remaining': '1', 'x-ratelimit-reset': /^10[01]$/ })
  t.ok(waits.size > 3)
  t.ok([...waits].every((wait) => wait >= 85 && wait <= 202))
})

test('fastify.rateLimits checks, peeks and resets outside requests', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 2 } })
  const mails = { name: 'mails', quota: 3, window: '1h' } as const

  const checks = [await app.rateLimits.check('user:42', mails), await app.rateLimits.check('user:42', { ...mails, cost: 2 }), await app.rateLimits.check('user:42', mails)]
  const peeked = await app.rateLimits.peek('user:42', mails)
  await app.rateLimits.reset('user:42')
  const after = await app.rateLimits.peek('user:42', mails)

  t.match(checks, [{ isAllowed: true, remaining: 2, retryMs: 0 }, { isAllowed: true, remaining: 0 }, { isAllowed: false, remaining: 0 }])
  t.match(peeked, { isAllowed: false, remaining: 0 })
  t.match(after, { isAllowed: true, remaining: 3, retryMs: 0 })
  await t.rejects(app.rateLimits.check('ip:nowhere', mails), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(app.rateLimits.check('x', { ...mails, name: 'a b' }), { code: 'PRISM_ERR_OPTION' })
  await t.rejects(app.rateLimits.peek('x', { ...mails, ttl: '5m' } as typeof mails), { code: 'PRISM_ERR_OPTION', message: /rateLimit\.ttl/ })
  await t.rejects(app.rateLimits.check('x', { name: 'mails', max: 5 } as unknown as typeof mails), { message: /@fastify\/rate-limit.*quota/ })
})

test('a reset unblocks a blocked address at once', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 2 } })
  t.same(await statuses(app, '/', '/', '/', '/'), [200, 200, 429, 429])

  await app.rateLimits.reset('ip:127.0.0.1')

  t.same(await statuses(app, '/', '/', '/'), [200, 200, 429])
})

test('rate-limit counts cached hits, and its fields are not stored', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: (await startRedisProcess(t)).url, commandTimeout }, session: false, events: false, rateLimit: { quota: 4 } })
  await reached(app)
  app.get('/', { config: { cache: { ttl: '1m' } } }, handler)

  const replies = []
  for (let index = 0; index < 5; index++) {
    replies.push(await app.inject('/'))
    await stored(app)
  }

  t.same(replies.map(({ statusCode }) => statusCode), [200, 200, 200, 200, 429])
  t.match(replies[3]?.headers['cache-status'], /hit/)
  t.same(replies.slice(0, 4).map(({ headers }) => /;r=(\d)/.exec(String(headers.ratelimit))?.[1]), ['3', '2', '1', '0'])
  t.notMatch(replies[4]?.headers['cache-status'], /hit/)
  await app.rateLimits.reset('ip:127.0.0.1')
  const again = await app.inject('/')
  t.equal(again.statusCode, 200, 'no rejection is stored')
  t.match(again.headers['cache-status'], /hit/)
  t.match(again.headers.ratelimit, /;r=3;/)
})

test('rateLimitStore counts for @fastify/rate-limit', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url, commandTimeout }, session: false, cache: false, events: false, rateLimit: false })
  await reached(app)
  await app.register(async (scope) => {
    await scope.register(fastifyRateLimit, { store: rateLimitStore(app.redisPool), max: 3, timeWindow: '1m' })
    scope.get('/', handler)
    scope.get('/own', { config: { rateLimit: { max: 1 } } as object }, handler)
  })

  const all = await Promise.all(Array.from({ length: 10 }, () => app.inject('/')))

  t.equal(all.filter(({ statusCode }) => statusCode === 200).length, 3)
  t.equal(all.filter(({ statusCode }) => statusCode === 429).length, 7)
  t.match(all.find(({ statusCode }) => statusCode === 429)?.headers['retry-after'], /^(5\d|60|61)$/)
  t.same(await statuses(app, '/own', '/own'), [200, 429])
  t.same((await app.redisPool.keys('ratelimit:*')).sort(), ['ratelimit:{foreign:127.0.0.1}:GET:/own', 'ratelimit:{foreign:127.0.0.1}:foreign'])
})
