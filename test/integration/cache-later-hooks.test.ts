import { Readable } from 'node:stream'
import fastify from 'fastify'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t from 'tap'
import cache from '../../plugins/cache.ts'
import redis from '../../plugins/redis.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { cachingApp, stored } from '../support/caching.ts'

// onSend hooks that are registered after the cache receive on a hit what they received on the miss.

const page = `<body>${'<p>x</p>'.repeat(300)}</body>`
type Change = (payload: unknown, reply: FastifyReply) => unknown
type Where = 'scope' | 'route' | 'later onRoute hook'

const payloads: Record<string, (reply: FastifyReply) => unknown> = {
  string: (reply) => reply.type('text/html').send(page),
  Buffer: (reply) => reply.type('text/html').send(Buffer.from(page)),
  Readable: (reply) => reply.type('text/html').send(Readable.from([Buffer.from(page)])),
  undefined: (reply) => reply.code(204).send(),
  null: (reply) => reply.type('text/html').send(null)
}
const typeOf = (payload: unknown) => payload == null ? String(payload) : typeof payload === 'string' ? 'string' : Buffer.isBuffer(payload) ? 'Buffer' : 'Readable'

async function hookedApp (owner: Owner, change: Change, { where = 'scope', send = payloads.string }: { where?: Where, send?: ((reply: FastifyReply) => unknown) | undefined } = {}) {
  const app = await cachingApp(owner)
  const onSend = async (_request: unknown, reply: FastifyReply, payload: unknown) => change(payload, reply)
  if (where === 'scope') app.addHook('onSend', onSend)
  if (where === 'later onRoute hook') app.addHook('onRoute', (route) => { route.onSend = [route.onSend ?? [], onSend].flat() })
  app.get('/page', { config: { cache: { ttl: '5m' } }, ...where === 'route' ? { onSend } : {} }, (_request, reply) => send?.(reply))
  return app
}

const sendRequest = async (app: FastifyInstance, headers: Record<string, string> = {}) => {
  const response = await app.inject({ url: '/page', headers })
  await stored(app)
  return response
}
const replace: Change = (payload) => (payload as string).replace('</body>', '<script></script></body>')

t.test('an onSend hook after the cache receives the same type of payload on a hit as on the miss', async (t) => {
  for (const where of ['scope', 'route', 'later onRoute hook'] as const) {
    for (const [type, send] of Object.entries(payloads)) {
      const seen: string[] = []
      const app = await hookedApp(t, (payload) => { seen.push(typeOf(payload)); return payload }, { where, send })
      const responses = [await sendRequest(app), await sendRequest(app), await sendRequest(app, { 'accept-encoding': 'br' })]
      t.same(seen, [type, type, type], `${where}: ${type}`)
      t.match(responses[1]?.headers['cache-status'], /hit/)
      for (const { body, headers } of responses) t.match({ body, headers }, { body: type === 'undefined' || type === 'null' ? '' : page, headers: { 'content-encoding': undefined } })
    }
  }
})

t.test('an onSend hook after the cache changes the body on a hit as on the miss, and the response has no entity tag of the cache', async (t) => {
  for (const where of ['scope', 'route', 'later onRoute hook'] as const) {
    const app = await hookedApp(t, replace, { where })
    const changed = replace(page, {} as FastifyReply)
    for (const headers of [{}, {}, { 'accept-encoding': 'br' }, { 'if-none-match': '"x"' }, { range: 'bytes=0-9' }] as Record<string, string>[]) {
      t.match(await sendRequest(app, headers), { statusCode: 200, body: changed, headers: { etag: undefined } }, `${where}: ${JSON.stringify(headers)}`)
    }
  }
})

t.test('an onSend hook that changes the body for each response never lets one entity tag name two bodies', async (t) => {
  let isChanged = false
  const app = await hookedApp(t, (payload, reply) => isChanged ? replace(payload, reply) : payload)
  const tag = String((await sendRequest(app)).headers.etag)
  t.match(tag, /^"/)
  t.match(await sendRequest(app, { 'if-none-match': tag }), { statusCode: 304, body: '' })
  t.match(await sendRequest(app, { range: 'bytes=0-5' }), { statusCode: 206, body: '<body>' })

  isChanged = true
  t.match(await sendRequest(app, { 'if-none-match': tag }), { statusCode: 200, headers: { etag: undefined } })
  t.match(await sendRequest(app, { range: 'bytes=0-5' }), { statusCode: 200, headers: { 'content-range': undefined } })
})

t.test('an entity tag of the handler is sent and evaluated although a hook changes the body', async (t) => {
  const app = await hookedApp(t, replace, { send: (reply) => reply.header('etag', '"own"').type('text/html').send(page) })
  for (let turn = 0; turn < 2; turn++) {
    t.match(await sendRequest(app), { statusCode: 200, headers: { etag: '"own"' } })
    t.match(await sendRequest(app, { 'if-none-match': '"own"' }), { statusCode: 304, body: '' })
  }
})

t.test('HEAD of a route with an onSend hook after the cache has no entity tag that GET does not have', async (t) => {
  const app = await hookedApp(t, replace)
  for (let turn = 0; turn < 2; turn++) {
    await sendRequest(app)
    t.match(await app.inject({ method: 'HEAD', url: '/page' }), { statusCode: 200, body: '', headers: { etag: undefined, 'content-length': String(page.length + 17) } })
  }
})

t.test('a stale response that replaces an error, or is validated, passes the hooks as on a miss', async (t) => {
  const app = await cachingApp(t)
  let status = 200
  app.addHook('onSend', async (_request, _reply, payload) => (payload as string | undefined)?.replace('</body>', '!</body>'))
  app.get('/page', { config: { cache: { ttl: '5m', tags: ['page'], staleIfError: '1h' } } }, async (_request, reply) => status === 304 ? reply.code(304).send() : reply.code(status).type('text/html').header('etag', '"own"').send(page))
  await sendRequest(app)
  for (status of [500, 304]) {
    await app.cache.purge('page', { soft: true })
    t.match(await sendRequest(app), { statusCode: 200, body: page.replace('</body>', '!</body>') }, `after ${status}`)
  }
})

t.test('without onSend hooks after the cache, responses are stored compressed and sent with an entity tag', async (t) => {
  const app = await cachingApp(t)
  app.get('/page', { config: { cache: { ttl: '5m' } } }, (_request, reply) => reply.type('text/html').send(page))
  await sendRequest(app)
  t.match((await sendRequest(app, { 'accept-encoding': 'br' })).headers, { 'content-encoding': 'br', etag: /-br"$/ })
})

t.test('HEAD of a route whose handler sends nothing is a hit, whatever the payload of GET was', async (t) => {
  for (const send of [payloads.undefined, payloads.null]) {
    const app = await hookedApp(t, (payload) => payload, { send })
    await sendRequest(app)
    t.match(await app.inject({ method: 'HEAD', url: '/page' }), { statusCode: send === payloads.null ? 200 : 204, headers: { 'cache-status': /hit/ } })
  }
})

t.test('a hit has no Content-Type that the miss did not have', async (t) => {
  for (const isHooked of [false, true]) {
    const app = await cachingApp(t)
    if (isHooked) app.addHook('onSend', async (_request, _reply, payload) => payload)
    const payloads = { stream: () => Readable.from(['<h1>hello</h1>']), empty: () => undefined, text: () => 'x', bytes: () => Buffer.from('x'), json: () => ({ a: 1 }) }
    for (const [name, payload] of Object.entries(payloads)) app.get(`/${name}`, { config: { cache: true } }, (_request, reply) => reply.send(payload()))
    for (const name of Object.keys(payloads)) {
      const first = await app.inject(`/${name}`)
      await stored(app)
      for (const headers of [{}, { range: 'bytes=0-0' }] as Record<string, string>[]) {
        const hit = await app.inject({ url: `/${name}`, headers })
        t.match(hit.headers['cache-status'], /hit/)
        t.equal(hit.headers['content-type'], first.headers['content-type'], `${name}${isHooked ? ', with a hook' : ''}`)
      }
    }
  }
})

t.test('a tracing agent that wraps hooks does not make the stack look like a later hook', async (t) => {
  const app = fastify()
  t.after(() => app.close())
  const { addHook } = app
  app.addHook = function (this: FastifyInstance, name: string, hook: (...given: unknown[]) => unknown) {
    const wrapped = name === 'onSend' ? function (this: unknown, ...given: unknown[]) { return hook.apply(this, given) } : hook
    return (addHook as (name: string, hook: unknown) => FastifyInstance).call(this, name, wrapped)
  } as typeof addHook
  await app.register(redis, { url: (await startRedisProcess(t)).url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(cache)
  app.register(async (scope) => { scope.get('/page', { config: { cache: { ttl: '5m' } } }, (_request, reply) => reply.type('text/html').send(page)) })
  await sendRequest(app)
  t.match((await sendRequest(app, { 'accept-encoding': 'br' })).headers, { 'content-encoding': 'br', etag: /-br"$/ })
})
