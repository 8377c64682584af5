import fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import prism from '../../plugins/index.ts'
import { commandTimeout } from '../support/deadline.ts'
import { testSecret } from '../support/app.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { withoutStall } from '../support/stalls.ts'
import { until } from '../support/until.ts'

const swapped = { ttl: '30s', staleWhileRevalidate: '1h' } as const

/** A handler whose first response is stale from the start. */
function counting (work: (run: number, request: FastifyRequest) => unknown = () => {}): { runs: number, handler: (request: FastifyRequest, reply: FastifyReply) => Promise<string> } {
  const counted = {
    runs: 0,
    handler: async (request: FastifyRequest, reply: FastifyReply) => {
      const run = ++counted.runs
      if (run === 1) reply.header('age', '60')
      await work(run, request)
      return `run ${run}`
    }
  }
  return counted
}

async function bodyOf (app: FastifyInstance, headers: Record<string, string> = {}, url = '/'): Promise<string> {
  return (await app.inject({ url, headers })).body
}

t.test('cache runs one refresh for a thousand stale hits in two processes, and delays none of them', async (t) => {
  const { url } = await startRedisProcess(t)
  let attempt = 0
  const { bodies, runs, revalidations, stale } = await withoutStall(async (watch) => {
    const path = `/${++attempt}`
    const apps = [await cachingApp(t, { url }), await cachingApp(t, { url })] as const
    watch(apps[0])
    const gate = Promise.withResolvers<void>()
    const counted = counting((run) => run === 1 ? undefined : gate.promise)
    for (const app of apps) app.get(path, { config: { cache: { ...swapped, tags: ['a'] } } }, counted.handler)
    await bodyOf(apps[0], {}, path)
    await stored(apps[0])

    const bodies = new Set<string>()
    for (let count = 0; count < 1000; count += 50) {
      const some = await Promise.all(Array.from({ length: 50 }, (_, index) => bodyOf(apps[index % 2 === 0 ? 0 : 1], {}, path)))
      for (const body of some) bodies.add(body)
    }
    await until(() => counted.runs >= 2, { what: 'the refresh runs' })
    gate.resolve()
    await until(async () => await bodyOf(apps[0], {}, path) !== 'run 1' && await bodyOf(apps[1], {}, path) !== 'run 1', { what: 'the new response is stored' })
    const [one, other] = [apps[0].cache.counts, apps[1].cache.counts]
    return { bodies, runs: counted.runs, revalidations: one.revalidate + other.revalidate, stale: one.stale + other.stale }
  })

  t.same(bodies, new Set(['run 1']))
  t.equal(runs, 2)
  t.equal(revalidations, 1)
  t.ok(stale >= 1000)
})

t.test('cache refreshes with a request that carries no client data and that no rate limit counts', async (t) => {
  const { url } = await startRedisProcess(t)
  const app: FastifyInstance = fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url, commandTimeout }, session: { secrets: [testSecret] }, rateLimit: { quota: 100, window: '1m' }, events: false })
  const seen: FastifyRequest['headers'][] = []
  app.addHook('onRequest', async ({ headers }) => { seen.push({ ...headers }) })
  const counted = counting()
  app.get('/', { config: { cache: { ...swapped, vary: ['accept-language'] }, rateLimit: { quota: 50, window: '1m' } } }, counted.handler)
  const headers = { cookie: 'a=1', authorization: 'Bearer x', 'x-own': 'x', 'accept-language': 'de', 'x-prism-internal': 'x' }
  await app.ready()
  await reached(app)
  await app.inject({ url: '/', headers })
  await stored(app)
  seen.length = 0

  await app.inject({ url: '/', headers })
  await until(async () => counted.runs === 2 && /run 2/.test(await bodyOf(app, headers)), { what: 'the response is refreshed' })
  const revalidations = seen.filter((each) => each.cookie === undefined)
  const { headers: last } = await app.inject({ url: '/', headers })

  t.equal(revalidations.length, 1)
  t.match(revalidations[0], { 'accept-language': 'de', authorization: undefined, 'x-own': undefined, 'x-prism-internal': undefined })
  t.match(last.ratelimit, new RegExp(`r=${50 - seen.filter((each) => each.cookie !== undefined).length - 1}\\b`), 'only client requests are counted')
})

t.test('cache fills with the request of a client if a guard rejects the background refresh', async (t) => {
  const app = await cachingApp(t)
  const counted = counting()
  const preHandler = async (request: FastifyRequest, reply: FastifyReply) => { if (request.headers.authorization === undefined) reply.code(401).send('who?') }
  app.get('/', { config: { cache: swapped }, preHandler }, counted.handler)
  const headers = { authorization: 'x' }
  await bodyOf(app, headers)
  await stored(app)

  t.equal(await bodyOf(app, headers), 'run 1')
  await until(() => app.cache.counts.revalidate === 1, { what: 'a refresh was started' })
  await until(async () => await bodyOf(app, headers) === 'run 2', { what: 'a client request has filled' })

  t.equal(counted.runs, 2)
  t.equal(app.cache.counts.revalidate, 1)
  t.equal(await bodyOf(app), 'who?')
})

t.test('cache revalidates a variant that the origin chose by a header with a request that has this header, and shares it with no other', async (t) => {
  for (const name of ['accept-language', 'authorization', 'cookie', 'x-tenant']) {
    const app = await cachingApp(t)
    const revalidations: (string | undefined)[] = []
    app.get('/', { config: { cache: { ttl: 'response' } } }, async (request, reply) => {
      const value = request.headers[name] as string | undefined
      revalidations.push(value)
      reply.headers({ 'cache-control': 'public, max-age=60, stale-while-revalidate=3600', vary: name, 'last-modified': 'Wed, 01 Jan 2020 00:00:00 GMT' })
      if (revalidations.length <= 2) reply.header('age', '61')
      // The same date for all variants: a 304 to a request without the header would make the wrong one fresh.
      return request.headers['if-modified-since'] === undefined ? `for ${value ?? 'none'}` : reply.code(304).send()
    })
    const send = async (value?: string) => {
      const body = await bodyOf(app, value === undefined ? {} : { [name]: value })
      await stored(app)
      return body
    }

    for (const value of ['A', 'B', 'A', 'B', undefined, 'A', 'B', undefined]) t.equal(await send(value), `for ${value ?? 'none'}`, name)
    t.same(revalidations, ['A', 'B', 'A', 'B', undefined], `${name}: each was revalidated by its own client`)
    t.equal(app.cache.counts.revalidate, 0)
  }
})

t.test('cache fills a partition with one request, and serves stale responses to the others meanwhile', async (t) => {
  const app = await cachingApp(t)
  const gate = Promise.withResolvers<void>()
  const counted = counting((run) => run === 1 ? undefined : gate.promise)
  app.get('/', { config: { cache: { ...swapped, partition: ({ headers }) => String(headers.authorization) } } }, counted.handler)
  const headers = { authorization: 'x' }
  await bodyOf(app, headers)
  await stored(app)

  const winner = bodyOf(app, headers)
  await until(() => counted.runs === 2, { what: 'one request fills' })
  const others = await Promise.all(Array.from({ length: 20 }, () => bodyOf(app, headers)))
  gate.resolve()

  t.same(new Set(others), new Set(['run 1']))
  t.equal(await winner, 'run 2')
  t.equal(app.cache.counts.revalidate, 0)
})

t.test('cache serves the stale response if a refresh fails, and refreshes again', async (t) => {
  const app = await cachingApp(t)
  const counted = counting((run) => { if (run === 2) throw new Error('the second run') })
  app.get('/', { config: { cache: swapped } }, counted.handler)
  await bodyOf(app)
  await stored(app)

  const statuses = new Set<number>()
  await until(async () => {
    const { statusCode, body } = await app.inject('/')
    statuses.add(statusCode)
    return body === 'run 3'
  }, { what: 'another refresh succeeds' })

  t.same(statuses, new Set([200]))
  t.equal(counted.runs, 3)
  t.equal(app.cache.counts.revalidate, 2)
})

t.test('cache makes requests wait for a slow refresh once the stale response may not be served', async (t) => {
  const app = await cachingApp(t)
  const gate = Promise.withResolvers<void>()
  const counted = counting((run) => run === 1 ? undefined : gate.promise)
  // The response has an Age of 60 s and is fresh for another 9 to 10 s: at least five seconds are left.
  app.get('/', { config: { cache: { ttl: '10s', staleWhileRevalidate: '56s' } } }, counted.handler)
  await bodyOf(app)
  await stored(app)

  const early = await bodyOf(app)
  await until(() => counted.runs === 2, { what: 'the refresh runs' })
  const late = await until(async () => {
    const waiting = app.cache.counts.wait
    const reply = app.inject('/')
    await until(() => app.cache.counts.wait > waiting, { what: 'the request waits', deadlineMs: 100 }).catch(() => {})
    return app.cache.counts.wait > waiting && { reply }
  }, { what: 'the stale window has ended' })
  gate.resolve()
  const { body, headers } = await late.reply

  t.equal(early, 'run 1')
  t.equal(body, 'run 2')
  t.match(headers['cache-status'], /collapsed/)
  t.equal(counted.runs, 2)
})

t.test('cache refreshes a frequently requested response before it becomes stale, if configured', async (t) => {
  const app = await cachingApp(t)
  const runs: Record<string, number> = { '/early': 0, '/late': 0 }
  for (const [url, earlyRefresh] of [['/early', true], ['/late', false]] as const) {
    app.get(url, { config: { cache: { ttl: '30s', earlyRefresh } } }, async (_request, reply) => {
      const run = runs[url] = (runs[url] ?? 0) + 1
      await new Promise((resolve) => setTimeout(resolve, 20))
      return reply.header('cache-control', 'max-age=2').header('age', '1').send(`run ${run}`)
    })
  }
  const early = () => app.inject('/early')
  await early()
  await stored(app)

  await until(async () => {
    await early()
    return app.cache.counts.revalidate > 0
  }, { what: 'an early refresh', everyMs: 1 })
  await until(() => (runs['/early'] ?? 0) > 1, { what: 'its handler has run' })
  const refreshes = app.cache.counts.revalidate
  await until(async () => {
    await app.inject('/late')
    return (runs['/late'] ?? 0) > 1
  }, { what: 'a response became stale', everyMs: 1 })

  t.equal(app.cache.counts.revalidate, refreshes)
})

t.test('cache runs at most maxConcurrency handlers of a route, then serves stale responses, and otherwise 503', async (t) => {
  const app = await cachingApp(t)
  let open = Promise.withResolvers<void>()
  let running = 0
  let age: string | undefined = '60'
  app.get('/:id', { config: { cache: { ttl: '30s', staleIfError: '1h', maxConcurrency: 2 } } }, async (request, reply) => {
    running += 1
    await open.promise
    if (age !== undefined) reply.header('age', age)
    return (request.params as { id: string }).id
  })
  const first = app.inject('/stale')
  open.resolve()
  await first
  await stored(app)
  open = Promise.withResolvers()
  running = 0
  age = undefined

  const made = [app.inject('/1'), app.inject('/2')].map((each) => each.then(({ statusCode }) => statusCode))
  await until(() => running === 2, { what: 'two handlers run' })
  const [denied, stale, joined] = [await app.inject('/3'), await app.inject('/stale'), app.inject('/1').then(({ body }) => body)]
  await until(() => app.cache.counts.wait === 1, { what: 'one request joins' })
  open.resolve()

  t.same([denied.statusCode, denied.headers['retry-after'], denied.json().code], [503, '1', 'PRISM_ERR_CACHE_CONCURRENCY'])
  t.match(denied.headers['cache-status'], /detail=concurrency/)
  t.match([stale.statusCode, stale.body, stale.headers['cache-status']], [200, 'stale', /hit; ttl=-\d+; detail=concurrency/])
  t.same(await Promise.all(made), [200, 200])
  t.equal(await joined, '1')
  t.equal((await app.inject('/3')).statusCode, 200)
  t.equal(running, 3)
})
