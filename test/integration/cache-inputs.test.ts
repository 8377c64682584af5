import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import fastify from 'fastify'
import t from 'tap'
import cachePlugin from '../../plugins/cache.ts'
import redis from '../../plugins/redis.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import { commandTimeout } from '../support/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { reached } from '../support/wait-for-redis.ts'

const cache = true
const user = (request: FastifyRequest) => String(request.headers['x-user'])

/** Sends requests one after the other, and waits until each response is stored. */
async function sendRequest (app: FastifyInstance, url: string, headers: Record<string, string> = {}) {
  const { statusCode, body, headers: fields } = await app.inject({ url, headers })
  await stored(app)
  return { statusCode, body, status: String(fields['cache-status']) }
}

t.test('cache separates routes with the same pattern and different constraints', async (t) => {
  const app = await cachingApp(t)
  const constrained = (constraints: RouteShorthandOptions['constraints'], body: string) => app.get('/', { constraints: constraints ?? {}, config: { cache } }, async () => body)
  constrained({ host: 'a.example' }, 'a')
  constrained({ host: 'b.example' }, 'b')
  constrained({ host: /^c\d/ }, 'c')
  constrained({ host: /^d\d/ }, 'd')
  constrained({ version: '1.2.0' }, 'one')
  constrained({ version: '2.0.0' }, 'two')
  constrained({}, 'all')

  const requests: [Record<string, string>, string][] = [
    [{ host: 'a.example' }, 'a'], [{ host: 'b.example' }, 'b'], [{ host: 'c1' }, 'c'], [{ host: 'd1' }, 'd'],
    [{ 'accept-version': '1.x' }, 'one'], [{ 'accept-version': '2.x' }, 'two'], [{}, 'all']
  ]
  for (const outcome of [/stored/, /hit/]) {
    for (const [headers, body] of requests) t.match(await sendRequest(app, '/', headers), { body, status: outcome })
  }
})

t.test('cache detects a read of a property that a hook added to the request, in every form', async (t) => {
  const app = await cachingApp(t)
  const forms: Record<string, (request: FastifyRequest) => unknown> = {
    getter: (request) => Object.defineProperty(request, 'form', { configurable: true, get: () => user(request) }),
    fixed: (request) => Object.defineProperty(request, 'form', { value: user(request) }),
    'fixed getter': (request) => { const name = user(request); return Object.defineProperty(request, 'form', { get: () => name }) },
    body: (request) => { request.body = user(request) }
  }
  for (const [name, put] of Object.entries(forms)) {
    app.get(`/${name}`, { config: { cache }, preHandler: async (request) => { put(request) } }, async (request) => ({ to: (request as unknown as { form?: string }).form ?? request.body }))
  }

  for (const name of Object.keys(forms)) {
    for (const user of ['alice', 'bob']) t.match(await sendRequest(app, `/${name}`, { 'x-user': user }), { body: user, status: /detail=unkeyed/ }, `${name}: ${user}`)
  }
})

t.test('cache shares nothing of a prototype that a hook has put before that of a request, a reply or a message', async (t) => {
  const app = await cachingApp(t)
  const objects: Record<string, (request: FastifyRequest, reply: FastifyReply) => object> = { request: (request) => request, reply: (_request, reply) => reply, raw: ({ raw }) => raw, response: (_request, { raw }) => raw }
  for (const [name, of] of Object.entries(objects)) {
    const put = async (request: FastifyRequest, reply: FastifyReply) => {
      const [object, name] = [of(request, reply), user(request)]
      Object.setPrototypeOf(object, Object.create(Object.getPrototypeOf(object) as object, { who: { get: () => name } }) as object)
    }
    app.get(`/${name}`, { config: { cache }, preHandler: put }, async (request, reply) => (of(request, reply) as { who: string }).who)
  }
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  for (const name of Object.keys(objects)) {
    for (const user of ['alice', 'bob', 'carol']) {
      t.equal(await fetch(`${url}/${name}`, { headers: { 'x-user': user } }).then((response) => response.text()), user, `${name}: ${user}`)
      await stored(app)
    }
  }
})

t.test('cache shares nothing of what a hook has set in place of a property of Fastify', async (t) => {
  const app = await cachingApp(t)
  const puts: Record<string, [put: (request: FastifyRequest, reply: FastifyReply) => unknown, read: (request: FastifyRequest, reply: FastifyReply) => unknown]> = {
    server: [(request) => Object.defineProperty(request, 'server', { configurable: true, value: { user: user(request) } }), ({ server }) => (server as unknown as { user: string }).user],
    fixed: [(request) => Object.defineProperty(request, 'is404', { value: user(request) }), ({ is404 }) => is404],
    options: [(request) => Object.defineProperty(request, 'routeOptions', { configurable: true, value: { user: user(request) } }), ({ routeOptions }) => (routeOptions as unknown as { user: string }).user],
    time: [(request, reply) => { const name = user(request); Object.defineProperty(reply, 'elapsedTime', { configurable: true, get: () => name }) }, (_request, { elapsedTime }) => elapsedTime],
    error: [(request) => Object.assign(request, { validationError: new Error(user(request)) }), ({ validationError }) => validationError?.message],
    query: [(request) => { const name = user(request); request.query = new Proxy({ of: 'x' }, { get: (target, key) => key === 'to' ? name : Reflect.get(target, key) as unknown }) }, ({ query }) => (query as { to: string }).to],
    nested: [(request) => { const name = user(request); request.query = { of: new Proxy(['x', 'x'], { get: (target, key) => key === 'to' ? name : Reflect.get(target, key) as unknown }) } }, ({ query }) => (query as { of: { to: string } }).of.to]
  }
  for (const [name, [put, read]] of Object.entries(puts)) {
    app.get(`/${name}`, { config: { cache }, preHandler: async (request, reply) => { put(request, reply) } }, async (request, reply) => ({ to: read(request, reply) }))
  }

  for (const name of Object.keys(puts)) {
    for (const user of ['alice', 'bob', 'carol']) t.match(await sendRequest(app, `/${name}?of=x${name === 'nested' ? '&of=x' : ''}`, { 'x-user': user }), { body: user, status: /detail=unkeyed/ }, `${name}: ${user}`)
  }
})

t.test('a fixed getter that reads what is tracked, as that of @fastify/express for the protocol, keeps no response from being stored, and counts when it is read', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (request) => { Object.defineProperty(request.raw, 'of', { get: () => user(request) }) })
  app.get('/page', { config: { cache } }, async () => 'page')
  app.get('/of', { config: { cache } }, async ({ raw }) => (raw as unknown as { of: string }).of)

  for (const status of [/stored/, /hit/]) t.match(await sendRequest(app, '/page'), { status })
  for (const user of ['alice', 'bob']) t.match(await sendRequest(app, '/of', { 'x-user': user }), { body: user, status: /detail=unkeyed/ })
})

t.test('cache leaves a getter that a hook defined on the request unchanged', async (t) => {
  const app = await cachingApp(t)
  const seen: unknown[] = []
  const get = () => 'x'
  app.addHook('preHandler', async (request) => { Object.defineProperty(request, 'form', { configurable: true, get }) })
  app.addHook('onResponse', async (request) => { seen.push(Object.getOwnPropertyDescriptor(request, 'form')?.get) })
  app.get('/', { config: { cache } }, async () => 'response')

  t.match(await sendRequest(app, '/'), { status: /stored/ })
  t.same(seen, [get])
})

t.test('cache bypasses a request whose query or parameters a hook changed', async (t) => {
  const app = await cachingApp(t)
  const change = (to: (request: FastifyRequest) => void): RouteShorthandOptions => ({ config: { cache }, preHandler: async (request) => { if (user(request) !== 'admin') to(request) } })
  const echo = async (request: FastifyRequest) => [request.query, request.params]
  app.get('/removed', change((request) => { delete (request.query as { all?: string }).all }), echo)
  const key = Symbol('of the app')
  app.get('/symbol', change((request) => { Object.assign(request.query as object, { [key]: 'set' }) }), async ({ query }) => [(query as { [key]?: string })[key] ?? 'none'])
  app.get('/hidden/:id', change((request) => { Object.defineProperty(request.params, 'role', { value: 'guest' }) }), async ({ params }) => [(params as { role?: string }).role ?? 'none'])
  app.get('/lowered', change((request) => { Object.assign(request.query as object, { limit: '10' }) }), echo)
  app.get('/emptied', change((request) => { (request.query as { id: string[] }).id.pop() }), echo)
  app.get('/named/:id', change((request) => { Object.assign(request.params as object, { id: 'own' }) }), echo)

  for (const url of ['/removed?all=1', '/lowered?limit=1000', '/emptied?id=1&id=2', '/named/other', '/symbol', '/hidden/1']) {
    const admin = await sendRequest(app, url, { 'x-user': 'admin' })
    t.match(admin.status, /stored/, url)
    const bob = await sendRequest(app, url, { 'x-user': 'bob' })
    t.match(bob.status, /fwd=bypass; detail=unkeyed/, url)
    t.not(bob.body, admin.body, url)
    t.same(await sendRequest(app, url, { 'x-user': 'admin' }).then(({ body }) => body), admin.body, url)
  }
})

t.test('cache detects a change of a hook in front of the stack', async (t) => {
  const { url } = await startRedisProcess(t)
  const app: FastifyInstance = fastify()
  t.teardown(() => app.close())
  const changes: Record<string, (request: FastifyRequest) => void> = {
    '/query': (request) => { Object.assign(request.query as object, { tenant: user(request) }) },
    '/replaced': (request) => { request.query = { tenant: user(request) } },
    '/params/1': (request) => { Object.assign(request.params as object, { id: user(request) }) },
    '/url': (request) => { request.raw.url = '/url?tenant=none' }
  }
  app.addHook('onRequest', async (request) => { changes[request.url.replace(/\?.*/, '')]?.(request) })
  await app.register(redis, { url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(cachePlugin)
  await reached(app)
  for (const path of ['/query', '/replaced', '/params/:id', '/url']) app.get(path, { config: { cache } }, async (request) => [request.query, request.params])

  for (const path of Object.keys(changes)) {
    for (const user of ['admin', 'guest']) {
      const query = path === '/url' ? `?tenant=${user}` : '?tenant=public'
      t.match(await sendRequest(app, path + query, { 'x-user': user }), { body: user, status: /fwd=bypass/ }, path)
    }
  }
})

t.test('cache distinguishes schema defaults from values that a hook sets instead', async (t) => {
  const app = await cachingApp(t)
  const schema = { querystring: { type: 'object', properties: { limit: { type: 'integer', default: 20 }, tenant: { type: 'string' } } } }
  const strict = { querystring: { ...schema.querystring, additionalProperties: false } }
  const tenanted = async (request: FastifyRequest) => { Object.assign(request.query as object, { tenant: user(request) }) }
  const echo = async (request: FastifyRequest) => request.query
  app.get('/loose', { schema, config: { cache } }, echo)
  app.get('/strict', { schema: strict, config: { cache } }, echo)
  app.get('/tenant', { schema: strict, config: { cache }, preHandler: tenanted }, echo)

  for (const url of ['/loose', '/loose?limit=7', '/strict', '/strict?junk=1']) t.match(await sendRequest(app, url), { statusCode: 200, status: /stored|hit/ }, url)
  for (const user of ['alice', 'bob']) t.match(await sendRequest(app, '/tenant', { 'x-user': user }), { body: user, status: /detail=unkeyed/ })
})

t.test('cache does not store a response that depends on the validation of unkeyed fields', async (t) => {
  const app = await cachingApp(t)
  const schema = { headers: { type: 'object', properties: { 'x-count': { type: 'integer' } } } }
  app.get('/fields', { attachValidation: true, schema, config: { cache } }, async ({ validationError }) => validationError?.message ?? 'fine')
  app.get('/query', { attachValidation: true, schema: { querystring: schema.headers }, config: { cache } }, async ({ validationError }) => validationError?.message ?? 'fine')

  t.match(await sendRequest(app, '/fields', { 'x-count': 'many' }), { body: 'must be integer', status: /detail=unkeyed/ })
  t.match(await sendRequest(app, '/fields', { 'x-count': '1' }), { body: 'fine', status: /detail=unkeyed/ })
  t.match(await sendRequest(app, '/query?x-count=many'), { body: 'must be integer', status: /stored/ })
})

t.test('cache does not store a response that depends on a validation error that a hook has set, also where the route attaches its own', async (t) => {
  const app = await cachingApp(t)
  const schema = { querystring: { type: 'object', properties: { count: { type: 'integer' } } } }
  const put = async (request: FastifyRequest) => { Object.assign(request, { validationError: new Error(user(request)) }) }
  for (const hook of ['onRequest', 'preValidation', 'preHandler'] as const) {
    app.get(`/${hook}`, { attachValidation: true, schema, config: { cache }, [hook]: put }, async ({ validationError }) => validationError?.message)
  }

  for (const hook of ['onRequest', 'preValidation', 'preHandler']) {
    for (const user of ['alice', 'bob']) t.match(await sendRequest(app, `/${hook}?count=1`, { 'x-user': user }), { body: user, status: /detail=unkeyed/ }, `${hook}: ${user}`)
  }
})

t.test('a request or reply that a hook has sealed is served and not cached', async (t) => {
  const app = await cachingApp(t)
  const objects: Record<string, (request: FastifyRequest, reply: FastifyReply) => object> = { request: (request) => request, reply: (_request, reply) => reply, raw: ({ raw }) => raw }
  for (const [name, of] of Object.entries(objects)) {
    for (const seal of [Object.preventExtensions, Object.seal]) {
      app.get(`/untracked/${name}/${seal.name}`, { config: { cache: { trackInputs: false } }, preHandler: async (request, reply) => { seal(of(request, reply)) } }, async (request) => user(request))
      app.get(`/${name}/${seal.name}`, { config: { cache }, preHandler: async (request, reply) => { seal(of(request, reply)) } }, async (request) => user(request))
    }
  }

  for (const url of Object.keys(objects).flatMap((name) => ['', '/untracked'].flatMap((scope) => [`${scope}/${name}/preventExtensions`, `${scope}/${name}/seal`]))) {
    for (const user of ['alice', 'bob']) t.match(await sendRequest(app, url, { 'x-user': user }), { statusCode: 200, body: user, status: /fwd=bypass; detail=unkeyed/ }, `${url}: ${user}`)
  }
})

t.test('cache accepts only a text as the name of a partition', async (t) => {
  const app = await cachingApp(t)
  const named = (path: string, partition: unknown) => app.get(path, { config: { cache: { partition: partition as () => string } } }, async (request) => String(request.headers.authorization))
  named('/promised', async (request: FastifyRequest) => request.headers.authorization)
  named('/null', () => null)
  named('/object', (request: FastifyRequest) => ({ id: request.headers.authorization }))
  named('/number', () => 7)

  for (const authorization of ['alice', 'bob']) {
    t.match(await sendRequest(app, '/null', { authorization }), { body: authorization, status: /fwd=bypass; detail=partition/ })
    for (const url of ['/promised', '/object']) {
      const { statusCode, body } = await sendRequest(app, url, { authorization })
      t.equal(statusCode, 500, url)
      t.match(body, /PRISM_ERR_OPTION/, url)
      t.notMatch(body, authorization, url)
    }
  }
  t.match((await sendRequest(app, '/number', { authorization: 'alice' })).status, /stored/)
})

t.test('cache separates partitions and tags that end in a lone surrogate', async (t) => {
  const app = await cachingApp(t)
  // A client can send such text as JSON, for example into its session.
  const names: Record<string, string> = { a: 'x\ud800', b: 'x\ud801', c: 'x\ufffd', d: 'x%ud800' }
  let runs = 0
  const nameOf = (request: FastifyRequest) => names[user(request)] ?? ''
  app.get('/own', { config: { cache: { partition: nameOf, tags: (request) => [`user:${nameOf(request)}`] } } }, async () => `run ${++runs}`)

  for (const [index, name] of Object.keys(names).entries()) t.match(await sendRequest(app, '/own', { 'x-user': name }), { statusCode: 200, body: `run ${index + 1}`, status: /stored/ })
  for (const [index, name] of Object.keys(names).entries()) t.match(await sendRequest(app, '/own', { 'x-user': name }), { body: `run ${index + 1}`, status: /hit/ })
  await app.cache.purge(`user:${names.a}`)
  t.match((await sendRequest(app, '/own', { 'x-user': 'a' })).status, /fwd/)
})

t.test('cache treats a semicolon in the query as the router does', async (t) => {
  const app = await cachingApp(t, { server: { routerOptions: { useSemicolonDelimiter: true } as object } })
  app.get('/', { config: { cache: { query: ['a'] } } }, async ({ query }) => query)

  await sendRequest(app, '/;a=1?b=evil')

  t.same(JSON.parse((await sendRequest(app, '/;a=1')).body), { a: '1' })
})
