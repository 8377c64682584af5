import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import rateLimit from '../../plugins/rate-limit.ts'
import type { RateLimitOptions } from '../../plugins/rate-limit.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'

/** An app without the plugins of the service. */
async function app (t: Test, options: RateLimitOptions, routes: (app: FastifyInstance) => void = () => {}, url?: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(redis, { url: url ?? (await startRedisProcess(t)).url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(rateLimit, options)
  routes(app)
  await app.ready()
  await reached(app)
  return app
}

const handler = async () => ({ fine: true })

test('rate-limit sends the quota, the remainder and the time of the reset', async (t) => {
  const limited = await app(t, { quota: 3 }, (app) => app.get('/', handler))

  const reply = await limited.inject('/')

  t.equal(reply.statusCode, 200)
  t.equal(reply.headers['ratelimit-policy'], '"default";q=3;w=60')
  t.equal(reply.headers.ratelimit, '"default";r=2;t=60', 'no longer than the window')
})

test('rate-limit sends Retry-After with each rejection, also from the deny cache and with another policy that allows', async (t) => {
  const limited = await app(t, { quota: 100 }, (app) => app.get('/', { config: { rateLimit: { quota: 1 } } }, handler))
  await limited.inject('/')

  for (const by of ['Redis', 'memory', 'memory']) {
    const reply = await limited.inject('/')

    t.equal(reply.statusCode, 429, by)
    t.match(reply.headers['retry-after'], /^\d+$/, by)
    t.match(reply.json().detail, /in \d+ seconds/, by)
  }
})

test('rate-limit rejects with a problem document, also in an app with its own error handler', async (t) => {
  const limited = await app(t, { quota: 1 }, (app) => {
    app.setErrorHandler((_error, _request, reply) => reply.code(418).send('mine'))
    app.get('/', handler)
  })
  await limited.inject('/')

  const reply = await limited.inject('/')

  t.equal(reply.statusCode, 429)
  t.equal(reply.headers['content-type'], 'application/problem+json')
  t.equal(reply.headers['cache-control'], 'no-store')
  t.match(reply.headers['retry-after'], /^(5\d|60|61)$/)
  t.match(reply.json(), {
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
    status: 429,
    code: 'PRISM_ERR_QUOTA_EXCEEDED',
    'violated-policies': ['default']
  })
})

test('rate-limit counts HEAD as GET, and counts unknown paths', async (t) => {
  const limited = await app(t, { quota: 10 }, (app) => app.get('/cities/:id', { config: { rateLimit: { quota: 2 } } }, handler))

  const statuses = [
    await limited.inject('/cities/1'),
    await limited.inject({ method: 'HEAD', url: '/cities/2' }),
    await limited.inject('/cities/3'),
    await limited.inject('/nowhere')
  ].map(({ statusCode }) => statusCode)
  const last = await limited.inject('/nowhere/else')

  t.same(statuses, [200, 200, 429, 404])
  t.match(last.headers.ratelimit, /^"default";r=6;/, 'the rejected request consumed nothing of the quota of the stack')
})

test('a route inherits rate-limit options from its scopes, and can opt out', async (t) => {
  const limited = await app(t, { quota: 100 }, (app) => {
    app.register(async (scope) => {
      scope.routeDefaults({ rateLimit: { quota: 30, window: '10s' } })
      scope.get('/inherits', handler)
      scope.get('/changes', { config: { rateLimit: { quota: 5 } } }, handler)
      scope.get('/free', { config: { rateLimit: false } }, handler)
    })
  })

  const fields = await Promise.all(['/inherits', '/changes', '/free'].map(async (url) => (await limited.inject(url)).headers['ratelimit-policy']))

  t.same(fields, ['"default";q=100;w=60, "route";q=30;w=10', '"default";q=100;w=60, "route";q=5;w=10', undefined])
})

test('exactly the quota is allowed of 600 concurrent requests to two apps', async (t) => {
  const { url } = await startRedisProcess(t)
  const routes = (app: FastifyInstance) => { app.get('/', handler) }
  const apps = [await app(t, { quota: 100 }, routes, url), await app(t, { quota: 100 }, routes, url)]

  const timeouts = () => apps.reduce((sum, { redisPool }) => sum + redisPool.batch.counts.timeouts, 0)

  // An app whose Redis times out counts locally: such a round proves nothing, and is repeated with another client.
  for (let round = 1, isConclusive = false; !isConclusive; round++) {
    const before = timeouts()
    const replies = await Promise.all(Array.from({ length: 600 }, (_, index) => apps[index % 2]?.inject({ url: '/', remoteAddress: `192.0.2.${round}` })))
    isConclusive = timeouts() === before || round === 20
    if (!isConclusive) continue
    t.equal(replies.filter((reply) => reply?.statusCode === 200).length, 100)
    t.equal(replies.filter((reply) => reply?.statusCode === 429).length, 500)
  }
})

test('rate-limit rejects invalid options at start by name', async (t) => {
  const { url } = await startRedisProcess(t)
  const wrong: [unknown, string][] = [
    [{ quota: '5' }, 'Option rateLimit.quota must be a whole number from 1 to 1000000000, but is a text.'],
    [{ max: 5 }, 'Unknown option rateLimit.max'],
    [{ window: 60 }, 'Option rateLimit.window must be a duration'],
    [{ quota: 5, cost: 6 }, 'Option rateLimit.cost must be a whole number from 0 to 5, but is 6.'],
    [{ burst: 5 }, 'Option rateLimit.burst must be omitted unless the algorithm is gcra, but is 5.']
  ]

  for (const [options, message] of wrong) {
    await t.rejects(app(t, options as RateLimitOptions, undefined, url), { code: 'PRISM_ERR_OPTION', message: new RegExp(`^${message.replaceAll('.', '\\.')}`) })
  }

  await t.rejects(app(t, {}, (app) => app.get('/', { config: { rateLimit: { window: '1s' } } }, handler), url), { message: /^Option rateLimit\.window must be set together with a quota/ })
})

test('during an outage a route counts locally, rejects or allows, by its failureMode', async (t) => {
  const server = await startRedisProcess(t)
  const limited = await app(t, { quota: 1000, failureMode: 'open' }, (app) => {
    app.get('/local', { config: { rateLimit: { quota: 2, failureMode: 'local' } } }, handler)
    app.get('/closed', { config: { rateLimit: { quota: 2, failureMode: 'closed' } } }, handler)
    app.get('/open', { config: { rateLimit: { quota: 2 } } }, handler)
  }, server.url)
  await server.kill()

  const statuses = async (url: string) => [await limited.inject(url), await limited.inject(url), await limited.inject(url)].map(({ statusCode }) => statusCode)

  t.same(await statuses('/local'), [200, 200, 429])
  t.same(await statuses('/closed'), [503, 503, 503])
  t.same(await statuses('/open'), [200, 200, 200])
  t.equal((await limited.inject('/open')).headers.ratelimit, undefined)
})
