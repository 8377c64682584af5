import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { FastifyHttpOptions, FastifyInstance, FastifyReply, FastifyRequest, RawServerDefault } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { until } from '../support/until.ts'

const server = { http2: true } as unknown as FastifyHttpOptions<RawServerDefault>

interface Response { status: number, cache: string, body: string }

/** An app with HTTP/2, a route whose handler waits at a gate, and a client. */
interface World {
  app: FastifyInstance
  client: ClientHttp2Session
  readonly runs: number
  open (): void
}

async function startWorld (owner: Owner, fills: number, handler: (request: FastifyRequest, reply: FastifyReply) => unknown): Promise<World> {
  const app = await cachingApp(owner, { server })
  app.setErrorHandler<Error & { statusCode?: number }>(({ statusCode = 200 }, _request, reply) => reply.code(statusCode).send('sorry'))
  const gate = Promise.withResolvers<void>()
  let runs = 0
  app.get('/', { config: { cache: { ttl: '5m', maxConcurrency: fills } } }, async (request, reply) => {
    runs++
    await gate.promise
    return await handler(request, reply)
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  owner.after(() => client.destroy())
  return { app, client, get runs () { return runs }, open: () => gate.resolve() }
}

async function read (stream: ClientHttp2Stream): Promise<Response> {
  const [[fields], body] = await Promise.all([once(stream, 'response') as Promise<[Record<string, string | number>]>, text(stream)])
  return { status: Number(fields[':status']), cache: String(fields['cache-status']), body }
}

/** Sends a request and resets its stream once the server has received it: the handler continues. */
async function requestAndReset ({ app, client }: World, fields: Record<string, string>): Promise<void> {
  const before = app.cache.counts.fill
  const gone = new Promise<void>((resolve) => app.server.once('request', (_request, response) => response.once('close', resolve)))
  const stream = client.request({ ':path': '/', ...fields })
  await until(() => app.cache.counts.fill > before, { what: 'the handler runs' })
  stream.close(constants.NGHTTP2_CANCEL)
  await gone
}

t.test('cache does not store a response that depends on unkeyed input, even if the stream was reset before', async (t) => {
  const world = await startWorld(t, 8, ({ headers }) => ({ of: headers['x-evil'] ?? 'anonymous' }))

  await requestAndReset(world, { 'x-evil': 'an attacker' })
  const waiting = read(world.client.request({ ':path': '/' }))
  await until(() => world.app.cache.counts.wait === 1, { what: 'a request waits for that run' })
  world.open()

  t.match(await waiting, { status: 200, body: '{"of":"anonymous"}' })
  t.match(await read(world.client.request({ ':path': '/' })), { cache: /detail=unkeyed/, body: '{"of":"anonymous"}' })
})

t.test('cache does not store a response of the error handler, even if the stream was reset before the handler failed', async (t) => {
  const world = await startWorld(t, 8, () => { throw new Error('expected failure') })
  await requestAndReset(world, {})
  world.open()

  t.match(await read(world.client.request({ ':path': '/' })), { body: 'sorry', cache: /detail=error/ })
})

t.test('cache runs the handler once if the stream of the leader is reset, and serves its response to all waiters', async (t) => {
  const world = await startWorld(t, 8, () => 'one run')

  await requestAndReset(world, {})
  const waiting = Array.from({ length: 3 }, () => read(world.client.request({ ':path': '/' })))
  await until(() => world.app.cache.counts.wait === 3, { what: 'three requests wait' })
  world.open()

  for (const each of await Promise.all(waiting)) t.match(each, { status: 200, body: 'one run' })
  t.equal(world.runs, 1)
})

t.test('cache runs no more concurrent handlers than its limit, however many streams are reset', async (t) => {
  const world = await startWorld(t, 2, ({ query }) => query)

  for (const n of ['1', '2']) await requestAndReset(world, { ':path': `/?n=${n}` })
  const third = await read(world.client.request({ ':path': '/?n=3' }))
  world.open()

  t.equal(third.status, 503)
  t.equal(world.runs, 2)
  await until(async () => (await read(world.client.request({ ':path': '/?n=4' }))).status === 200, { what: 'slots are free again' })
})

t.test('cache runs the handler again for a waiting request if the stream of the first request was reset', async (t) => {
  const world = await startWorld(t, 8, (_request, reply) => reply.type('text/plain').send(Readable.from(Array.from({ length: 5 }, () => 'x'.repeat(30_000)))))

  await requestAndReset(world, {})
  world.open()

  t.equal((await read(world.client.request({ ':path': '/' }))).body.length, 150_000)
  t.equal(world.runs, 2)
})

t.test('cache ends the fill of a hijacked reply whose stream was reset', async (t) => {
  const world = await startWorld(t, 1, (_request, reply) => reply.hijack())

  await requestAndReset(world, {})
  world.open()

  world.client.request({ ':path': '/?n=2' })
  await until(() => world.runs === 2, { what: 'the slot is free again' })
  t.match(world.app.cache.counts, { fill: 2, concurrency_rejected: 0 })
})

t.test('a GET with a body over HTTP/2 is neither stored nor served from the store, whether a length announces it or not', async (t) => {
  const app = await cachingApp(t, { server })
  app.addHttpMethod('GET', { hasBody: true, overrideExisting: true } as { hasBody: boolean })
  app.get('/', { config: { cache: true } }, async ({ body }) => ({ body: body ?? null }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.after(() => client.destroy())
  const send = (body?: string, fields = {}) => {
    const stream = client.request({ ':path': '/', ...body === undefined ? {} : { 'content-type': 'application/json' }, ...fields }, { endStream: body === undefined })
    if (body !== undefined) stream.end(body)
    return read(stream)
  }

  t.match(await send('{"q":"a"}'), { body: '{"body":{"q":"a"}}', cache: /detail=body/ })
  t.match(await send(), { body: '{"body":null}', cache: /fwd=miss/ })
  await stored(app)
  t.match(await send('{"q":"b"}'), { body: '{"body":{"q":"b"}}', cache: /detail=body/ })
  t.match(await send('{"q":"c"}', { 'content-length': '9' }), { body: '{"body":{"q":"c"}}', cache: /detail=body/ })
  t.match(await send(), { body: '{"body":null}', cache: /hit/ })
})

t.test('cache shares nothing that a handler has read from the response of HTTP/2, and what it reads of its state is no input', async (t) => {
  const app = await cachingApp(t, { server })
  const key = Symbol('of the app')
  app.addHook('onRequest', async ({ headers }, { raw }) => {
    const user = String(headers['x-user'])
    Object.assign(raw, { user, locals: { user }, [key]: user })
    raw.setHeader('x-role', user)
  })
  type Raw = ServerResponse & Record<PropertyKey, unknown> & { locals: { user: string } }
  const reads: Record<string, (raw: Raw) => unknown> = {
    property: (raw) => raw.user,
    symbol: (raw) => raw[key],
    locals: (raw) => raw.locals.user,
    header: (raw) => raw.getHeader('x-role'),
    headers: (raw) => raw.getHeaders()['x-role'],
    'names-of-headers': (raw) => raw.getHeaderNames(),
    socket: (raw) => raw.socket?.remotePort,
    stream: (raw) => (raw.stream as { id: number }).id
  }
  for (const [name, readRaw] of Object.entries(reads)) app.get(`/${name}`, { config: { cache: true } }, async (_request, { raw }) => ({ read: readRaw(raw as Raw) }))
  app.get('/state', { config: { cache: true } }, async (_request, { raw }) => {
    raw.setHeader('x-set', 'by the handler')
    return [raw.headersSent, raw.writableEnded, raw.statusCode, raw.getHeader('x-set')]
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.after(() => client.destroy())
  const send = async (path: string, user: string) => {
    const response = await read(client.request({ ':path': path, 'x-user': user }))
    await stored(app)
    return response
  }

  for (const name of Object.keys(reads)) for (const user of ['admin', 'guest']) t.match(await send(`/${name}`, user), { cache: /detail=unkeyed/ }, name)
  for (const cache of [/stored/, /hit/]) t.match(await send('/state', 'admin'), { body: '[false,false,200,"by the handler"]', cache })
})

t.test('pseudo-header fields that the key contains are no unkeyed inputs, and the remedy for the others is an option that the route accepts', async (t) => {
  const log: { read?: string, remedy?: string }[] = []
  const stream = { write: (line: string) => { log.push(JSON.parse(line) as object) } }
  const app = await cachingApp(t, { server: { ...server, logger: { level: 'warn', stream } } })
  for (const name of [':method', ':path', ':authority', ':scheme']) app.get(`/${name.slice(1)}`, { config: { cache: true } }, async ({ headers }) => headers[name])
  app.get('/hosted', { config: { cache: { hosts: ['a.example'] } } }, async ({ headers }) => headers[':authority'])
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.after(() => client.destroy())
  const send = async (path: string) => {
    const response = await read(client.request({ ':path': path, ':authority': 'a.example' }))
    await stored(app)
    return response
  }

  for (const cache of [/stored/, /hit/]) for (const path of ['/method', '/path', '/hosted']) t.match(await send(path), { cache }, path)
  for (const path of ['/authority', '/scheme']) t.match(await send(path), { cache: /detail=unkeyed/ }, path)
  t.match(log, [{ read: 'header :authority', remedy: "cache: { hosts: ['example.com'] }" }, { read: 'header :scheme', remedy: 'cache: { trackInputs: false }' }])
})

t.test('a run of a route without tracking hides the conditions of an HTTP/2 request, and restores them', async (t) => {
  for (const cache of [{ ttl: 'response' }, { trackInputs: false }] as const) {
    const app = await cachingApp(t, { server })
    const seen: unknown[] = []
    app.addHook('onResponse', async ({ headers }) => { seen.push(headers['if-none-match']) })
    app.get('/', { config: { cache } }, async ({ headers, raw }, reply) => {
      seen.push(headers['if-none-match'], raw.headers[':path'])
      return reply.headers({ 'cache-control': 'max-age=60', etag: '"v1"' }).send('page')
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const client = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    t.after(() => client.destroy())

    t.match(await read(client.request({ ':path': '/', 'if-none-match': '"v2"' })), { status: 200, body: 'page', cache: /stored/ })
    await stored(app)
    t.same(seen, [undefined, '/', '"v2"'])
    t.match(await read(client.request({ ':path': '/' })), { status: 200, cache: /hit/ })
    t.match(await read(client.request({ ':path': '/', 'if-none-match': '"v1"' })), { status: 304 })
  }
})
