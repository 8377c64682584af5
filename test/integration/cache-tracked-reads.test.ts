import { AsyncLocalStorage } from 'node:async_hooks'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import cachePlugin from '../../plugins/cache.ts'
import redis from '../../plugins/redis.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import { commandTimeout } from '../support/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { reached } from '../support/wait-for-redis.ts'

const cache = true
type SendRequest = (url: string, headers?: Record<string, string>) => Promise<{ body: string, status: string }>

/** Sends requests over a socket, because a message of `inject` has other properties; waits until the response is stored. */
async function senderFor (app: FastifyInstance): Promise<SendRequest> {
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  return async (url, headers = {}) => {
    const response = await fetch(origin + url, { headers })
    const body = await response.text()
    await stored(app)
    return { body, status: String(response.headers.get('cache-status')) }
  }
}

/** The same request of two clients: the second must not get what was made for the first. */
async function staysApart (t: Test, sendRequest: SendRequest, url: string): Promise<void> {
  const [admin, guest] = [await sendRequest(url, { 'x-user': 'admin' }), await sendRequest(url, { 'x-user': 'guest' })]
  t.match(admin, { body: /admin/, status: /detail=unkeyed/ }, url)
  t.match(guest, { body: /guest/, status: /detail=unkeyed/ }, url)
}

const userOf = (request: FastifyRequest) => String(request.headers['x-user'])
const asUser = (request: FastifyRequest) => request as FastifyRequest & { user: string }
const asMessage = (request: FastifyRequest) => request.raw as typeof request.raw & Record<PropertyKey, unknown>

t.test('cache tracks the serializers and hooks that make the stored bytes of a response', async (t) => {
  const { url } = await startRedisProcess(t)
  const app: FastifyInstance = fastify()
  t.teardown(() => app.close())
  app.decorateRequest('user', '')
  app.addHook('onRequest', async (request) => { asUser(request).user = userOf(request) })
  app.addHook('onSend', async (request, _reply, payload) => request.url === '/on-send' ? `${String(payload)} ${asUser(request).user}` : payload)
  await app.register(redis, { url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(cachePlugin)
  await reached(app)
  const secrets = { name: 'x', salary: 100 }
  const filtered: RouteShorthandOptions = { preSerialization: async (request, _reply, payload) => ({ ...payload as object, to: asUser(request).user, salary: asUser(request).user === 'admin' ? 100 : undefined }) }
  app.get('/role-filter', { ...filtered, config: { cache } }, async () => secrets)
  app.get('/serializer', { config: { cache } }, async (request, reply) => reply.serializer((payload: object) => JSON.stringify({ ...payload, to: asUser(request).user })).send({ a: 1 }))
  app.get('/on-send', { config: { cache } }, async () => 'sent to')
  app.get('/public', { config: { cache } }, async () => secrets)
  const sendRequest = await senderFor(app)

  for (const path of ['/role-filter', '/serializer', '/on-send']) await staysApart(t, sendRequest, path)
  t.notMatch((await sendRequest('/role-filter', { 'x-user': 'guest' })).body, /salary/)
  await sendRequest('/public', { 'x-user': 'admin' })
  t.match((await sendRequest('/public', { 'x-user': 'guest' })).status, /hit/)
})

const key = Symbol('of the app')

/** Ways to read an input through the raw message. */
const rawReads: Record<string, (request: FastifyRequest, reply: FastifyReply) => unknown> = {
  header: ({ raw }) => raw.headers['x-user'],
  'header lines': ({ raw }) => raw.rawHeaders.join(),
  'header of the reply\'s message': (_request, reply) => reply.raw.req.headers['x-user'],
  'property of middleware': (request) => asMessage(request).user,
  'symbol of middleware': (request) => asMessage(request)[key],
  'symbol on the request': (request) => (request as unknown as Record<symbol, unknown>)[key],
  'a reference that is kept': async ({ raw }) => {
    await new Promise((resolve) => setImmediate(resolve))
    return raw.headers['x-user']
  },
  stream: ({ raw }) => Readable.from((async function * () { yield `for ${String(raw.headers['x-user'])}` })())
}

t.test('cache tracks reads through request.raw, and not the use of request.raw itself', async (t) => {
  const app = await cachingApp(t)
  const ofRequest = new WeakMap<object, string>()
  const context = new AsyncLocalStorage<object>()
  app.addHook('onRequest', (request, _reply, done) => {
    Object.assign(asMessage(request), { user: userOf(request), [key]: userOf(request) })
    Object.assign(request, { [key]: userOf(request) })
    ofRequest.set(request.raw, 'known')
    context.run(request.raw, done)
  })
  for (const [index, read] of Object.values(rawReads).entries()) app.get(`/${index}`, { config: { cache } }, async (request, reply) => reply.type('text/plain').send(await read(request, reply)))
  app.get('/reference', { config: { cache } }, async (request, reply) => [ofRequest.get(request.raw), request.raw === context.getStore(), request.raw === reply.raw.req, request.raw.method, request.raw.url])
  const sendRequest = await senderFor(app)

  for (const index of Object.keys(Object.keys(rawReads))) {
    const [admin, guest] = [await sendRequest(`/${index}`, { 'x-user': 'admin' }), await sendRequest(`/${index}`, { 'x-user': 'guest' })]
    t.match([admin.body, guest.body], [/admin/, /guest/], String(Object.keys(rawReads)[Number(index)]))
    t.notMatch(guest.status, /hit/)
  }
  t.match(await sendRequest('/reference'), { body: '["known",true,true,"GET","/reference"]', status: /stored/ })
  t.match((await sendRequest('/reference')).status, /hit/)
})

t.test('cache shares no response of a serializer that a hook has chosen for the request', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (request, reply) => {
    const user = userOf(request)
    if (request.url === '/') reply.serializer((payload: object) => JSON.stringify({ ...payload, to: user }))
  })
  app.get('/', { config: { cache } }, async () => ({ a: 1 }))
  app.get('/own', { config: { cache } }, async (_request, reply) => reply.serializer(JSON.stringify).send({ a: 1 }))
  const sendRequest = await senderFor(app)

  await staysApart(t, sendRequest, '/')
  for (const status of [/stored/, /hit/]) t.match((await sendRequest('/own')).status, status)
})

t.test('cache lets a header that is read through request.raw vary the response', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: { vary: ['x-user'] } } }, async ({ raw }) => raw.headers['x-user'])
  const sendRequest = await senderFor(app)

  for (const status of [/stored/, /hit/]) for (const user of ['admin', 'guest']) t.match(await sendRequest('/', { 'x-user': user }), { body: user, status })
})

t.test('cache gives the message back as it was, with what was written to it', async (t) => {
  const app = await cachingApp(t)
  const seen: unknown[] = []
  app.addHook('preHandler', async (request) => { Object.assign(asMessage(request), { kept: 1, removed: 1 }) })
  app.addHook('onResponse', async (request) => {
    const raw = asMessage(request)
    seen.push(raw.kept, 'removed' in raw, raw.added, Object.getOwnPropertyDescriptor(raw, 'kept'), raw.constructor.name, raw.socket === raw.connection)
  })
  app.get('/', { config: { cache } }, async (request) => {
    const raw = asMessage(request)
    delete raw.removed
    Object.assign(raw, { kept: 2, added: 3 })
    return 'x'
  })
  const sendRequest = await senderFor(app)

  t.match((await sendRequest('/')).status, /stored/)
  t.same(seen, [2, false, 3, { value: 2, configurable: true, enumerable: true, writable: true }, 'IncomingMessage', true])
})

t.test('cache does not track what a log line reads', async (t) => {
  const lines: { req?: { remoteAddress?: string } }[] = []
  const app = await cachingApp(t, { server: { logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line) as object) } } } } })
  app.get('/', { config: { cache } }, async (request, reply) => {
    request.log.info({ req: request }, 'of the request')
    request.log.child({ part: 'handler' }).warn({ req: request, res: reply }, 'of a child')
    reply.log.info({ req: request }, 'of the reply')
    return 'x'
  })
  app.get('/read', { config: { cache } }, async (request) => {
    request.log.info({ req: request }, 'then it reads')
    return request.headers['x-user']
  })
  const sendRequest = await senderFor(app)

  await sendRequest('/')
  t.match((await sendRequest('/')).status, /hit/)
  t.equal(lines.filter(({ req }) => req?.remoteAddress === '127.0.0.1').length >= 3, true)
  await staysApart(t, sendRequest, '/read')
})

t.test('cache tracks what a wrapper that the app puts around reply.send reads', async (t) => {
  const app = await cachingApp(t)
  app.addHook('preHandler', async (request, reply) => {
    const { send } = reply
    const user = userOf(request)
    reply.send = (payload?: unknown) => send.call(reply, `${String(payload)} ${user}`)
  })
  app.get('/', { config: { cache } }, async () => 'for')
  await staysApart(t, await senderFor(app), '/')
})

t.test('cache adds what a handler varies by to what hooks have set', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (request, reply) => { reply.header('vary', 'Origin').header('x-for', userOf(request)) })
  app.get('/', { config: { cache: { vary: ['accept-language'] } } }, async (request, reply) => {
    const before = reply.getHeader('vary')
    reply.header('vary', before === undefined ? 'Accept-Language' : `${String(before)}, Accept-Language`)
    return request.headers['accept-language']
  })
  app.get('/read', { config: { cache } }, async (_request, reply) => reply.getHeader('x-for'))
  for (const outcome of [/stored/, /hit/]) {
    const { headers } = await app.inject({ url: '/', headers: { 'accept-language': 'de' } })
    await stored(app)
    t.match(headers, { vary: /^origin, accept-language$/i, 'cache-status': outcome })
  }
  await staysApart(t, await senderFor(app), '/read')
})

t.test('cache keeps pages with and without reply.locals apart', async (t) => {
  const app = await cachingApp(t)
  app.decorateReply('locals', null)
  app.addHook('preHandler', async (request, reply) => { Object.assign(reply, { locals: request.headers['x-user'] === undefined ? {} : { user: userOf(request) } }) })
  app.get('/', { config: { cache } }, async (_request, reply) => `for ${(reply as unknown as { locals: { user?: string } }).locals.user ?? 'all'}`)
  app.get('/plain', { config: { cache } }, async () => 'plain')
  const sendRequest = await senderFor(app)

  await sendRequest('/')
  t.match(await sendRequest('/'), { body: 'for all', status: /hit/ })
  await staysApart(t, sendRequest, '/')
  t.match(await sendRequest('/'), { body: 'for all', status: /hit/ })
  await sendRequest('/plain', { 'x-user': 'admin' })
  t.match((await sendRequest('/plain', { 'x-user': 'guest' })).status, /hit/, 'a handler that does not read them')
})

/** A plugin like @fastify/request-context: its exported object reads from a store of the request. */
function contextPlugin (members: 'get and getStore' | 'get alone') {
  const storage = new AsyncLocalStorage<Record<string, unknown>>()
  const get = (key: string) => storage.getStore()?.[key]
  const requestContext = members === 'get alone' ? { get } : { get, getStore: () => storage.getStore() }
  const register = (app: FastifyInstance) => {
    app.decorate('requestContext', requestContext as never)
    app.addHook('onRequest', (request, _reply, done) => { storage.run(request.headers['x-user'] === undefined ? {} : { user: userOf(request) }, done) })
  }
  return { storage, get, register }
}

t.test('cache tracks the store of a request context, and what is missing in it', async (t) => {
  const app = await cachingApp(t)
  const { storage, get, register } = contextPlugin('get and getStore')
  register(app)
  app.get('/get', { config: { cache } }, async () => `for ${String(get('user') ?? 'guest')}`)
  app.get('/store', { config: { cache } }, async () => `for ${String(storage.getStore()?.user ?? 'guest')}`)
  app.get('/own', { config: { cache } }, async () => {
    Object.assign(storage.getStore() ?? {}, { step: 'handler' })
    return String(get('step'))
  })
  app.get('/stream', { config: { cache } }, async (_request, reply) => reply.type('text/plain').send(Readable.from((async function * () { yield `for ${String(get('user') ?? 'guest')}` })())))
  app.get('/public-stream', { config: { cache } }, async (_request, reply) => reply.type('text/plain').send(Readable.from(['for all'])))
  const sendRequest = await senderFor(app)

  await sendRequest('/public-stream')
  t.match(await sendRequest('/public-stream'), { body: 'for all', status: /hit/ })
  for (const user of [undefined, 'admin', undefined]) t.match(await sendRequest('/stream', user === undefined ? {} : { 'x-user': user }), { body: `for ${user ?? 'guest'}`, status: /fwd=miss/ })
  for (const path of ['/get', '/store']) {
    t.match(await sendRequest(path), { body: 'for guest', status: /detail=unkeyed/ }, path)
    t.match(await sendRequest(path, { 'x-user': 'admin' }), { body: 'for admin', status: /detail=unkeyed/ }, path)
    t.match(await sendRequest(path), { body: 'for guest', status: /detail=unkeyed/ }, path)
  }
  await sendRequest('/own')
  t.match(await sendRequest('/own'), { body: 'handler', status: /hit/ }, 'what the handler itself has put in')
})

t.test('cache warns at start of a request context that it cannot track', async (t) => {
  for (const [members, count] of [['get and getStore', 0], ['get alone', 1]] as const) {
    const lines: { msg: string }[] = []
    const app = await cachingApp(t, { server: { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line) as { msg: string }) } } } } })
    contextPlugin(members).register(app)
    await app.ready()
    t.equal(lines.filter(({ msg }) => /request-context/.test(msg)).length, count, members)
  }
})

/** Reads of what a hook gives only to some clients. */
const optionalReads: Record<string, (request: FastifyRequest, reply: FastifyReply) => unknown> = {
  'property of the request': (request) => asUser(request).user,
  'presence of a property': (request) => 'user' in request,
  'symbol of the request': (request) => (request as unknown as Record<symbol, unknown>)[key],
  'property of the message': (request) => asMessage(request).user,
  'property of the reply': (_request, reply) => (reply as FastifyReply & { user?: string }).user
}

t.test('cache tracks reads of what no hook has set for this client, but may set for another', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (request, reply) => {
    if (userOf(request) === 'guest') for (const target of [request, request.raw, reply]) Object.assign(target, { user: 'restricted', [key]: 'restricted' })
  })
  for (const [index, read] of Object.values(optionalReads).entries()) app.get(`/${index}`, { config: { cache } }, async (request, reply) => ({ fields: read(request, reply) === undefined || read(request, reply) === false ? 'all' : 'few' }))
  app.get('/none', { config: { cache } }, async (request) => await Promise.resolve({ fields: request.method }))
  const sendRequest = await senderFor(app)

  for (const [index, name] of Object.keys(optionalReads).entries()) {
    t.match(await sendRequest(`/${index}`, { 'x-user': 'admin' }), { body: /all/, status: /detail=unkeyed/ }, name)
    t.match(await sendRequest(`/${index}`, { 'x-user': 'guest' }), { body: /few/ }, name)
  }
  await sendRequest('/none')
  t.match((await sendRequest('/none')).status, /hit/)
})
