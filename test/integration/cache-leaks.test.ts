import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify'
import t from 'tap'
import type { CacheRequest } from '../../plugins/cache.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { unlessLate } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'

declare module 'fastify' {
  interface FastifyReply {
    /** set by the onSend hook of a test */
    lateCookie: string
  }
  interface SessionData {
    /** session data of the test users */
    colour: string
  }
}

/** Signs a user in. @returns the Cookie field */
async function signIn (app: FastifyInstance, user: string): Promise<string> {
  const { headers } = await unlessLate(() => app.inject({ method: 'POST', url: `/sign-in/${user}` }))
  return String(headers['set-cookie']).split(';')[0] ?? ''
}

async function withUsers (t: Parameters<typeof cachingApp>[0], url?: string): Promise<FastifyInstance> {
  const app = await cachingApp(t, { hasSessions: true, debug: true, ...url === undefined ? {} : { url } })
  app.post('/sign-in/:user', async (request) => {
    await request.session.signIn((request.params as { user: string }).user)
    request.session.set('colour', 'blue')
    return 'in'
  })
  app.post('/sign-out', (request) => request.session.signOut().then(() => 'out'))
  return app
}

t.test('cache does not store a response whose handler read the session', async (t) => {
  const app = await withUsers(t)
  app.get('/', { config: { cache: true } }, async (request) => `for ${request.session.userId ?? 'anonymous'}`)
  const [alice, bob] = [await signIn(app, 'alice'), await signIn(app, 'bob')]

  for (const [cookie, body] of [[alice, 'for alice'], [bob, 'for bob'], ['', 'for anonymous'], [alice, 'for alice']]) {
    const reply = await app.inject({ url: '/', headers: { cookie } })
    await stored(app)
    t.equal(reply.body, body)
    t.equal(reply.headers['cache-control'], 'private, no-cache')
    t.match(reply.headers['cache-status'], '; detail="read request.session; cache: { partition: \'user\' }"')
  }
})

t.test('cache shares a public response whatever cookies and credentials a request has', async (t) => {
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

t.test('cache separates the users of a partition, and serves partitions only with a valid session', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  app.get('/', { config: { cache: { partition: 'user' } } }, async (request) => `${request.session.userId ?? 'anonymous'} ${request.session.get('colour') ?? ''} ${++runs}`)
  const [alice, bob, phone] = [await signIn(app, 'alice'), await signIn(app, 'bob'), await signIn(app, 'alice')]
  const read = async (cookie: string) => {
    const reply = await app.inject({ url: '/', headers: { cookie } })
    await stored(app)
    t.match(reply.headers['cache-control'], 'private')
    return reply.body
  }

  t.same([await read(alice), await read(bob), await read(alice), await read(bob), await read(phone)], ['alice blue 1', 'bob blue 2', 'alice blue 1', 'bob blue 2', 'alice blue 1'])
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: alice } })
  t.same([await read(alice), await read(''), await read(`${bob.slice(0, -3)}xyz`), await read(bob), await read(phone)], ['anonymous  3', 'anonymous  4', 'anonymous  5', 'bob blue 2', 'alice blue 1'])
})

t.test('cache reads a partition and the session in one write; a partition by function takes two', async (t) => {
  const app = await withUsers(t)
  const partitions = { user: 'user', session: 'session', function: (request: CacheRequest) => request.session.userId } as const
  for (const [path, partition] of Object.entries(partitions)) {
    app.get(`/${path}`, { config: { cache: { partition, tags: ['mine'] } } }, async (request) => request.session.userId)
  }
  const alice = await signIn(app, 'alice')

  for (const [path, writes] of [['user', 1], ['session', 1], ['function', 2]] as const) {
    await app.inject({ url: `/${path}`, headers: { cookie: alice } })
    await stored(app)
    const before = app.redisPool.batch.counts.writes
    const reply = await app.inject({ url: `/${path}`, headers: { cookie: alice } })

    t.match(reply.headers['cache-status'], /hit/, path)
    t.equal(app.redisPool.batch.counts.writes - before, writes, path)
  }
})

t.test('cache serves no partition to a session that ended between two requests, whichever way it ended', async (t) => {
  const { url } = await startRedisProcess(t)
  const [app, other] = [await withUsers(t, url), await withUsers(t, url)]
  for (const partition of ['user', 'session'] as const) app.get(`/${partition}`, { config: { cache: { partition } } }, async (request) => `for ${request.session.userId ?? 'anonymous'}`)
  const read = async (path: string, cookie: string) => {
    const { body, headers: { 'cache-status': status } } = await app.inject({ url: path, headers: { cookie } })
    await stored(app)
    return `${body} ${/hit/.test(String(status)) ? 'kept' : 'made'}`
  }
  const ends: Record<string, (cookie: string) => Promise<unknown>> = {
    'signed out at another process': (cookie) => other.inject({ method: 'POST', url: '/sign-out', headers: { cookie } }),
    'revoked, all of the user\'s': () => other.sessions.revokeAll('alice'),
    'lost by Redis': async () => { await app.redis.unlink(await app.redis.keys('session:*')) }
  }

  for (const [how, end] of Object.entries(ends)) {
    const alice = await signIn(app, 'alice')
    for (const path of ['/user', '/session']) await read(path, alice)
    t.same([await read('/user', alice), await read('/session', alice)], ['for alice kept', 'for alice kept'])
    await end(alice)
    t.same([await read('/user', alice), await read('/session', alice)], ['for anonymous made', 'for anonymous made'], how)
  }
})

t.test('cache partitions by session, and by the result of a function that runs after the guards', async (t) => {
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

t.test('cache marks a partitioned response as private for other caches, also in a 304', async (t) => {
  const app = await withUsers(t)
  let isFirst = true
  app.get('/', { config: { cache: { partition: 'user' } } }, async (_request, reply) => {
    reply.headers({ etag: '"a"', 'cache-control': 'max-age=60', age: isFirst ? '100' : '0' })
    if (!isFirst) return reply.code(304).send()
    isFirst = false
    return 'x'
  })
  const alice = await signIn(app, 'alice')

  for (const status of [/stored$/, /fwd-status=304; stored/, /hit/]) {
    const { headers } = await app.inject({ url: '/', headers: { cookie: alice } })
    await stored(app)
    t.match(headers['cache-status'], status)
    t.equal(headers['cache-control'], 'private, max-age=60')
  }
})

t.test('cache stores neither a cookie that a hook set before the handler nor a response whose handler sets one', async (t) => {
  const app = await withUsers(t)
  app.addHook('onRequest', async (_request, reply) => { reply.header('set-cookie', 'early=1') })
  app.get('/fine', { config: { cache: true } }, async () => 'x')
  app.get('/own', { config: { cache: true } }, async (_request, reply) => reply.header('set-cookie', 'own=1').send('x'))

  await app.inject('/fine')
  await stored(app)
  const kept = await app.inject('/fine')

  t.match(kept.headers['cache-status'], /hit/)
  t.equal(kept.headers['set-cookie'], 'early=1')
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
    const ask = async (path: string) => {
      const answer = await fetch(url + path)
      const body = await answer.text()
      await stored(app)
      return { body, cookie: answer.headers.get('set-cookie'), control: answer.headers.get('cache-control') ?? '', status: answer.headers.get('cache-status') }
    }

    for (const kind of Object.keys(kinds)) {
      for (const name of ['own', 'response']) {
        const [one, other] = [await ask(`/${kind}/${name}`), await ask(`/${kind}/${name}`)]
        t.ok(one.cookie !== null && other.cookie !== null && one.cookie !== other.cookie, `${kind}, ${name}: each has a cookie: ${String(one.cookie)}, ${String(other.cookie)}`)
        for (const each of [one, other]) t.match(each, { control: /private/, status: /fwd=miss/ }, `${kind}, ${name}`)
      }
    }
    t.same(await app.redis.keys('api:cache:GET:*'), [], 'nothing is stored')
    await ask('/plain')
    t.match(await ask('/plain'), { body: 'plain', status: /hit/ }, 'an answer without a cookie is')
  })
}

t.test('cache decides by the status and fields of a Fetch API Response, and adds its own fields to it', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  const responses: Record<string, () => Response> = {
    public: () => new Response(`run ${++runs}`, { headers: { 'cache-control': 'public, max-age=600', etag: '"1"' } }),
    cookie: () => new Response(`run ${++runs}`, { headers: [['cache-control', 'public, max-age=600'], ['set-cookie', `a=${runs}`], ['set-cookie', `b=${runs}`]] }),
    missing: () => new Response(`run ${++runs}`, { status: 404 }),
    private: () => new Response(`run ${++runs}`, { headers: { 'cache-control': 'private' } }),
    empty: () => new Response(null, { status: 204 })
  }
  for (const [name, make] of Object.entries(responses)) {
    app.get(`/${name}`, { config: { cache: { browserMaxAge: '10m' } } }, async () => make())
    app.get(`/users/${name}`, { config: { session: 'required', cache: { partition: 'user', browserMaxAge: '10m' } } }, async () => make())
  }
  app.get('/signs-in', async (request) => { await request.session.signIn('eve'); return new Response('in', { headers: { 'cache-control': 'public, max-age=600' } }) })
  const cookie = await signIn(app, 'ann')
  const ask = async (url: string) => {
    const { statusCode, body, headers, cookies } = await app.inject({ url, headers: { cookie } })
    await stored(app)
    return { statusCode, body, control: String(headers['cache-control']), status: headers['cache-status'], cookies: cookies.length }
  }

  await ask('/public')
  t.match(await ask('/public'), { statusCode: 200, body: 'run 1', status: /hit/, control: 'max-age=600, public' })
  await ask('/users/public')
  t.match(await ask('/users/public'), { body: 'run 2', status: /hit/, control: /^private/ }, 'in a partition')
  for (const prefix of ['/', '/users/']) {
    for (const [name, expected] of Object.entries({ cookie: { statusCode: 200, cookies: 2, control: /private/ }, missing: { statusCode: 404 }, private: { control: /private/ } })) {
      const [one, other] = [await ask(prefix + name), await ask(prefix + name)]
      t.match(one, expected, prefix + name)
      if (name !== 'private' || prefix === '/') t.not(one.body, other.body, `${prefix}${name} is not stored`)
    }
    t.match(await ask(`${prefix}empty`), { statusCode: 204, body: '' })
  }
  t.match(await ask('/signs-in'), { control: 'no-store', cookies: 1 }, 'the session cookie is for one client, whatever the Response says')
})

t.test('cache marks a hit as private if a later hook adds a cookie to it', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onSend', async (request, reply) => { if (request.headers['x-new'] !== undefined) reply.header('set-cookie', 'late=1') })
  app.get('/', { config: { cache: { browserMaxAge: '1h' } } }, async (_request, reply) => reply.header('cache-control', 'public, max-age=600').send('x'))

  await app.inject('/')
  await stored(app)

  t.match((await app.inject('/')).headers, { 'cache-status': /hit/, 'cache-control': /^max-age=600, public$/ })
  t.match((await app.inject({ url: '/', headers: { 'x-new': '1' } })).headers, { 'cache-status': /hit/, 'cache-control': /^private, max-age=600$/ })
})

t.test('cache does not store a response that a later hook forbids to store or replaces', async (t) => {
  const app = await cachingApp(t)
  const late: Record<string, (reply: FastifyReply) => unknown> = {
    'no-store': (reply) => reply.header('cache-control', 'no-store'),
    private: (reply) => reply.header('cache-control', 'max-age=60, private'),
    status: (reply) => reply.code(503),
    error: () => { throw new Error('a later hook failed') }
  }
  let failures = 0
  app.addHook('onSend', async ({ url }, reply) => {
    // An error that this hook throws passes the hook itself too.
    if (url !== '/error' || failures++ % 2 === 0) late[url.slice(1)]?.(reply)
  })
  for (const path of [...Object.keys(late), 'fine']) app.get(`/${path}`, { config: { cache: true } }, async () => 'x')

  for (const path of Object.keys(late)) {
    for (const time of ['once', 'twice']) {
      const { headers } = await app.inject(`/${path}`)
      await stored(app)
      t.match(headers['cache-status'], path === 'error' ? /detail=status/ : new RegExp(`fwd=miss; detail=${path}`), `${path}, ${time}`)
    }
  }
  await app.inject('/fine')
  await stored(app)
  t.match((await app.inject('/fine')).headers['cache-status'], /hit/)
})

t.test('cache does not serve CORS fields to another origin', async (t) => {
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

t.test('cache stores neither an error nor the response of an error handler', async (t) => {
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

t.test('cache treats the response of an error handler as an error, whichever way the error reached it', async (t) => {
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

t.test('cache marks a response with a cookie as private for intermediate caches', async (t) => {
  const app = await cachingApp(t)
  await app.register(async (scope) => {
    scope.addHook('preHandler', async (_request, reply) => { reply.header('set-cookie', 'visit=1') })
    scope.get('/', { config: { cache: { browserMaxAge: '1m' } } }, async () => 'x')
  })

  const first = await app.inject('/')
  await stored(app)
  const second = await app.inject('/')

  t.equal(first.headers['cache-control'], 'private, max-age=60')
  t.match(second.headers['cache-status'], /hit/)
  t.equal(second.headers['cache-control'], 'private, max-age=60')
})

t.test('cache never mixes the responses of two clients, whatever cookies and fields they send', async (t) => {
  const app = await withUsers(t)
  await app.register(cors, { origin: [/\.example$/], credentials: true })
  app.addHook('onSend', async (request, reply) => { reply.header('x-seen-by', String(request.headers['x-who'])) })
  const body = (request: FastifyRequest) => `${request.session.userId ?? 'anonymous'} as ${String(request.headers['x-who'])}`
  app.get('/public', { config: { cache: true } }, async () => 'all')
  app.get('/session', { config: { cache: true } }, async (request) => body(request))
  app.get('/header', { config: { cache: { vary: ['x-who'] } } }, async (request) => `for ${String(request.headers['x-who'])}`)
  app.get('/user', { config: { cache: { partition: 'user' } } }, async (request, reply) => reply.header('x-for', request.session.userId).send(request.session.userId ?? 'anonymous'))
  app.get('/device', { config: { cache: { partition: 'session' } } }, async (request) => request.session.userId ?? 'anonymous')
  app.get('/response', { config: { cache: { ttl: 'response' } } }, async (request, reply) => reply.headers({ 'cache-control': 'max-age=60', vary: 'x-who' }).send(`for ${String(request.headers['x-who'])}`))
  app.get('/thrown', { config: { cache: { ttl: 'response' } } }, async (request) => { throw Object.assign(new Error(body(request)), { statusCode: 404 }) })
  const clients = await Promise.all(['alice', 'bob', undefined].map(async (user) => ({ who: user ?? 'anonymous', cookie: user === undefined ? '' : await signIn(app, user) })))
  const requests = clients.flatMap((client) => ['', 'stray=1'].flatMap((stray) => [undefined, `Bearer ${client.who}`].flatMap((authorization) => [undefined, `https://${client.who}.example`].flatMap((origin) => [undefined, '"x"'].map((tag) => ({
    who: client.who,
    headers: {
      cookie: [client.cookie, stray].filter((each) => each !== '').join('; '),
      'x-who': client.who,
      ...authorization === undefined ? {} : { authorization },
      ...origin === undefined ? {} : { origin },
      ...tag === undefined ? {} : { 'if-none-match': tag }
    }
  }))))))

  let asked = 0
  for (const url of ['/public', '/session', '/header', '/user', '/device', '/response', '/thrown']) {
    // Twice: in the first round requests fill or wait for each other, in the second they hit.
    for (const round of [1, 2]) {
      const replies = await Promise.all(requests.map(({ headers }) => app.inject({ url, headers })))
      await stored(app)
      replies.forEach((reply, index) => {
        asked++
        const { who } = requests[index] ?? { who: '' }
        const said = reply.body + JSON.stringify({ ...reply.headers, 'set-cookie': '' })
        const others = clients.filter((client) => client.who !== who).map((client) => client.who)
        if (others.some((other) => said.includes(other))) t.fail(`${url}, round ${round}, ${who}: ${said}`)
        if (url !== '/public' && !said.includes(who)) t.fail(`${url}, round ${round}: not ${who}'s own: ${said}`)
      })
    }
  }
  t.equal(asked, 48 * 7 * 2, 'no answer of one reached another')
})
