import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

/** Responses that may not be stored and supersede the stored one. */
const superseding: Record<string, Handler> = {
  'a 404': (_request, reply) => reply.code(404).send('gone'),
  'a 404 that is thrown': () => { throw Object.assign(new Error('gone'), { statusCode: 404 }) },
  'a 404 that is thrown later': async () => { throw Object.assign(new Error('gone'), { statusCode: 404 }) },
  'a 404 that is left to the handler of unknown paths': (_request, reply) => { reply.callNotFound() },
  'a 410': (_request, reply) => reply.code(410).send('gone'),
  'a 451': (_request, reply) => reply.code(451).send('gone'),
  'a 401 that depends on no input': (_request, reply) => reply.code(401).send('closed'),
  private: (_request, reply) => reply.header('cache-control', 'private').send('new'),
  'no-store': (_request, reply) => reply.header('cache-control', 'no-store').send('new'),
  'no-cache': (_request, reply) => reply.header('cache-control', 'no-cache').send('new'),
  'max-age=0': (_request, reply) => reply.header('cache-control', 'max-age=0').send('new'),
  'Vary: *': (_request, reply) => reply.header('vary', '*').send('new'),
  'Set-Cookie': (_request, reply) => reply.header('set-cookie', 'a=1').send('new'),
  'Set-Cookie of a later hook': (_request, reply) => reply.header('x-late', 'cookie').send('new'),
  'a body that is too large': (_request, reply) => reply.send('a'.repeat(5000)),
  'a stream that is too large': (_request, reply) => reply.type('text/plain').send(ReadableStream.from(['a'.repeat(3000), 'a'.repeat(3000)])),
  'a Response with 404': (_request, reply) => reply.send(new Response('gone', { status: 404 })),
  'a Response with Set-Cookie': (_request, reply) => reply.send(new Response('new', { headers: { 'set-cookie': 'a=1' } })),
  'a 304 that says no-store': (_request, reply) => reply.code(304).header('cache-control', 'no-store').send()
}

/** Responses that say nothing about the stored one: failures, and responses that depend on the client. */
const passing: Record<string, Handler> = {
  'a 500': (_request, reply) => reply.code(500).send('failed'),
  'a 503 that is thrown': () => { throw Object.assign(new Error('failed'), { statusCode: 503 }) },
  'a Response with 502': (_request, reply) => reply.send(new Response('failed', { status: 502 })),
  'a 429': (_request, reply) => reply.code(429).send('later'),
  'a 401 that depends on credentials': (request, reply) => reply.code(request.headers.authorization === undefined ? 401 : 200).send('closed'),
  'a 404 that depends on a cookie': (request, reply) => request.headers.cookie === undefined ? reply.code(404).send('gone') : reply.send('old'),
  'a 403 that is thrown for one client': (request) => { throw Object.assign(new Error(`not for ${request.ip}`), { statusCode: 403 }) },
  'a private response that read the request': (request, reply) => reply.header('cache-control', 'private').send(`for ${String(request.headers['user-agent'])}`)
}

/** A page for each case; until it is changed its response is stored, and stale from the start. */
async function pages (owner: Parameters<typeof cachingApp>[0], handlers: Record<string, Handler>, cache: object, url?: string): Promise<{ app: FastifyInstance, change: (name: string, handler: Handler | undefined) => void }> {
  const app = await cachingApp(owner, { maxBytes: 4096, ...url === undefined ? {} : { url } })
  const changed = new Map<string, Handler>()
  app.addHook('onSend', async (_request, reply) => {
    if (reply.getHeader('x-late') === 'cookie') reply.removeHeader('x-late').header('set-cookie', 'late=1')
  })
  for (const name of Object.keys(handlers)) {
    app.get(`/${encodeURIComponent(name)}`, { config: { cache: { ttl: '1h', ...cache } } }, (request, reply) => {
      const handler = changed.get(name)
      return handler === undefined ? reply.headers({ age: '3660', etag: '"old"' }).send('old') : handler(request, reply)
    })
  }
  const change = (name: string, handler: Handler | undefined) => {
    if (handler === undefined) changed.delete(name)
    else changed.set(name, handler)
  }
  return { app, change }
}

const pathOf = (name: string) => `/${encodeURIComponent(encodeURIComponent(name))}`
const entries = async (app: FastifyInstance) => (await app.redis.keys('api:cache:GET:*')).length

for (const [name, handler] of Object.entries(superseding)) {
  t.test(`RFC 9111 section 4.3.3: cache removes a stored response that validation did not confirm: ${name}`, async (t) => {
    const { url } = await startRedisProcess(t)
    for (const window of ['staleWhileRevalidate', 'staleIfError']) {
      const { app, change } = await pages(t, superseding, { [window]: '2h' }, url)
      await app.redis.flushall()
      await app.inject(pathOf(name))
      await stored(app)
      t.equal(await entries(app), 1, 'the old response is stored')

      change(name, handler)
      await app.inject(pathOf(name))
      t.ok(await until(async () => await entries(app) === 0, { what: 'the old response is removed' }), window)
      change(name, (_request, reply) => reply.code(500).send('failed'))
      const { statusCode, body } = await app.inject(pathOf(name))
      t.match({ statusCode, body }, { statusCode: 500, body: 'failed' }, 'no stored response replaces the error')
    }
  })
}

t.test('cache serves a stored response after a failure, and after a response that depends on the client', async (t) => {
  const { app, change } = await pages(t, passing, { staleIfError: '2h' })
  for (const name of Object.keys(passing)) await app.inject(pathOf(name))
  await stored(app)
  const before = await entries(app)

  for (const [name, handler] of Object.entries(passing)) {
    change(name, handler)
    await app.inject(pathOf(name))
  }
  await stored(app)
  await app.redis.ping()

  t.equal(await entries(app), before)
  for (const name of Object.keys(passing)) {
    change(name, (_request, reply) => reply.code(500).send('failed'))
    t.equal((await app.inject(pathOf(name))).body, 'old', name)
  }
})

t.test('a cache in a proxy serves a stored response after the origin rejects the credentials of one client', async (t) => {
  const { app, change } = await pages(t, { page: () => {} }, { ttl: 'response' })
  change('page', (_request, reply) => reply.headers({ 'cache-control': 'public, max-age=60, stale-if-error=7200', age: '100' }).send('old'))
  await app.inject('/page')
  await stored(app)

  change('page', (_request, reply) => reply.code(401).send('closed'))
  t.equal((await app.inject({ url: '/page', headers: { authorization: 'Bearer wrong' } })).statusCode, 401)
  change('page', (_request, reply) => reply.code(500).send('failed'))
  t.equal((await app.inject('/page')).body, 'old')
  change('page', (_request, reply) => reply.code(401).send('closed'))
  await app.inject('/page')
  t.ok(await until(async () => await entries(app) === 0, { what: 'it is removed for requests without credentials' }))
})

t.test('cache removes only the variant that validation did not confirm', async (t) => {
  const app = await cachingApp(t)
  let isGone = false
  app.get('/', { config: { cache: { ttl: 'response' } } }, async (request, reply) => {
    const language = String(request.headers['accept-language'])
    if (isGone && language === 'en') return reply.code(410).header('cache-control', 'no-store').send('gone')
    return reply.headers({ vary: 'accept-language', 'cache-control': 'max-age=60, stale-if-error=7200', age: '100' }).send(language)
  })
  const send = async (language: string) => {
    const { statusCode, body } = await app.inject({ url: '/', headers: { 'accept-language': language } })
    await stored(app)
    return `${statusCode} ${body}`
  }
  for (const language of ['en', 'fr']) await send(language)
  const before = await entries(app)

  isGone = true
  t.equal(await send('en'), '410 gone')
  t.ok(await until(async () => await entries(app) === before - 1, { what: 'one is removed' }))
  t.equal(await send('fr'), '200 fr')
})

t.test('cache does not remove a response that was stored while a superseding response was produced', async (t) => {
  const { url } = await startRedisProcess(t)
  const gate = Promise.withResolvers<void>()
  const [slow, fast] = [await cachingApp(t, { url }), await cachingApp(t, { url })]
  const entered = Promise.withResolvers<void>()
  let state = 'old'
  const config = { cache: { ttl: '1h', staleIfError: '2h' } } as const
  slow.get('/page', { config }, async (_request, reply) => {
    if (state === 'old') return reply.header('age', '3660').send('old')
    entered.resolve()
    await gate.promise
    return reply.code(404).send('gone')
  })
  fast.get('/page', { config }, async () => 'new')
  await slow.inject('/page')
  await stored(slow)

  state = 'gone'
  const gone = slow.inject('/page')
  await entered.promise
  // The first process loses its lock, as a paused process does.
  await fast.redis.unlink(await fast.redis.keys('api:cache:lock:*'))
  await fast.inject('/page')
  await stored(fast)
  gate.resolve()

  t.equal((await gone).statusCode, 404)
  await slow.redis.ping()
  t.match(await fast.inject('/page'), { body: 'new', headers: { 'cache-status': /hit/ } })
})
