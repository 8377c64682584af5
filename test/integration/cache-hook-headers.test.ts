import type { FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'

// Headers that hooks set before the handler, beside those that the handler sets under the same names.
const byRoute: RouteShorthandOptions = { config: { cache: { ttl: '5m' } } }
const byResponse: RouteShorthandOptions = { config: { cache: { ttl: 'response' } } }
let runs = 0
const user = (request: FastifyRequest) => String(request.headers['x-user'])

t.test('a cookie of the handler keeps its response from being stored, in whatever form hooks have set theirs', async (t) => {
  const app = await cachingApp(t)
  const hooks: Record<string, (reply: FastifyReply) => unknown> = {
    none: () => {},
    text: (reply) => reply.header('set-cookie', 'h=1'),
    list: (reply) => reply.header('set-cookie', ['h=1']),
    two: (reply) => reply.header('set-cookie', 'h=1').header('set-cookie', 'g=1'),
    raw: (reply) => reply.raw.setHeader('set-cookie', ['h=1']),
    equal: (reply) => reply.header('set-cookie', 'client=same')
  }
  const sets: Record<string, (reply: FastifyReply, id: string) => unknown> = {
    header: (reply, id) => reply.header('set-cookie', `client=${id}`),
    headers: (reply, id) => reply.headers({ 'set-cookie': [`client=${id}`] }),
    append: (reply, id) => reply.raw.appendHeader('set-cookie', `client=${id}`)
  }
  for (const [hook, put] of Object.entries(hooks)) {
    for (const [way, set] of Object.entries(sets)) {
      app.get(`/${hook}/${way}`, { ...byRoute, preHandler: async (_request, reply) => { put(reply) } }, async (_request, reply) => { set(reply, hook === 'equal' ? 'same' : 'new'); return `run ${++runs}` })
    }
  }

  for (const hook of Object.keys(hooks)) {
    for (const way of Object.keys(sets)) {
      // Fastify sends its own headers in place of those on the raw response.
      if (way === 'append' && hook !== 'none' && hook !== 'raw') continue
      const bodies = new Set<string>()
      for (let count = 0; count < 2; count++) {
        const response = await app.inject(`/${hook}/${way}`)
        t.match(response.headers['cache-status'], /detail=set-cookie/, `${hook} ${way}`)
        bodies.add(response.body)
        await stored(app)
      }
      t.equal(bodies.size, 2, `${hook} ${way}`)
    }
  }
})

t.test('a directive of the handler counts although a hook has set the same one, and one of a hook alone does not', async (t) => {
  const app = await cachingApp(t)
  const hooks = { 'cache-control': 'no-store', expires: '0' }
  app.addHook('onRequest', async (_request, reply) => { reply.headers(hooks) })
  app.get('/default', byRoute, async () => 'page')
  for (const route of [byRoute, byResponse]) {
    const path = route === byRoute ? '/route' : '/response'
    app.get(path, route, async (_request, reply) => { reply.headers({ 'cache-control': 'no-store', 'last-modified': new Date(0).toUTCString() }); return `run ${++runs}` })
    app.get(`${path}/private`, { ...route, preHandler: async (_request, reply) => { reply.header('cache-control', 'private') } }, async (_request, reply) => { reply.header('cache-control', 'private'); return `run ${++runs}` })
  }

  t.match((await app.inject('/default')).headers['cache-status'], /stored/)
  await stored(app)
  t.match((await app.inject('/default')).headers['cache-status'], /hit/)
  for (const path of ['/route', '/response', '/route/private', '/response/private']) {
    for (let count = 0; count < 2; count++) {
      const { headers } = await app.inject(path)
      t.match(headers['cache-status'], path.includes('private') ? /detail=private/ : /detail=no-store/, path)
      t.match(headers['cache-control'], path.includes('private') ? /private/ : /no-store/, path)
      await stored(app)
    }
  }
})

t.test('responses vary by what the handler names in Vary, although a hook has named it too', async (t) => {
  for (const tracking of [{}, { trackInputs: false }]) {
    const app = await cachingApp(t)
    app.addHook('onRequest', async (_request, reply) => { reply.header('vary', 'Origin') })
    const config = { cache: { ttl: 'response', ...tracking } } as const
    const send = (members: string) => async (request: FastifyRequest, reply: FastifyReply) => {
      reply.headers({ 'cache-control': 'max-age=60', vary: members })
      return `for ${request.headers.origin} ${request.headers['x-a']}`
    }
    app.get('/origin', { config }, send('Origin'))
    app.get('/both', { config }, send('X-A, Origin'))
    app.get('/other', { config }, async (_request, reply) => { reply.headers({ 'cache-control': 'max-age=60' }); return 'for all' })

    for (const path of ['/origin', '/both', '/other']) {
      for (const origin of ['https://a.example', 'https://b.example']) {
        const fetch = async () => await app.inject({ url: path, headers: { origin, 'x-a': '1' } })
        const first = await fetch()
        await stored(app)
        const second = await fetch()
        t.equal(second.body, path === '/other' ? 'for all' : `for ${origin} 1`, `${path} ${origin}`)
        t.match(second.headers['cache-status'], /hit/)
        t.equal(first.body, second.body)
        t.match(second.headers.vary, /Origin/i)
      }
    }
  }
})

t.test('a hit has the header of the handler where a hook sets the same name for each client', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (request, reply) => { if (request.headers['x-user'] !== undefined) reply.header('content-language', user(request)) })
  app.get('/', byRoute, async (_request, reply) => { reply.header('content-language', 'de'); return 'Seite' })

  for (const headers of [{ 'x-user': 'de' }, { 'x-user': 'fr' }, {}]) {
    t.match((await app.inject({ url: '/', headers })).headers, { 'content-language': 'de' })
    await stored(app)
  }
})

t.test('a stale response, and one that a 304 confirms, has the headers of hooks that the failed or confirming handler had replaced', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (_request, reply) => { reply.headers({ 'set-cookie': 'sid=B', vary: 'Origin', 'x-frame-options': 'DENY' }) })
  const seen = { fails: 0, confirms: 0 }
  app.get('/fails', { config: { cache: { ttl: '5m', staleIfError: '1h' } } }, async (_request, reply) => {
    if (seen.fails++ === 0) return reply.header('age', '3660').send('good')
    reply.headers({ vary: 'Accept', 'x-frame-options': 'SAMEORIGIN', 'set-cookie': 'h=1' })
    throw new Error('the database is down')
  })
  app.get('/confirms', { config: { cache: { ttl: 'response' } } }, async (_request, reply) => {
    if (seen.confirms++ === 0) return reply.headers({ etag: '"a"', 'cache-control': 'max-age=1', age: '5' }).send('good')
    return reply.headers({ 'cache-control': 'max-age=60', 'set-cookie': 'h=1' }).code(304).send()
  })

  for (const path of ['/fails', '/confirms']) {
    t.equal((await app.inject(path)).body, 'good')
    await stored(app)
    const { body, headers, statusCode } = await app.inject(path)
    t.match({ body, statusCode, ...headers }, { body: 'good', statusCode: 200, vary: /Origin/, 'x-frame-options': 'DENY' }, path)
    t.same([headers['set-cookie'] ?? []].flat(), ['sid=B'], path)
  }
})

t.test('names of wrapped values that differ only in lone surrogates are different values', async (t) => {
  const app = await cachingApp(t)
  const names = ['user:\ud800', 'user:\ud801', 'user:\ufffd']
  for (const name of names) await app.cache.wrap(name, 1, { ttl: '5m' }, () => name)
  await stored(app)

  for (const name of names) t.equal(await app.cache.get(name, 1), name)
})

t.test('what a hook puts on the prototype of query or parameters is an input', async (t) => {
  const app = await cachingApp(t)
  const put = (of: (request: FastifyRequest) => object) => async (request: FastifyRequest) => { Object.setPrototypeOf(of(request), Object.assign(Object.create(null) as object, { hidden: user(request) })) }
  app.get('/query', { ...byRoute, preHandler: put(({ query }) => query as object) }, async ({ query }) => (query as { hidden: string }).hidden)
  app.get('/params/:id', { ...byRoute, preHandler: put(({ params }) => params as object) }, async ({ params }) => (params as { hidden: string }).hidden)

  for (const url of ['/query?a=1', '/params/1']) {
    for (const name of ['alice', 'bob']) {
      t.equal((await app.inject({ url, headers: { 'x-user': name } })).body, name, url)
      await stored(app)
    }
  }
})
