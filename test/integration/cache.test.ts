import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

t.test('cache serves the second request from the store', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/:id', { config: { cache: { ttl: '5m' } } }, async (request) => ({ id: (request.params as { id: string }).id, run: ++runs }))

  const first = await app.inject('/1')
  await stored(app)
  const second = await app.inject('/1')

  t.equal(first.headers['cache-status'], 'prism; fwd=miss; stored')
  t.match(second.headers['cache-status'], /^prism; hit; ttl=(2[67]\d|29\d|28\d|300)$/)
  t.match(second.headers.age, /^\d$/)
  t.equal(second.body, '{"id":"1","run":1}')
  t.equal(second.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(second.headers['content-length'], '18')
  t.equal(second.headers['cache-control'], 'no-cache')
  t.equal(second.headers.etag, first.headers.etag)
  t.equal(runs, 1)
})

t.test('cache is off for a route without a cache option, and with cache: false', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/plain', async () => ++runs)
  app.register(async (scope) => {
    scope.routeDefaults({ cache: { ttl: '5m' } })
    scope.get('/out', { config: { cache: false } }, async () => ++runs)
  })

  for (const path of ['/plain', '/plain', '/out', '/out']) {
    const reply = await app.inject(path)
    await stored(app)
    t.equal(reply.headers['cache-status'], undefined)
  }

  t.equal(runs, 4)
})

t.test('cache purges by tag what any process stored', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await cachingApp(t, { url }), await cachingApp(t, { url })]
  let runs = 0
  for (const app of [one, other]) {
    app.get('/:id', { config: { cache: { tags: ['all'] } } }, async (request, reply) => {
      reply.tag(`item:${(request.params as { id: string }).id}`)
      return `${++runs}`
    })
  }

  const read = async (app: typeof one, path = '/1') => {
    const { body } = await app.inject(path)
    await stored(app)
    return body
  }
  t.same([await read(one), await read(other), await read(one, '/2')], ['1', '1', '2'])
  await other.cache.purge('item:1')
  t.same([await read(one), await read(other), await read(other, '/2')], ['3', '3', '2'])
  await one.cache.purge('all')
  t.same([await read(one), await read(other), await read(other, '/2')], ['4', '4', '5'])
})

t.test('cache does not store a response that was purged while its handler ran, whichever process purged', async (t) => {
  const { url } = await startRedisProcess(t)
  const [one, other] = [await cachingApp(t, { url }), await cachingApp(t, { url })]
  let value = 'old'
  let during = async () => {}
  for (const app of [one, other]) {
    app.get('/', { config: { cache: true } }, async (_request, reply) => {
      const seen = value
      await during()
      reply.tag('thing')
      return seen
    })
  }

  during = async () => {
    value = 'new'
    await other.cache.purge('thing')
  }
  const filled = await one.inject('/')
  await stored(one)
  during = async () => {}
  const next = await other.inject('/')

  t.equal(filled.body, 'old')
  t.equal(next.body, 'new')
})

t.test('cache runs the handler once for concurrent requests', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  app.get('/', { config: { cache: { tags: ['a'] } } }, async () => {
    runs++
    await promise
    return 'done'
  })

  const pending = Array.from({ length: 20 }, () => app.inject('/'))
  await until(() => app.cache.counts.wait >= 19, { what: 'all others wait for the one that runs' })
  resolve()
  const replies = await Promise.all(pending)

  t.equal(runs, 1)
  t.same(new Set(replies.map(({ body }) => body)), new Set(['done']))
  t.equal(replies.filter(({ headers }) => /collapsed/.test(String(headers['cache-status']))).length, 19)
})

t.test('a request after a purge does not join a handler run that began before it', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  const first = Promise.withResolvers<void>()
  app.get('/', { config: { cache: { tags: ['a'] } } }, async () => {
    const run = ++runs
    if (run === 1) await first.promise
    return `${run}`
  })

  const early = app.inject('/')
  await until(() => runs === 1, { what: 'the first run has begun' })
  await app.cache.purge('a')
  const late = await app.inject('/')
  first.resolve()

  t.equal(late.body, '2')
  t.equal((await early).body, '1')
  await stored(app)
  t.equal((await app.inject('/')).body, '2')
})

t.test('cache never stores responses that may not be stored', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  const config = { cache: true }
  app.get('/cookie', { config }, async (_request, reply) => { runs++; return reply.header('set-cookie', 'a=1').send('x') })
  app.get('/private', { config }, async (_request, reply) => { runs++; return reply.header('cache-control', 'private').send('x') })
  app.get('/no-store', { config }, async (_request, reply) => { runs++; return reply.header('cache-control', 'no-store').send('x') })
  app.get('/error', { config }, async () => { runs++; throw new Error('broken') })
  app.get('/missing', { config }, async (_request, reply) => { runs++; return reply.code(404).send('x') })

  for (const path of ['/cookie', '/private', '/no-store', '/error', '/missing']) {
    runs = 0
    const first = await app.inject(path)
    await stored(app)
    await app.inject(path)
    t.equal(runs, 2, path)
    t.match(first.headers['cache-status'], /^prism; fwd=miss; detail=/)
  }
})

t.test('cache sends 304 to a client that has the current response, new or stored', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: true } }, async () => ({ a: 1 }))
  const { etag } = (await app.inject('/')).headers
  await stored(app)

  const known = await app.inject({ path: '/', headers: { 'if-none-match': `"x", W/${String(etag)}` } })
  const unknown = await app.inject({ path: '/', headers: { 'if-none-match': '"x"' } })

  t.equal(known.statusCode, 304)
  t.equal(known.body, '')
  t.equal(known.headers.etag, etag)
  t.equal(known.headers['content-type'], undefined)
  t.equal(unknown.statusCode, 200)
})

t.test('cache sends Redis nothing and runs every handler during an outage', async (t) => {
  const redis = await startRedisProcess(t)
  const app = await cachingApp(t, { url: redis.url })
  let runs = 0
  app.get('/', { config: { cache: { tags: ['a'] } } }, async () => `${++runs}`)
  await redis.kill()

  const reply = await app.inject('/')

  t.equal(reply.statusCode, 200)
  t.equal(reply.headers['cache-status'], 'prism; fwd=bypass; detail=redis')
})

t.test('cache serves no hit to a request that a guard rejects', async (t) => {
  const app = await cachingApp(t)
  app.get('/', {
    config: { cache: true },
    preHandler: async (request, reply) => { if (request.headers['x-who'] !== 'accepted') return reply.code(403).send('no') }
  }, async () => 'yes')

  await app.inject({ path: '/', headers: { 'x-who': 'accepted' } })
  await stored(app)

  t.match((await app.inject({ path: '/', headers: { 'x-who': 'accepted' } })).headers['cache-status'], /hit/)
  t.equal((await app.inject('/')).statusCode, 403)
})

t.test('cache.wrap stores a value under its name and parameters until its tag is purged', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  const get = async (params: object) => {
    const value = await app.cache.wrap('rows', params, { ttl: '5m', tags: ['t'] }, async () => ({ run: ++runs }))
    await stored(app)
    return value.run
  }

  t.same([await get({ a: 1, b: 2 }), await get({ b: 2, a: 1 }), await get({ a: 2 })], [1, 1, 2])
  await app.cache.purge('t')
  t.equal(await get({ a: 1, b: 2 }), 3)
})

t.test('cache supports each way in which a Fastify handler can reply', async (t) => {
  const app = await cachingApp(t)
  const config = { cache: true }
  app.get('/returned', { config }, () => 'x')
  app.get('/promised', { config }, async () => 'x')
  app.get('/sent', { config }, (_request, reply) => { reply.send('x') })
  app.get('/sent later', { config }, (_request, reply) => { setImmediate(() => reply.send('x')) })
  app.get('/sent and returned', { config }, async (_request, reply) => reply.send('x'))
  app.get('/sent later and awaited', { config }, async (_request, reply) => {
    setImmediate(() => reply.send('x'))
    return await reply
  })
  app.get('/nothing', { config }, async () => {})
  app.get('/buffer', { config }, async () => Buffer.from('x'))

  for (const path of ['returned', 'promised', 'sent', 'sent later', 'sent and returned', 'sent later and awaited', 'nothing', 'buffer']) {
    const first = await app.inject(`/${encodeURIComponent(path)}`)
    await stored(app)
    const second = await app.inject(`/${encodeURIComponent(path)}`)
    t.equal(first.body, path === 'nothing' ? '' : 'x', path)
    t.equal(second.body, first.body, path)
    // Fastify reads the raw request to know whether a reply was meant: that counts as a read.
    t.match(second.headers['cache-status'], path === 'nothing' ? /unkeyed/ : /hit/, path)
    t.equal(second.headers['content-length'], first.headers['content-length'], path)
    t.equal(second.headers['content-type'], first.headers['content-type'], path)
  }
})

t.test('cache reads limit, session and entry in one write, and sends nothing more for an expected hit', async (t) => {
  const app = await cachingApp(t, { hasSessions: true })
  app.get('/', { config: { cache: { tags: ['a', 'b'] } } }, async () => 'x')
  await app.inject('/')
  await stored(app)
  await app.inject('/')

  const before = { ...app.redisPool.batch.counts }
  const reply = await app.inject('/')

  t.match(reply.headers['cache-status'], /hit/)
  t.equal(app.redisPool.batch.counts.writes - before.writes, 1)
  t.equal(app.redisPool.batch.counts.commands - before.commands, 1)
})

t.test('cache shares a run in the process during an outage, and none that read client data', async (t) => {
  const redis = await startRedisProcess(t)
  const app = await cachingApp(t, { url: redis.url })
  let runs = 0
  app.get('/shared', { config: { cache: { tags: ['a'] } } }, async () => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    return `${++runs}`
  })
  app.get('/own', { config: { cache: true } }, async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    return `for ${String(request.headers['x-who'])}`
  })
  await redis.kill()

  const shared = await Promise.all(Array.from({ length: 10 }, () => app.inject('/shared')))
  const own = await Promise.all(Array.from({ length: 10 }, (_, who) => app.inject({ url: '/own', headers: { 'x-who': String(who) } })))

  t.same(new Set(shared.map(({ body }) => body)), new Set(['1']))
  t.same(own.map(({ body }) => body), Array.from({ length: 10 }, (_, who) => `for ${who}`))
  t.equal((await app.inject('/shared')).body, '2')
})

t.test('cache stores a response under the tags of its validated parameters, whatever text was sent', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/:id', {
    config: { cache: { tags: (request) => [`item:${request.params.id}`] } },
    schema: { params: { type: 'object', properties: { id: { type: 'integer' } } } }
  }, async () => `${++runs}`)
  const read = async () => {
    const { body } = await app.inject('/007')
    await stored(app)
    return body
  }

  t.same([await read(), await read()], ['1', '1'])
  await app.cache.purge('item:7')
  t.equal(await read(), '2')
})
