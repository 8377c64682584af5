import type { FastifyReply, FastifyRequest, InjectOptions } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'

type Echo = (request: FastifyRequest, reply: FastifyReply) => unknown

/** Unkeyed input that an attacker can send with a shared cache key. */
const attack: Pick<InjectOptions, 'headers' | 'remoteAddress'> = {
  headers: {
    host: 'evil.example',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'evil',
    'x-original-url': '/evil',
    'accept-language': 'evil',
    cookie: 'who=evil',
    origin: 'https://evil.example',
    authorization: 'Bearer evil',
    'x-http-method-override': 'EVIL'
  },
  remoteAddress: '6.6.6.6'
}

/** Every way in which Fastify reads unkeyed input of a request. */
const echoes: Record<string, Echo> = {
  'x-forwarded-host': (request) => request.headers['x-forwarded-host'],
  'x-forwarded-proto': (request) => request.headers['x-forwarded-proto'],
  'x-original-url': (request) => request.headers['x-original-url'],
  'accept-language': (request) => request.headers['accept-language'],
  cookie: (request) => request.headers.cookie,
  origin: (request) => request.headers.origin,
  authorization: (request) => request.headers.authorization,
  'method override': (request) => request.headers['x-http-method-override'],
  'a copy of all headers': (request) => ({ ...request.headers })['accept-language'],
  'the headers as JSON': (request) => JSON.stringify(request.headers),
  'the names of headers': (request) => Object.keys(request.headers),
  'whether there is a header': (request) => 'origin' in request.headers,
  'a header by destructuring': ({ headers: { origin } }) => origin,
  'raw headers': (request) => request.raw.headers.origin,
  'raw header lines': (request) => request.raw.rawHeaders,
  'distinct headers': (request) => request.raw.headersDistinct?.origin,
  'the request of the raw reply': (_request, reply) => reply.raw.req.headers.origin,
  'the request of the reply': (_request, reply) => reply.request.headers.origin,
  host: (request) => request.host,
  hostname: (request) => request.hostname,
  'host header': (request) => request.headers.host,
  protocol: (request) => request.protocol,
  ip: (request) => request.ip,
  ips: (request) => request.ips,
  'socket address': (request) => request.socket.remoteAddress,
  'request id': (request) => request.id,
  'a decorated property': (request) => (request as unknown as { user: string }).user,
  'a decorated getter': (request) => (request as unknown as { tenant: string }).tenant,
  'a decorator read by name': (request) => (request as unknown as { getDecorator: (name: string) => string }).getDecorator('user'),
  'a property that a hook put there': (request) => (request as unknown as { added: string }).added,
  'a symbol that a hook put there': (request) => (request as unknown as Record<symbol, string>)[hidden],
  'a property of the reply': (_request, reply) => (reply as unknown as { locale: string }).locale,
  'a header that a hook set': (_request, reply) => reply.getHeader('x-seen'),
  'all headers that hooks set': (_request, reply) => reply.getHeaders()['x-seen'],
  'later, after waiting': async (request) => {
    await new Promise((resolve) => setImmediate(resolve))
    return request.headers.origin
  }
}

const hidden = Symbol('hidden')

t.test('cache does not store a response that depends on unkeyed input', async (t) => {
  const app = await cachingApp(t, { debug: true, server: { trustProxy: true } })
  app.decorateRequest('user', '')
  app.decorateRequest('tenant', { getter (this: FastifyRequest) { return String(this.headers.origin) } })
  app.decorateReply('locale', '')
  app.addHook('preHandler', async (request, reply) => {
    const language = String(request.headers['accept-language'] ?? '')
    Object.assign(request, { user: language, added: language, [hidden]: language })
    Object.assign(reply, { locale: language })
    reply.header('x-seen', language)
  })
  for (const [name, echo] of Object.entries(echoes)) {
    app.get(`/${encodeURIComponent(name)}`, { config: { cache: true } }, async (request, reply) => ({ echo: await echo(request, reply) ?? null }))
  }

  for (const name of Object.keys(echoes)) {
    const url = `/${encodeURIComponent(encodeURIComponent(name))}`
    const poisoned = await app.inject({ url, ...attack })
    await stored(app)
    const victim = await app.inject({ url, headers: { host: 'good.example' } })

    t.equal(poisoned.statusCode, 200, `${name}: response`)
    t.match(poisoned.headers['cache-status'], /fwd=miss; detail="read /, `${name}: reported`)
    t.equal(poisoned.headers['cache-control'], 'private, no-cache', `${name}: private`)
    t.notMatch(victim.headers['cache-status'], /hit/, `${name}: not stored`)
  }
})

t.test('cache logs once which option would allow a read, and only a short token in production', async (t) => {
  const app = await cachingApp(t)
  const warnings: unknown[] = []
  app.log.warn = (facts: unknown) => { warnings.push(facts) }
  app.get('/', { config: { cache: true } }, async (request) => request.headers['accept-language'] ?? 'none')

  await app.inject('/')
  const reply = await app.inject('/')

  t.same(warnings, [{ route: '/', read: 'header accept-language', remedy: "cache: { vary: ['accept-language'] }" }])
  t.equal(reply.headers['cache-status'], 'prism; fwd=miss; detail=unkeyed')
})

t.test('cache stores responses that depend on keyed input, each under its own key', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/language', { config: { cache: { vary: ['Accept-Language'] } } }, async (request) => `${request.headers['accept-language'] ?? 'none'} ${++runs}`)
  app.get('/host', { config: { cache: { hosts: ['a.example', 'b.example'] } } }, async (request) => `${request.host} ${++runs}`)
  app.get('/query', { config: { cache: true } }, async (request) => `${request.url} ${JSON.stringify(request.query)} ${++runs}`)
  const read = async (url: string, headers = {}) => {
    const { body, headers: { vary } } = await app.inject({ url, headers })
    await stored(app)
    return vary === undefined ? body : `${body} ${String(vary)}`
  }

  t.same([await read('/language', { 'accept-language': 'de' }), await read('/language', { 'accept-language': 'DE' }), await read('/language')],
    ['de 1 accept-language', 'de 1 accept-language', 'none 2 accept-language'])
  runs = 0
  t.same([await read('/host', { host: 'a.example' }), await read('/host', { host: 'b.example' }), await read('/host', { host: 'a.example' })], ['a.example 1', 'b.example 2', 'a.example 1'])
  t.same([await read('/host', { host: 'evil.example' }), await read('/host', { host: 'evil.example' })], ['evil.example 3', 'evil.example 4'])
  runs = 0
  t.same([await read('/query?b=2&a=1'), await read('/query?a=1&b=2')], ['/query?a=1&b=2 {"a":"1","b":"2"} 1', '/query?a=1&b=2 {"a":"1","b":"2"} 1'])
})

t.test('cache hides query parameters that are not listed from the handler', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: { query: ['q'] } } }, async (request) => ({ query: request.query, url: request.url }))
  app.get('/schema', {
    config: { cache: true },
    schema: { querystring: { type: 'object', additionalProperties: false, properties: { q: { type: 'string' } } } }
  }, async (request) => ({ query: request.query, url: request.url }))

  for (const path of ['/', '/schema']) {
    const poisoned = await app.inject(`${path}?utm=evil&q=1`)
    await stored(app)
    const victim = await app.inject(`${path}?q=1`)
    t.same(poisoned.json(), { query: { q: '1' }, url: `${path}?q=1` })
    t.match(victim.headers['cache-status'], /hit/)
    t.equal(victim.body, poisoned.body)
  }
})

t.test('cache distinguishes semicolons, repeated and encoded parameters, paths and long keys as the router does', async (t) => {
  const app = await cachingApp(t)
  app.get('/*', { config: { cache: true } }, async (request) => JSON.stringify([request.url, request.query, request.params]))
  const urls = [
    '/a?x=1;utm=2', '/a?x=1&utm=2', '/a?x=1', '/a?x=1&x=2', '/a?x=2&x=1', '/a?%78=1', '/a?x=%31', '/a?x=1&%78=2', '/a?x=2&%78=1', '/a?x', '/a?x=', '/a?X=1',
    '/%61?x=1', '/b/../a?x=1', '//a?x=1', '/a/?x=1', `/a?x=${'1'.repeat(10_000)}`, `/a?x=${'1'.repeat(9_999)}2`, '/a?x[]=1&x[0]=2', '/a?x[0]=2&x[]=1', '/a?x=1%26y=2', '/a?x=1&y=2', '/a?x=%zz', '/a?%zz=1'
  ]

  for (const url of urls) {
    await app.inject(url)
    await stored(app)
  }

  for (const url of urls) {
    const fresh = await app.inject({ url, headers: { 'content-length': '1' }, payload: 'x' })
    const stored = await app.inject(url)
    t.match(stored.headers['cache-status'], /hit/, url.slice(0, 40))
    t.same((stored.json() as unknown[])[1], (fresh.json() as unknown[])[1], `${url.slice(0, 40)}: the same query`)
    t.same((stored.json() as unknown[])[2], (fresh.json() as unknown[])[2], `${url.slice(0, 40)}: the same path`)
  }
})

t.test('cache neither serves nor stores a GET with a body', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/', { config: { cache: true } }, async () => `${++runs}`)

  const fat = await app.inject({ url: '/', method: 'GET', payload: 'evil' })
  await stored(app)
  const plain = await app.inject('/')

  t.equal(fat.headers['cache-status'], 'prism; fwd=bypass; detail=body')
  t.equal(plain.body, '2')
})

t.test('cache tracks reads of serialisers and preSerialization hooks, and none after them', async (t) => {
  const app = await cachingApp(t)
  let late: string | undefined
  app.addHook('onSend', async (request) => { late = request.headers.origin })
  app.get('/hook', { config: { cache: true }, preSerialization: async (request, _reply, payload) => ({ ...payload as object, origin: request.headers.origin }) }, async () => ({ a: 1 }))
  app.get('/fine', { config: { cache: true } }, async () => ({ a: 1 }))

  t.match((await app.inject({ url: '/hook', headers: { origin: 'https://evil.example' } })).headers['cache-status'], /unkeyed/)
  t.match((await app.inject({ url: '/fine', headers: { origin: 'https://evil.example' } })).headers['cache-status'], /stored/)
  t.equal(late, 'https://evil.example')
})

t.test('cache does not track inputs of a route with trackInputs: false', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: { trackInputs: false } } }, async (request) => `${request.raw.headers.origin === undefined}`)

  t.match((await app.inject('/')).headers['cache-status'], /stored/)
})

t.test('cache returns properties that a hook added to the request unchanged', async (t) => {
  const app = await cachingApp(t)
  app.decorateRequest('user', '')
  const seen: unknown[] = []
  app.addHook('onResponse', async (request) => { seen.push((request as unknown as { user: string }).user, request.headers.origin, Object.keys(request).includes('headers')) })
  app.get('/', { config: { cache: true } }, async (request) => {
    (request as unknown as { user: string }).user = 'set by the handler'
    return 'x'
  })

  await app.inject({ url: '/', headers: { origin: 'https://a.example' } })

  t.same(seen, ['set by the handler', 'https://a.example', false])
})

t.test('cache detects values that hooks add to query and parameters', async (t) => {
  const app = await cachingApp(t, { debug: true })
  const config = { cache: true }
  app.get('/query', { config, preHandler: async (request) => { Object.assign(request.query as object, { tenant: request.headers.origin }) } }, async (request) => request.query)
  app.get('/changed', { config, preHandler: async (request) => { Object.assign(request.query as object, { a: request.headers.origin }) } }, async (request) => request.query)
  app.get('/params/:id', { config, preHandler: async (request) => { Object.assign(request.params as object, { id: request.headers.origin }) } }, async (request) => request.params)
  app.get('/coerced/:id', {
    config,
    schema: {
      params: { type: 'object', properties: { id: { type: 'integer' } } },
      querystring: { type: 'object', additionalProperties: false, properties: { limit: { type: 'integer', default: 20 }, all: { type: 'boolean' }, tags: { type: 'array', items: { type: 'integer' } } } }
    }
  }, async (request) => [request.params, request.query])

  for (const url of ['/query', '/changed?a=1', '/params/1']) {
    t.match((await app.inject({ url, headers: { origin: 'https://evil.example' } })).headers['cache-status'], /detail="read request\.(query|params)\./)
  }
  t.match((await app.inject('/coerced/007?all=true&tags=1')).headers['cache-status'], /stored/)
  t.match((await app.inject('/coerced/7?tags=1&tags=2')).headers['cache-status'], /stored/)
})

t.test('cache keys by the URL that was requested, and not by one that a hook rewrote', async (t) => {
  const app = await cachingApp(t)
  app.get('/a', { config: { cache: true }, preHandler: async (request) => { if (request.headers['x-original-url']) request.raw.url = '/b' } }, async (request) => request.url)

  await app.inject('/a')
  await stored(app)
  const rewritten = await app.inject({ url: '/a', headers: { 'x-original-url': '/b' } })

  t.equal(rewritten.body, '/b')
  t.equal(rewritten.headers['cache-status'], 'prism; fwd=bypass; detail=url-rewritten')
  t.equal((await app.inject('/a')).body, '/a')
})

t.test('cache does not store a 304 that depends on unkeyed input', async (t) => {
  const app = await cachingApp(t)
  let isChanged = true
  app.get('/', { config: { cache: { ttl: '5m' } } }, async (request, reply) => {
    if (isChanged) return reply.headers({ etag: '"a"', 'cache-control': 'max-age=1', age: '5', 'x-language': 'none' }).send('x')
    return reply.code(304).headers({ 'cache-control': 'max-age=60', 'x-language': String(request.headers['accept-language']) }).send()
  })
  await app.redis.flushall()
  await app.inject('/')
  await stored(app)

  isChanged = false
  const poisoned = await app.inject({ url: '/', headers: { 'accept-language': 'evil' } })
  await stored(app)
  const victim = await app.inject('/')

  t.match([poisoned.statusCode, poisoned.body, poisoned.headers['cache-status']], [200, 'x', /fwd-status=304; detail=unkeyed/])
  t.match(poisoned.headers['cache-control'], /private/)
  t.notMatch(victim.headers['cache-status'], /hit/)
  t.not(victim.headers['x-language'], 'evil')
})
