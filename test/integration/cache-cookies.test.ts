import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'

declare module 'fastify' {
  interface FastifyReply {
    /** set by the onSend hook of a test */
    lateCookie: string
  }
}

t.test('cache stores neither a cookie that a hook set before the handler nor a response whose handler sets one', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (_request, reply) => { reply.header('set-cookie', 'early=1') })
  app.get('/fine', { config: { cache: true } }, async () => 'x')
  app.get('/own', { config: { cache: true } }, async (_request, reply) => reply.header('set-cookie', 'own=1').send('x'))

  await app.inject('/fine')
  await stored(app)
  const hit = await app.inject('/fine')

  t.match(hit.headers['cache-status'], /hit/)
  t.equal(hit.headers['set-cookie'], 'early=1')
  t.match((await app.inject('/own')).headers['cache-status'], /set-cookie/)
  const keys = await app.redis.keys('api:cache:GET:*')
  for (const key of keys) t.notMatch((await app.redis.getBuffer(key))?.toString('latin1'), /cookie|early/)
})

/** Ways in which a cookie is added after the cache has judged the response, or outside the list of headers. */
const lateCookies: Record<string, (app: FastifyInstance) => Promise<Awaited<ReturnType<typeof cookieSetter>>>> = {
  'by @fastify/cookie, registered after the cache': async (app) => {
    await app.register(cookie, { secret: 'a secret for cookies' })
    return (reply, value) => { reply.setCookie('client', value, { signed: true }) }
  },
  'by an onSend hook of the app': (app) => cookieSetter(app, (hook) => app.addHook('onSend', hook), (reply, value) => { reply.header('set-cookie', value) }),
  'by an onSend hook that takes its time': (app) => cookieSetter(app, (hook) => app.addHook('onSend', hook), (reply, value) => nextTurn().then(() => { reply.header('set-cookie', value) })),
  'by an onSend hook, on the response itself': (app) => cookieSetter(app, (hook) => app.addHook('onSend', hook), (reply, value) => { reply.raw.setHeader('set-cookie', [value]) }),
  'by the handler, on the response itself': async () => (reply, value) => { reply.raw.setHeader('Set-Cookie', `client=${value}`) },
  'by a wrapper of writeHead, as a header': async () => (reply, value) => { beforeHead(reply.raw, () => { reply.raw.setHeader('set-cookie', `client=${value}`) }) },
  'by a wrapper of writeHead, as an argument': async () => (reply, value) => {
    const { raw } = reply
    const { writeHead } = raw
    raw.writeHead = ((status: number, fields?: object) => writeHead.call(raw, status, { ...raw.getHeaders(), ...fields, 'set-cookie': `client=${value}` } as never)) as typeof writeHead
  }
}

async function cookieSetter (app: FastifyInstance, add: (hook: (request: FastifyRequest, reply: FastifyReply) => Promise<void>) => unknown, set: (reply: FastifyReply, value: string) => void | Promise<void>) {
  app.decorateReply('lateCookie', '')
  add(async (_request, reply) => { if (reply.lateCookie !== '') await set(reply, `client=${reply.lateCookie}`) })
  return (reply: FastifyReply, value: string) => { reply.lateCookie = value }
}

function beforeHead (raw: FastifyReply['raw'], work: () => void): void {
  const { writeHead } = raw
  raw.writeHead = ((...given: Parameters<typeof writeHead>) => {
    raw.writeHead = writeHead
    work()
    return writeHead.apply(raw, given)
  }) as typeof writeHead
}

for (const [way, prepare] of Object.entries(lateCookies)) {
  t.test(`cache does not store a response that sets a cookie of its handler, and marks it as private: set ${way}`, async (t) => {
    const app = await cachingApp(t)
    const set = await prepare(app)
    let runs = 0
    const kinds: Record<string, (text: string) => unknown> = { text: (text) => text, json: (text) => ({ text }), stream: (text) => Readable.from([text]), 'empty-stream': () => Readable.from([]), web: (text) => ReadableStream.from([text]), response: (text) => new Response(text, { headers: { 'cache-control': 'public, max-age=600' } }) }
    for (const [kind, make] of Object.entries(kinds)) {
      for (const [name, options] of Object.entries({ own: { ttl: '5m', browserMaxAge: '1h' }, response: { ttl: 'response', trackInputs: true, browserMaxAge: '1h' } } as const)) {
        app.get(`/${kind}/${name}`, { config: { cache: options } }, async (_request, reply) => {
          set(reply, `id-${++runs}`)
          reply.header('cache-control', name === 'own' ? undefined : 'max-age=600').type('text/plain')
          return make(`text ${runs}`)
        })
      }
    }
    app.get('/plain', { config: { cache: { browserMaxAge: '1h' } } }, async () => 'plain')
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    const send = async (path: string) => {
      const response = await fetch(url + path)
      const body = await response.text()
      await stored(app)
      return { body, cookie: response.headers.get('set-cookie'), control: response.headers.get('cache-control') ?? '', status: response.headers.get('cache-status') }
    }

    for (const kind of Object.keys(kinds)) {
      for (const name of ['own', 'response']) {
        const [one, other] = [await send(`/${kind}/${name}`), await send(`/${kind}/${name}`)]
        t.ok(one.cookie !== null && other.cookie !== null && one.cookie !== other.cookie, `${kind}, ${name}: each has a cookie: ${String(one.cookie)}, ${String(other.cookie)}`)
        for (const each of [one, other]) t.match(each, { control: /private/, status: /fwd=miss/ }, `${kind}, ${name}`)
      }
    }
    t.same(await app.redis.keys('api:cache:GET:*'), [], 'nothing is stored')
    await send('/plain')
    t.match(await send('/plain'), { body: 'plain', status: /hit/ }, 'a response without a cookie is')
  })
}

t.test('cache marks a hit as private if a later hook adds a cookie to it', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onSend', async (request, reply) => { if (request.headers['x-new'] !== undefined) reply.header('set-cookie', 'late=1') })
  app.get('/', { config: { cache: { browserMaxAge: '1h' } } }, async (_request, reply) => reply.header('cache-control', 'public, max-age=600').send('x'))

  await app.inject('/')
  await stored(app)

  t.match((await app.inject('/')).headers, { 'cache-status': /hit/, 'cache-control': /^max-age=600, public$/ })
  t.match((await app.inject({ url: '/', headers: { 'x-new': '1' } })).headers, { 'cache-status': /hit/, 'cache-control': /^private, max-age=600$/ })
})

t.test('cache marks a response with a cookie as private for intermediate caches', async (t) => {
  const app = await cachingApp(t)
  await app.register(async (scope) => {
    scope.addHook('preHandler', async (_request, reply) => { reply.header('set-cookie', 'added=1') })
    scope.get('/', { config: { cache: { browserMaxAge: '1m' } } }, async () => 'x')
  })

  const first = await app.inject('/')
  await stored(app)
  const second = await app.inject('/')

  t.equal(first.headers['cache-control'], 'private, max-age=60')
  t.match(second.headers['cache-status'], /hit/)
  t.equal(second.headers['cache-control'], 'private, max-age=60')
})
