import cookie from '@fastify/cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Readable } from 'node:stream'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { plainFetch } from '../support/plain-fetch.ts'

type Way = (request: FastifyRequest, reply: FastifyReply, name: string) => unknown

/** Request fields that are part of no cache key unless they are configured. */
const fields = {
  host: 'evil.example',
  'x-forwarded-host': 'evil.example',
  'x-forwarded-proto': 'evil',
  'x-forwarded-for': '6.6.6.6',
  forwarded: 'for=6.6.6.6;host=evil.example',
  'x-original-url': '/evil',
  'x-rewrite-url': '/evil',
  'x-http-method-override': 'EVIL',
  'accept-language': 'evil',
  accept: 'application/evil',
  'user-agent': 'evil',
  cookie: 'who=evil',
  authorization: 'Bearer evil',
  origin: 'https://evil.example',
  referer: 'https://evil.example/',
  'x-evil-custom': 'evil'
}

const evil = /evil|6\.6\.6\.6/i

const descriptor = (of: object, name: string) => (Object.getOwnPropertyDescriptor(of, name) as { value?: unknown } | undefined)?.value

/** Every way in which Fastify and JavaScript read a request field. */
const ways: Record<string, Way> = {
  'by its name': (request, _reply, name) => request.headers[name],
  'by Reflect.get': (request, _reply, name) => Reflect.get(request.headers, name),
  'by its descriptor': (request, _reply, name) => descriptor(request.headers, name),
  'by a rest': ({ headers: { accept, ...rest } }, _reply, name) => name === 'accept' ? accept : rest[name],
  'by a spread': (request, _reply, name) => ({ ...request.headers })[name],
  'by Object.assign': (request, _reply, name) => (Object.assign({}, request.headers) as Record<string, unknown>)[name],
  'by entries': (request, _reply, name) => Object.entries(request.headers).find(([each]) => each === name)?.[1],
  'by values': (request) => Object.values(request.headers).join(),
  'by a loop': (request, _reply, name) => { for (const each in request.headers) if (each === name) return request.headers[each] },
  'by JSON': (request) => JSON.stringify(request.headers),
  'by structuredClone of a copy': (request, _reply, name) => (structuredClone({ ...request.headers }) as Record<string, unknown>)[name],
  'by Headers': (request, _reply, name) => new Headers(request.headers as Record<string, string>).get(name),
  'by a class on top': (request, _reply, name) => (Object.create(request) as FastifyRequest).headers[name],
  'by request.raw': (request, _reply, name) => request.raw.headers[name],
  'by lines of request.raw': (request, _reply, name) => request.raw.rawHeaders[request.raw.rawHeaders.findIndex((each) => each.toLowerCase() === name) + 1],
  'by distinct fields of request.raw': (request, _reply, name) => request.raw.headersDistinct?.[name],
  'by reply.request': (_request, reply, name) => reply.request.headers[name],
  'by reply.raw.req': (_request, reply, name) => reply.raw.req.headers[name],
  'by what a hook copied to the request': (request) => (request as unknown as { copied: string }).copied,
  'by what a hook copied to the reply': (_request, reply) => (reply as unknown as { copied: string }).copied,
  'by what a hook said in a field of the reply': (_request, reply) => reply.getHeader('x-seen'),
  'by a getter of the request': (request) => (request as unknown as { seen: string }).seen,
  'by a getter of the reply': (_request, reply) => (reply as unknown as { seen: string }).seen,
  'by a method of the request': (request) => (request as unknown as { all: () => string }).all(),
  'by a method of the reply': (_request, reply) => (reply as unknown as { all: () => string }).all()
}

t.test('cache does not store a response that depends on an unkeyed request field, whichever way the field is read', async (t) => {
  const app = await cachingApp(t, { server: { trustProxy: true } })
  const written = (request: FastifyRequest) => JSON.stringify(request.headers)
  app.decorateRequest('copied', '')
  app.decorateReply('copied', '')
  app.decorateRequest('seen', { getter (this: FastifyRequest) { return written(this) } })
  app.decorateReply('seen', { getter (this: FastifyReply) { return written(this.request) } })
  app.decorateRequest('all', function all (this: FastifyRequest) { return written(this) })
  app.decorateReply('all', function all (this: FastifyReply) { return written(this.request) })
  app.addHook('onRequest', async (request, reply) => {
    Object.assign(request, { copied: written(request) })
    Object.assign(reply, { copied: written(request) })
    reply.header('x-seen', encodeURIComponent(written(request)))
  })
  const names = Object.keys(ways)
  for (const [index, way] of Object.values(ways).entries()) {
    app.get(`/${index}/:name`, { config: { cache: true } }, async (request, reply) => ({ echo: await way(request, reply, (request.params as { name: string }).name) ?? null }))
  }

  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const send = async (url: string, headers: [string, string][]) => {
    const reply = await plainFetch(origin + url, { headers })
    return { body: await reply.text(), status: reply.headers.get('cache-status') ?? '' }
  }

  await Promise.all(names.map(async (way, index) => {
    for (const name of Object.keys(fields)) {
      const poisoned = await send(`/${index}/${name}`, Object.entries(fields))
      const victim = await send(`/${index}/${name}`, [])
      if (!evil.test(poisoned.body)) t.fail(`${name} ${way}: was not echoed, so nothing is shown: ${poisoned.body}`)
      if (!poisoned.status.endsWith('; detail=unkeyed')) t.fail(`${name} ${way}: ${poisoned.status}`)
      if (evil.test(victim.body) || /hit/.test(victim.status)) t.fail(`${name} ${way}: was served to another client`)
    }
  }))
  t.equal(app.cache.counts.write, 0, `${names.length} ways to read ${Object.keys(fields).length} fields`)
})

t.test('cache does not store a response that depends on a cookie, whichever way of @fastify/cookie reads it', async (t) => {
  const app = await cachingApp(t)
  await app.register(cookie, { secret: 'a secret' })
  app.get('/cookies', { config: { cache: true } }, async (request) => request.cookies.who ?? 'anonymous')
  app.get('/signed', { config: { cache: true } }, async (request) => request.unsignCookie(request.cookies.who ?? '').valid ? 'valid' : 'not')
  app.get('/parsed', { config: { cache: true } }, async (request) => app.parseCookie(request.headers.cookie ?? '').who ?? 'anonymous')

  for (const path of ['/cookies', '/signed', '/parsed']) {
    t.match((await app.inject({ url: path, headers: { cookie: 'who=evil' } })).headers['cache-status'], /detail=unkeyed/, path)
    t.notMatch((await app.inject(path)).headers['cache-status'], /hit/, path)
  }
})

t.test('cache does not store a response in which a serialiser or an earlier hook used a request field', async (t) => {
  const app = await cachingApp(t)
  const config = { cache: true }
  const tail = (request: FastifyRequest) => ` for ${String(request.headers.origin)}`
  app.get('/serializer', { config }, async (request, reply) => reply.type('text/evil').serializer((payload: unknown) => JSON.stringify(payload) + tail(request)).send({ a: 1 }))
  app.get('/compiler', { config, serializerCompiler: () => (payload) => JSON.stringify(payload), preSerialization: async (request, _reply, payload) => ({ ...payload as object, to: tail(request) }) }, async () => ({ a: 1 }))
  app.get('/toJSON', { config }, async (request) => ({ toJSON: () => ({ to: tail(request) }) }))
  app.get('/stream', { config }, async (request, reply) => reply.type('text/plain').send(Readable.from([tail(request)])))

  for (const path of ['/serializer', '/compiler', '/toJSON', '/stream']) {
    const poisoned = await app.inject({ url: path, headers: { origin: 'https://evil.example' } })
    t.match(poisoned.body, 'evil', path)
    t.match(poisoned.headers['cache-status'], /detail=unkeyed/, path)
    t.notMatch((await app.inject(path)).body, 'evil', path)
  }
})

t.test('cache does not store a stream that reads a request field while it is sent, and ignores reads of hooks meanwhile', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onSend', async (request) => { await Promise.resolve(request.headers.origin) })
  app.addHook('onResponse', async (request) => { await Promise.resolve(request.headers.origin) })
  const streams: Record<string, (request: FastifyRequest) => AsyncGenerator<string>> = {
    '/shaped': async function * (request) {
      yield 'for '
      await new Promise((resolve) => setImmediate(resolve))
      yield String(request.headers.origin)
    },
    '/fine': async function * () {
      yield 'for '
      await new Promise((resolve) => setImmediate(resolve))
      yield 'all'
    }
  }
  for (const [path, stream] of Object.entries(streams)) app.get(path, { config: { cache: true } }, async (request, reply) => reply.type('text/plain').send(Readable.from(stream(request))))

  for (const path of Object.keys(streams)) {
    t.equal((await app.inject({ url: path, headers: { origin: 'https://evil.example' } })).body, path === '/fine' ? 'for all' : 'for https://evil.example')
    await stored(app)
  }

  t.equal((await app.inject('/shaped')).body, 'for undefined')
  t.equal(app.cache.counts.write, 1)
  t.match((await app.inject('/fine')).headers['cache-status'], /hit/)
})

t.test('cache stores no response that a client can change by unkeyed input', async (t) => {
  const app = await cachingApp(t, { server: { trustProxy: true } })
  let runs = 0
  app.get('/', { config: { cache: true } }, async () => `run ${++runs}`)
  await app.inject('/')
  await stored(app)

  for (const [name, value] of Object.entries(fields)) {
    const reply = await app.inject({ url: '/', headers: { [name]: value } })
    t.match([reply.body, reply.headers['cache-status']], ['run 1', /hit/], name)
  }
})
