import { Console } from 'node:console'
import { PassThrough } from 'node:stream'
import { inspect } from 'node:util'
import type { InspectOptions } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { injectOverHttp2 } from '../support/http2-inject.ts'

// Ways to read an input other than by its name. Each is requested three times: the first request of a route is tracked by other means than later ones.

type Read = (request: FastifyRequest, reply: FastifyReply) => unknown
type Record_ = Record<PropertyKey, unknown>
const asRecord = (target: object) => target as Record_
const clone = (fields: object) => structuredClone(fields) as Record_
const namesIn = (target: object) => {
  const names: string[] = []
  for (const name in target) names.push(name)
  return names.join()
}

const ofHeaders: Record<string, Read> = {
  'spread of headers': ({ headers }) => ({ ...headers })['x-user'],
  'JSON of headers': ({ headers }) => JSON.stringify(headers),
  'inspection of headers': ({ headers }) => inspect(headers),
  'inspection of what contains headers': ({ headers }) => inspect({ deep: { headers } }, { depth: 5 }),
  'clone of headers': ({ headers }) => clone(headers)['x-user'],
  'clone of what contains headers': ({ headers }) => (clone({ list: [headers] }).list as Record_[])[0]?.['x-user'],
  'for … in over headers': ({ headers }) => { for (const name in headers) if (name === 'x-user') return headers[name]; return 'none' },
  'entries of raw headers': ({ raw }) => Object.entries(raw.headers).join(),
  'distinct headers': ({ raw }) => raw.headersDistinct['x-user'],
  'header lines': ({ raw }) => raw.rawHeaders.join(),
  'inspection of the message': ({ raw }) => inspect(raw, { depth: 3 }),
  'message of the reply': (_request, reply) => inspect(reply.raw.req.headers),
  'request of the reply': (_request, reply) => reply.request.headers['x-user'],
  'header of a hook on the raw reply': (_request, reply) => reply.raw.getHeader('x-for'),
  'property of the raw reply': (_request, reply) => asRecord(reply.raw).user,
  'bindings of the log': ({ log }) => JSON.stringify((log as unknown as { bindings (): object }).bindings()),
  'bindings of a child of the log': (_request, { log }) => JSON.stringify((log.child({ part: 'x' }) as unknown as { bindings (): object }).bindings()),
  'inspection of the log': ({ log }) => inspect(log, { depth: 3 }),
  'inspection of what contains the log': (_request, { log }) => inspect({ log }, { depth: 5 }),
  'inspection of the log of a child': ({ log }) => inspect(log.child({ part: 'x' }), { depth: 3 }),
  'text of another console': (request) => {
    const text = new PassThrough()
    new Console(text).log(request.headers)
    return text.read()
  },
  'inspection of the request': (request) => inspect(request, { depth: 2 }),
  'a read after an await': async (request) => { await new Promise<void>((resolve) => { setImmediate(resolve) }); return request.headers['x-user'] },
  'a read in a timer': (request) => new Promise((resolve) => { setTimeout(() => { resolve(request.headers['x-user']) }, 5) }),
  'all own properties, by their names': (request) => inspect(Reflect.ownKeys(request).map((key) => asRecord(request)[key]), { depth: 4 }) + String(asRecord(request).user)
}

async function hookedApp (t: Parameters<typeof cachingApp>[0], reads: Record<string, Read>): Promise<(index: number, user: string) => Promise<{ body: string, status: string }>> {
  const app: FastifyInstance = await cachingApp(t, { server: { logger: { level: 'silent' } } })
  app.addHook('onRequest', async (request, reply) => {
    const user = String(request.headers['x-user'])
    for (const target of [request, reply.raw]) asRecord(target).user = user
    if (user === 'admin') asRecord(request).role = 'admin'
    reply.raw.setHeader('x-for', user)
    request.log = reply.log = request.log.child({ user })
  })
  for (const [index, read] of Object.values(reads).entries()) app.get(`/${index}`, { config: { cache: true } }, async (request, reply) => reply.type('text/plain').send(String(await read(request, reply))))
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  return async (index, user) => {
    const response = await fetch(`${origin}/${index}`, { headers: { 'x-user': user } })
    const body = await response.text()
    await stored(app)
    return { body, status: String(response.headers.get('cache-status')) }
  }
}

t.test('cache does not store what was read by listing, copying, printing or through another object', async (t) => {
  const sendRequest = await hookedApp(t, ofHeaders)
  for (const [index, name] of Object.keys(ofHeaders).entries()) {
    for (const user of ['admin', 'guest', 'admin', 'guest']) t.match(await sendRequest(index, user), { body: user, status: /detail=/ }, `${name}: ${user}`)
  }
})

/** Copies that pass the getters of a message: Node keeps its headers under symbols. */
const copies: Record<string, (raw: FastifyRequest['raw']) => unknown> = {
  'inspection without its own function': (raw) => inspect(raw, { depth: 3, customInspect: false }),
  'inspection by getters': (raw) => inspect(raw, { depth: 3, customInspect: false, getters: true }),
  spread: (raw) => inspect({ ...raw }, { depth: 3 }),
  'values of own symbols': (raw) => inspect(Object.getOwnPropertySymbols(raw).map((key) => (raw as unknown as Record<symbol, unknown>)[key])),
  'copy with the prototype': (raw) => JSON.stringify((Object.assign(Object.create(Object.getPrototypeOf(raw) as object) as object, raw) as FastifyRequest['raw']).headers ?? {})
}

t.test('cache shares no copy of a message with its headers, over HTTP/1.1 and HTTP/2', async (t) => {
  for (const http2 of [false, true]) {
    const app: FastifyInstance = await cachingApp(t, { server: (http2 ? { http2: true } : {}) as object })
    if (http2) injectOverHttp2(t, app)
    // Node keeps the headers once they have been read.
    app.addHook('onRequest', async ({ raw }) => [raw.headers, raw.headersDistinct])
    for (const [index, copy] of Object.values(copies).entries()) app.get(`/${index}`, { config: { cache: true } }, async ({ raw }, reply) => reply.type('text/plain').send(String(copy(raw))))
    const origin = http2 ? '' : await app.listen({ port: 0, host: '127.0.0.1' })
    const sendRequest = async (url: string, user: string) => {
      const headers = { 'x-user': user }
      const body = http2 ? (await app.inject({ url, headers })).body : await (await fetch(origin + url, { headers })).text()
      await stored(app)
      return body
    }
    for (const [index, name] of Object.keys(copies).entries()) {
      for (const [user, other] of [['admin', 'guest'], ['guest', 'admin'], ['admin', 'guest']] as const) t.notMatch(await sendRequest(`/${index}`, user), new RegExp(other), `${http2 ? 'HTTP/2' : 'HTTP/1.1'} ${name}`)
    }
  }
})

/** What the global console prints of a request does not get back to the handler. */
const prints: Record<string, (request: FastifyRequest, reply: FastifyReply) => void> = {
  log: (request) => { console.log(request) },
  error: (request) => { console.error('failed', { request }) },
  dir: (request) => { console.dir({ request }, { depth: 4, customInspect: true }) },
  format: (request, reply) => { console.warn('%o %O', request, reply) },
  message: ({ raw }, reply) => { console.info(raw, reply.raw) },
  headers: ({ headers, raw }) => { console.debug(headers, [raw.headers]) },
  logger: ({ log }) => { console.log(log) }
}

/** What is written to the output of this process meanwhile; the test's own output is written there, too. */
function printedBy (print: () => void): string {
  let printed = ''
  const writes = [process.stdout, process.stderr].map((stream) => [stream, stream.write] as const)
  for (const [stream] of writes) stream.write = (text: unknown) => { printed += String(text); return true }
  try {
    print()
  } finally {
    for (const [stream, write] of writes) stream.write = write
  }
  return printed
}

t.test('cache does not track what the console reads to print a request, and the printed text is complete', async (t) => {
  const printed: string[] = []
  const sendRequest = await hookedApp(t, Object.fromEntries(Object.entries(prints).map(([name, print]) => [name, (request, reply) => {
    printed.push(printedBy(() => { print(request, reply) }))
    return 'for all'
  }])))
  for (const [index, name] of Object.keys(prints).entries()) {
    printed.length = 0
    t.match(await sendRequest(index, 'admin'), { body: 'for all', status: /stored/ }, name)
    t.match(await sendRequest(index, 'guest'), { body: 'for all', status: /hit/ }, name)
    t.match(printed.join(), /admin/, name)
  }
})

const inspections: InspectOptions[] = [{ showHidden: true }, { showProxy: true }, { showHidden: true, showProxy: true, depth: 4 }, { getters: true }, { sorted: true }, { customInspect: false }, { customInspect: false, showHidden: true }]

t.test('inspecting what a handler is given never throws, whatever the options', async (t) => {
  const sendRequest = await hookedApp(t, Object.fromEntries(inspections.map((options) => [JSON.stringify(options), (request, reply) => {
    for (const target of [request, reply, request.raw, reply.raw, request.headers, request.raw.headers, request.log]) inspect(target, options)
    return 'done'
  }])))
  for (const [index, options] of inspections.entries()) for (const user of ['admin', 'guest']) t.equal((await sendRequest(index, user)).body, 'done', JSON.stringify(options))
})

t.test('a copy of a request or a reply has the own properties that it has without a cache', async (t) => {
  const app = await cachingApp(t)
  app.decorateRequest('role', '')
  app.decorateReply('part', null)
  app.addHook('onRequest', async (request) => { asRecord(request).role = String(request.headers['x-user']) })
  const list = (target: object) => Object.keys({ ...target }).filter((key) => key !== 'send' && key !== 'hijack').sort()
  const copied = async (request: FastifyRequest, reply: FastifyReply) => {
    const copy = { ...request }
    return [list(request), list(reply), typeof copy.id, typeof copy.log.info, asRecord(copy).role, Object.hasOwn(request, 'id'), Object.entries(request).length]
  }
  app.get('/uncached', copied)
  app.get('/cached', { config: { cache: true } }, copied)
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const user of ['admin', 'guest', 'admin']) {
    const [expected, response] = await Promise.all(['/uncached', '/cached'].map((path) => fetch(origin + path, { headers: { 'x-user': user } })))
    t.match(response?.headers.get('cache-status'), /detail=unkeyed/)
    t.same(await response?.json(), await expected?.json())
  }
})

const ofPresence: Record<string, Read> = {
  in: (request) => 'role' in request,
  'names in a loop': (request) => namesIn(request).includes('role'),
  'own names': (request) => Object.keys(request).includes('role'),
  'all own names': (request) => Reflect.ownKeys(request).includes('role'),
  'own property': (request) => Object.hasOwn(request, 'role')
}

t.test('cache shares no response that depends on whether a hook has set a property', async (t) => {
  const sendRequest = await hookedApp(t, ofPresence)
  for (const [index, name] of Object.keys(ofPresence).entries()) {
    for (const users of [['admin', 'guest'], ['admin', 'guest'], ['guest', 'admin']]) {
      const [one, other] = [await sendRequest(index, users[0] ?? ''), await sendRequest(index, users[1] ?? '')]
      if (one.body !== other.body) t.notMatch([one.status, other.status].join(), /stored|hit/, name)
      else t.match(one.body, /true|false/, name)
    }
  }
})

t.test('cache tracks the producer of a stream while later hooks run, and not what these read', async (t) => {
  const app = await cachingApp(t)
  let read = 0
  app.addHook('onSend', async (request, _reply, payload) => {
    await new Promise<void>((resolve) => { setImmediate(resolve) })
    return request.url === '/hook' ? payload : await new Promise<unknown>((resolve) => { setTimeout(() => { resolve(payload) }, 20) })
  })
  app.addHook('onSend', (request, _reply, payload, done) => {
    if (request.headers['x-user'] !== undefined) read++
    done(null, payload)
  })
  app.get('/produced', { config: { cache: true } }, async (request, reply) => {
    const stream = new PassThrough()
    setTimeout(() => { stream.end(`for ${String(request.headers['x-user'])}`) }, 5)
    return reply.type('text/plain').send(stream)
  })
  app.get('/hook', { config: { cache: true } }, async (_request, reply) => {
    const stream = new PassThrough()
    setImmediate(() => { stream.end('for all') })
    return reply.type('text/plain').send(stream)
  })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const sendRequest = async (path: string, user: string) => {
    const response = await fetch(origin + path, { headers: { 'x-user': user } })
    const body = await response.text()
    await stored(app)
    return { body, status: String(response.headers.get('cache-status')) }
  }

  for (const user of ['admin', 'guest', 'admin', 'guest']) t.match(await sendRequest('/produced', user), { body: `for ${user}`, status: /fwd=miss/ })
  await sendRequest('/hook', 'admin')
  t.match(await sendRequest('/hook', 'guest'), { body: 'for all', status: /hit/ })
  t.ok(read > 0)
})
