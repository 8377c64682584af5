import { PassThrough } from 'node:stream'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'

// Ways to read an input other than by its name. Each is asked for three times: the first request of a route is tracked by other means than later ones.

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
  const ask = await hookedApp(t, ofHeaders)
  for (const [index, name] of Object.keys(ofHeaders).entries()) {
    for (const user of ['admin', 'guest', 'admin', 'guest']) t.match(await ask(index, user), { body: user, status: /detail=/ }, `${name}: ${user}`)
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
  const ask = await hookedApp(t, ofPresence)
  for (const [index, name] of Object.keys(ofPresence).entries()) {
    for (const users of [['admin', 'guest'], ['admin', 'guest'], ['guest', 'admin']]) {
      const [one, other] = [await ask(index, users[0] ?? ''), await ask(index, users[1] ?? '')]
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
  const ask = async (path: string, user: string) => {
    const response = await fetch(origin + path, { headers: { 'x-user': user } })
    const body = await response.text()
    await stored(app)
    return { body, status: String(response.headers.get('cache-status')) }
  }

  for (const user of ['admin', 'guest', 'admin', 'guest']) t.match(await ask('/produced', user), { body: `for ${user}`, status: /fwd=miss/ })
  await ask('/hook', 'admin')
  t.match(await ask('/hook', 'guest'), { body: 'for all', status: /hit/ })
  t.ok(read > 0)
})
