import cors from '@fastify/cors'
import type { FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { signIn, withUsers } from '../support/signed-in-users.ts'

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
  const sendRequest = async (url: string) => {
    const { statusCode, body, headers, cookies } = await app.inject({ url, headers: { cookie } })
    await stored(app)
    return { statusCode, body, control: String(headers['cache-control']), status: headers['cache-status'], cookies: cookies.length }
  }

  await sendRequest('/public')
  t.match(await sendRequest('/public'), { statusCode: 200, body: 'run 1', status: /hit/, control: 'max-age=600, public' })
  await sendRequest('/users/public')
  t.match(await sendRequest('/users/public'), { body: 'run 2', status: /hit/, control: /^private/ }, 'in a partition')
  for (const prefix of ['/', '/users/']) {
    for (const [name, expected] of Object.entries({ cookie: { statusCode: 200, cookies: 2, control: /private/ }, missing: { statusCode: 404 }, private: { control: /private/ } })) {
      const [one, other] = [await sendRequest(prefix + name), await sendRequest(prefix + name)]
      t.match(one, expected, prefix + name)
      if (name !== 'private' || prefix === '/') t.not(one.body, other.body, `${prefix}${name} is not stored`)
    }
    t.match(await sendRequest(`${prefix}empty`), { statusCode: 204, body: '' })
  }
  t.match(await sendRequest('/signs-in'), { control: 'no-store', cookies: 1 }, 'the session cookie is for one client, whatever the Response says')
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

  let requestCount = 0
  for (const url of ['/public', '/session', '/header', '/user', '/device', '/response', '/thrown']) {
    // Twice: in the first round requests fill or wait for each other, in the second they hit.
    for (const round of [1, 2]) {
      const replies = await Promise.all(requests.map(({ headers }) => app.inject({ url, headers })))
      await stored(app)
      replies.forEach((reply, index) => {
        requestCount++
        const { who } = requests[index] ?? { who: '' }
        const said = reply.body + JSON.stringify({ ...reply.headers, 'set-cookie': '' })
        const others = clients.filter((client) => client.who !== who).map((client) => client.who)
        if (others.some((other) => said.includes(other))) t.fail(`${url}, round ${round}, ${who}: ${said}`)
        if (url !== '/public' && !said.includes(who)) t.fail(`${url}, round ${round}: not ${who}'s own: ${said}`)
      })
    }
  }
  t.equal(requestCount, 48 * 7 * 2, 'no response of one reached another')
})
