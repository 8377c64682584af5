import cors from '@fastify/cors'
import type { FastifyInstance, RouteHandlerMethod } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../helpers/caching.ts'

declare module 'fastify' {
  interface SessionData {
    /** what the tests' visitors like */
    colour: string
  }
}

/** Signs a user in, and gives the cookie. */
async function signIn (app: FastifyInstance, user: string): Promise<string> {
  const { headers } = await app.inject({ method: 'POST', url: `/sign-in/${user}` })
  return String(headers['set-cookie']).split(';')[0] ?? ''
}

async function withUsers (t: Parameters<typeof cachingApp>[0]): Promise<FastifyInstance> {
  const app = await cachingApp(t, { hasSessions: true, explain: true })
  app.post('/sign-in/:user', async (request) => {
    await request.session.signIn((request.params as { user: string }).user)
    request.session.set('colour', 'blue')
    return 'in'
  })
  app.post('/sign-out', async (request) => {
    await request.session.signOut()
    return 'out'
  })
  return app
}

t.test('cache never keeps an answer whose handler looked at the session', async (t) => {
  const app = await withUsers(t)
  app.get('/', { config: { cache: true } }, async (request) => `for ${request.session.userId ?? 'nobody'}`)
  const [alice, bob] = [await signIn(app, 'alice'), await signIn(app, 'bob')]

  for (const [cookie, body] of [[alice, 'for alice'], [bob, 'for bob'], ['', 'for nobody'], [alice, 'for alice']]) {
    const reply = await app.inject({ url: '/', headers: { cookie } })
    await stored(app)
    t.equal(reply.body, body)
    t.equal(reply.headers['cache-control'], 'private, no-cache')
    t.equal(reply.headers['cache-status'], 'prism; fwd=miss; detail="read request.session; cache: { partition: \'user\' }"')
  }
})

t.test('cache shares a public answer whatever cookies and credentials come along', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  app.get('/', { config: { cache: true } }, async () => `${++runs}`)
  const alice = await signIn(app, 'alice')

  for (const headers of [{ cookie: alice }, { cookie: 'stray=1' }, { authorization: 'Bearer x' }, {}]) {
    const reply = await app.inject({ url: '/', headers })
    await stored(app)
    t.equal(reply.body, '1')
    t.notMatch(reply.headers['cache-control'], 'private')
  }
})

t.test('cache keeps each user of a partition alone, and serves only who is signed in', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  app.get('/', { config: { cache: { partition: 'user' } } }, async (request) => `${request.session.userId ?? 'nobody'} ${request.session.get('colour') ?? ''} ${++runs}`)
  const [alice, bob, phone] = [await signIn(app, 'alice'), await signIn(app, 'bob'), await signIn(app, 'alice')]
  const read = async (cookie: string) => {
    const reply = await app.inject({ url: '/', headers: { cookie } })
    await stored(app)
    t.match(reply.headers['cache-control'], 'private')
    return reply.body
  }

  t.same([await read(alice), await read(bob), await read(alice), await read(bob), await read(phone)], ['alice blue 1', 'bob blue 2', 'alice blue 1', 'bob blue 2', 'alice blue 1'])
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: alice } })
  t.same([await read(alice), await read(''), await read(`${bob.slice(0, -3)}xyz`), await read(bob), await read(phone)], ['nobody  3', 'nobody  4', 'nobody  5', 'bob blue 2', 'alice blue 1'])
})

t.test('cache asks for a partition with the session, in one write', async (t) => {
  const app = await withUsers(t)
  app.get('/', { config: { cache: { partition: 'user', tags: ['mine'] } } }, async (request) => request.session.userId)
  const alice = await signIn(app, 'alice')
  await app.inject({ url: '/', headers: { cookie: alice } })
  await stored(app)

  const before = app.redisPool.batch.counts.writes
  const reply = await app.inject({ url: '/', headers: { cookie: alice } })

  t.match(reply.headers['cache-status'], /hit/)
  t.equal(app.redisPool.batch.counts.writes - before, 1)
})

t.test('cache partitions by session, and by what a function names after the guards', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  app.decorateRequest('user', '')
  app.get('/device', { config: { cache: { partition: 'session' } } }, async (request) => `${request.session.userId} ${++runs}`)
  app.get('/tenant', {
    config: { cache: { partition: (request) => (request as unknown as { user: string }).user || undefined } },
    preHandler: async (request) => { (request as unknown as { user: string }).user = String(request.headers['x-user'] ?? '') }
  }, async (request) => `${(request as unknown as { user: string }).user} ${++runs}`)
  const [laptop, phone] = [await signIn(app, 'alice'), await signIn(app, 'alice')]
  const read = async (url: string, headers: Record<string, string>) => {
    const { body } = await app.inject({ url, headers })
    await stored(app)
    return body
  }

  t.same([await read('/device', { cookie: laptop }), await read('/device', { cookie: phone }), await read('/device', { cookie: laptop })], ['alice 1', 'alice 2', 'alice 1'])
  t.same([await read('/tenant', { 'x-user': 'a' }), await read('/tenant', { 'x-user': 'b' }), await read('/tenant', { 'x-user': 'a' }), await read('/tenant', {}), await read('/tenant', {})], ['a 3', 'b 4', 'a 3', ' 5', ' 6'])
})

t.test('cache keeps no cookie, whoever set it', async (t) => {
  const app = await withUsers(t)
  app.addHook('onSend', async (_request, reply) => { reply.header('set-cookie', 'late=1') })
  app.addHook('onRequest', async (_request, reply) => { reply.header('set-cookie', 'early=1') })
  app.get('/fine', { config: { cache: true } }, async () => 'x')
  app.get('/own', { config: { cache: true } }, async (_request, reply) => reply.header('set-cookie', 'own=1').send('x'))

  await app.inject('/fine')
  await stored(app)
  const kept = await app.inject('/fine')

  t.match(kept.headers['cache-status'], /hit/)
  t.same(kept.headers['set-cookie'], ['early=1', 'late=1'])
  t.match((await app.inject('/own')).headers['cache-status'], /set-cookie/)
  const keys = await app.redis.keys('api:cache:GET:*')
  for (const key of keys) t.notMatch((await app.redis.getBuffer(key))?.toString('latin1'), /cookie|early|late/)
})

t.test('cache keeps nothing of what CORS said to another origin', async (t) => {
  const app = await cachingApp(t)
  await app.register(cors, { origin: ['https://a.example', 'https://b.example'], credentials: true })
  app.get('/', { config: { cache: true } }, async () => 'x')
  const read = async (origin: string) => {
    const { headers } = await app.inject({ url: '/', headers: { origin } })
    await stored(app)
    return [headers['access-control-allow-origin'], headers.vary, /hit/.test(String(headers['cache-status']))]
  }

  t.same(await read('https://a.example'), ['https://a.example', 'Origin', false])
  t.same(await read('https://b.example'), ['https://b.example', 'Origin', true])
  t.same(await read('https://evil.example'), [undefined, 'Origin', true])
})

t.test('cache keeps no error, nor what an error handler made of one', async (t) => {
  const app = await cachingApp(t)
  app.setErrorHandler((_error, request, reply) => reply.code(200).send(`sorry ${String(request.headers['x-who'])}`))
  app.get('/', { config: { cache: true } }, async () => { throw new Error('broken') })
  let runs = 0
  app.get('/sync', { config: { cache: true }, errorHandler: (_error, _request, reply) => reply.code(200).send(`sorry ${++runs}`) }, () => { throw new Error('broken') })

  const first = await app.inject({ url: '/', headers: { 'x-who': 'alice' } })
  await stored(app)
  const second = await app.inject({ url: '/', headers: { 'x-who': 'bob' } })

  t.same([first.body, second.body], ['sorry alice', 'sorry bob'])
  await app.inject('/sync')
  await stored(app)
  t.equal((await app.inject('/sync')).body, 'sorry 2')
})

t.test('cache takes what an error handler answers for an error, however the error came to it', async (t) => {
  const app = await cachingApp(t)
  const warnings: unknown[] = []
  app.log.warn = (facts: unknown) => { warnings.push(facts) }
  let runs = 0
  app.setErrorHandler((_error, request, reply) => reply.code(200).header('cache-control', 'max-age=60').send(`sorry ${++runs}, this was ${request.id}`))
  const failures: Record<string, RouteHandlerMethod> = {
    'an error that is thrown': () => { throw new Error('broken') },
    'an error that is thrown later': async () => { throw new Error('broken') },
    'an error that is sent': (_request, reply) => { reply.send(new Error('broken')) },
    'an error that is sent later': async (_request, reply) => reply.send(new Error('broken')),
    'something else that is thrown': async () => { throw 'broken' }, // eslint-disable-line no-throw-literal
    'a payload that cannot be serialised': async () => ({ count: 1n })
  }
  for (const [name, handler] of Object.entries(failures)) {
    for (const [kind, cache] of Object.entries({ own: true, response: { ttl: 'response' as const } })) app.get(`/${kind}/${encodeURIComponent(name)}`, { config: { cache } }, handler)
  }

  for (const name of Object.keys(failures)) {
    for (const kind of ['own', 'response']) {
      const url = `/${kind}/${encodeURIComponent(encodeURIComponent(name))}`
      const first = await app.inject(url)
      await stored(app)
      const second = await app.inject(url)
      t.match([first.body, first.headers['cache-status']], [/^sorry/, /detail=error/], `${kind}: ${name}`)
      t.not(second.body, first.body)
    }
  }
  t.same(warnings, [])
})

t.test('cache lets no answer with a cookie be kept by another cache on the way', async (t) => {
  const app = await cachingApp(t)
  await app.register(async (scope) => {
    scope.addHook('preHandler', async (_request, reply) => { reply.header('set-cookie', 'visit=1') })
    scope.get('/', { config: { cache: { browser: '1m' } } }, async () => 'x')
  })

  const first = await app.inject('/')
  await stored(app)
  const second = await app.inject('/')

  t.equal(first.headers['cache-control'], 'private, max-age=60')
  t.match(second.headers['cache-status'], /hit/)
  t.equal(second.headers['cache-control'], 'private, max-age=60')
})
