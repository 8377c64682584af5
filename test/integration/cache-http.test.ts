import type { InjectOptions } from 'fastify'
import t from 'tap'
import { cachingApp, isOverHttp2, stored } from '../support/caching.ts'
import { ago, isStored, expectStored, originOf } from '../support/caching-origin.ts'
import type { Fields } from '../support/caching-origin.ts'

t.test('RFC 9111 section 3: cache decides by method, status and directives what it stores', (t) => expectStored(t, {
  'no directives': [false, {}],
  'max-age': [true, { 'cache-control': 'max-age=60' }],
  's-maxage before max-age': [true, { 'cache-control': 'max-age=0, s-maxage=60' }],
  expires: [true, { expires: ago(-60) }],
  'no-store': [false, { 'cache-control': 'max-age=60, no-store' }],
  private: [false, { 'cache-control': 'max-age=60, private' }],
  'private with a field name: the other fields are stored': [true, { 'cache-control': 'max-age=60, private="x-secret"', 'x-secret': '1' }],
  'an error with an explicit lifetime': [true, { 'cache-control': 'max-age=60' }, 404],
  'an error without directives': [false, {}, 500],
  'a redirect without directives': [false, {}, 302],
  'an unknown status with an explicit lifetime': [true, { 'cache-control': 'max-age=60' }, 299],
  'an unknown status with public': [true, { 'cache-control': 'public', 'last-modified': ago(1000) }, 599],
  'an unknown status without directives': [false, { 'last-modified': ago(1000) }, 299],
  'must-understand with a known status': [true, { 'cache-control': 'max-age=60, no-store, must-understand' }],
  'must-understand with an unknown status': [false, { 'cache-control': 'max-age=60, no-store, must-understand' }, 299],
  'a partial response': [false, { 'cache-control': 'max-age=60', 'content-range': 'bytes 0-1/2' }, 206],
  'a POST': [false, { 'cache-control': 'max-age=60' }, 200, { method: 'POST' }],
  'a request with no-store': [false, { 'cache-control': 'max-age=60' }, 200, { headers: { 'cache-control': 'no-store' } }]
}))

t.test('RFC 9111 section 3.1: cache stores no connection-specific field, and none that Connection names', { skip: isOverHttp2 && 'HTTP/2 has no such fields' }, async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60, no-cache="x-not"', connection: 'x-hop', 'x-hop': '1', 'keep-alive': 'x', 'proxy-authenticate': 'x', 'x-kept': '1', 'x-not': '1' }
  await origin.get()
  const { headers } = await origin.get()

  t.match(headers['cache-status'], /hit/)
  t.equal(headers['x-kept'], '1')
  for (const name of ['x-hop', 'keep-alive', 'proxy-authenticate', 'x-not']) t.equal(headers[name], undefined, name)
})

t.test('RFC 9111 section 3.5: cache stores responses to requests with Authorization only if a directive allows it', (t) => {
  const request = { headers: { authorization: 'Bearer x' } }
  return expectStored(t, {
    'no directive allows it': [false, { 'cache-control': 'max-age=60' }, 200, request],
    public: [true, { 'cache-control': 'max-age=60, public' }, 200, request],
    'must-revalidate': [true, { 'cache-control': 'max-age=60, must-revalidate' }, 200, request],
    's-maxage': [true, { 'cache-control': 's-maxage=60' }, 200, request]
  })
})

t.test('RFC 9111 section 4.1: cache selects by the normalised fields that Vary names, and stores at most 12 variants', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', vary: 'Accept-Language, X-A' }
  const as = (language?: string) => ({ headers: language === undefined ? {} : { 'accept-language': language } })

  t.equal(await isStored(origin, as('de, en')), true)
  t.equal(await isStored(origin, as('DE,en')), true)
  const miss = await origin.get(as('fr'))
  t.match(miss.headers['cache-status'], /fwd=vary-miss; stored/)
  t.match((await origin.get(as())).headers['cache-status'], /fwd=vary-miss/)
  t.match((await origin.get(as('fr'))).headers['cache-status'], /hit/)
  for (let count = 0; count < 20; count++) await origin.get(as(`x${count}`))
  t.ok((await origin.app.redis.keys('api:cache:GET:*')).length <= 13)
  t.match((await origin.get(as('x19'))).headers['cache-status'], /hit/)
  t.match((await origin.get(as('fr'))).headers['cache-status'], /vary-miss/)
  origin.fields = { 'cache-control': 'max-age=60', vary: '*' }
  t.equal(await isStored(origin, { url: '/star' }), false)
})

t.test('RFC 9111 section 4.1: cache finds a known variant in at most two round trips', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', vary: 'x-a' }
  await origin.get({ headers: { 'x-a': '1' } })

  const before = origin.app.redisPool.batch.counts.writes
  await origin.app.inject({ url: '/a', headers: { 'x-a': '1' } })

  t.ok(origin.app.redisPool.batch.counts.writes - before <= 2)
})

t.test('RFC 9111 section 4.1: cache serves each of many concurrent requests its own variant', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { config: { cache: { ttl: 'response' } } }, async (request, reply) => {
    await new Promise((resolve) => setImmediate(resolve))
    return reply.headers({ vary: 'x-a', 'cache-control': 'max-age=60' }).send(`for ${String(request.headers['x-a'])}`)
  })

  const replies = await Promise.all(Array.from({ length: 30 }, (_, index) => app.inject({ url: '/', headers: { 'x-a': String(index % 3) } })))

  replies.forEach(({ body }, index) => t.equal(body, `for ${index % 3}`))
})

t.test('RFC 9111 section 4.2: cache computes freshness lifetime and age', async (t) => {
  const origin = await originOf(t)
  const ttlOf = async (fields: Fields) => {
    origin.fields = fields
    const url = `/${Math.random()}`
    await origin.get({ url })
    const { headers } = await origin.get({ url })
    return [/ttl=(-?\d+)/.exec(String(headers['cache-status']))?.[1], headers.age]
  }

  t.match(await ttlOf({ 'cache-control': 'max-age=100', age: '30' }), [/^6\d$/, /^3\d$/])
  t.match(await ttlOf({ 'cache-control': 'max-age=100', date: ago(20) }), [/^7\d$/, /^2\d$/])
  t.match(await ttlOf({ expires: ago(-100), date: ago(20) }), [/^9\d$/, /^2\d$/])
  t.match(await ttlOf({ 'last-modified': ago(1000), date: ago(0) }), [/^9\d$/, /^\d$/])
  t.match(await ttlOf({ 'cache-control': 'max-age=100', expires: ago(5) }), [/^9\d$/, /^\d$/])
  t.same(await ttlOf({ 'cache-control': 'max-age=oops', expires: ago(-100) }), [undefined, undefined])
  t.same(await ttlOf({ expires: '0' }), [undefined, undefined])
})

t.test('RFC 9111 section 4.2.4: cache serves stale responses only to requests that accept them, and never with must-revalidate', async (t) => {
  const origin = await originOf(t)
  const wants = { headers: { 'cache-control': 'max-stale=100' } }
  const stale = { age: '60', etag: '"a"' }

  origin.fields = { ...stale, 'cache-control': 'max-age=30' }
  t.equal(await isStored(origin, { url: '/1' }), false)
  t.equal(await isStored(origin, { url: '/1' }, { url: '/1', ...wants }), true)
  for (const directive of ['must-revalidate', 'proxy-revalidate', 's-maxage=30', 'no-cache']) {
    origin.fields = { ...stale, 'cache-control': `max-age=30, ${directive}` }
    t.equal(await isStored(origin, { url: `/${directive}` }, { url: `/${directive}`, ...wants }), false, directive)
  }
})

t.test('RFC 9111 section 4.3: cache validates stale responses, and a 304 freshens and updates the stored one', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=0', etag: '"a"', 'last-modified': ago(1000), 'x-old': '1', 'x-both': '1' }
  const first = await origin.get()
  Object.assign(origin, { status: 304, fields: { 'cache-control': 'max-age=60', 'x-both': '2', 'content-encoding': 'x', etag: '"other"' } })

  const second = await origin.get()
  const { requestHeaders } = origin
  const third = await origin.get()

  t.equal(requestHeaders['if-none-match'], '"a"')
  t.equal(requestHeaders['if-modified-since'], first.headers['last-modified'])
  t.equal(second.statusCode, 200)
  t.equal(second.body, 'run 1')
  t.match(second.headers['cache-status'], /^prism; fwd=stale; fwd-status=304; stored/)
  t.match(third.headers, { 'cache-status': /hit/, 'x-old': '1', 'x-both': '2', etag: '"a"', 'content-encoding': undefined })
  t.equal(third.body, 'run 1')
})

t.test('RFC 9111 section 4.3.4: cache computes the age of a freshened response from its validation', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', etag: '"a"', date: ago(500) }
  await origin.get()
  Object.assign(origin, { status: 304, fields: {} })
  const { headers: { date } } = await origin.get()

  const { headers } = await origin.get()

  t.match(headers, { age: /^\d$/, 'cache-status': /hit; ttl=(60|5\d)/ })
  t.equal(headers.date, date)
  t.not(date, ago(500))
})

t.test('RFC 9111 section 4.3.2: cache evaluates preconditions itself, and forwards none of a client', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', etag: 'W/"a"', 'last-modified': ago(1000), vary: 'x-a', 'x-other': '1' }
  const filled = await origin.get({ headers: { 'if-none-match': '"a"' } })
  const statusOf = async (headers: Record<string, string>) => (await origin.get({ headers })).statusCode

  t.equal(origin.requestHeaders['if-none-match'], undefined)
  t.equal(filled.statusCode, 304)
  t.equal(await statusOf({ 'if-none-match': '"x", "a"' }), 304)
  t.equal(await statusOf({ 'if-none-match': '*' }), 304)
  t.equal(await statusOf({ 'if-none-match': '"b"', 'if-modified-since': ago(0) }), 200)
  t.equal(await statusOf({ 'if-modified-since': ago(0) }), 304)
  t.equal(await statusOf({ 'if-modified-since': ago(5000) }), 200)
  const { headers } = await origin.get({ headers: { 'if-none-match': '"a"' } })
  t.match(headers, { etag: 'W/"a"', 'cache-control': 'max-age=60', vary: 'x-a', 'x-other': undefined })
})

t.test('RFC 9110 section 14: cache serves ranges from complete stored responses, and stores no partial response', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60', etag: '"a"' }
  const part = async (range: string, more = {}) => {
    const reply = await origin.get({ headers: { range, ...more } })
    return [reply.statusCode, reply.body, reply.headers['content-range']]
  }

  t.same(await part('bytes=0-2'), [206, 'run', 'bytes 0-2/5'], 'during the fill')
  t.same(await part('bytes=-1'), [206, '1', 'bytes 4-4/5'])
  t.same(await part('bytes=4-'), [206, '1', 'bytes 4-4/5'])
  t.same(await part('bytes=9-'), [416, '', 'bytes */5'])
  t.same(await part('bytes=0-1,3-4'), [200, 'run 1', undefined])
  t.same(await part('bytes=0-2', { 'if-range': '"a"' }), [206, 'run', 'bytes 0-2/5'])
  t.same(await part('bytes=0-2', { 'if-range': '"b"' }), [200, 'run 1', undefined])
  t.equal(origin.runs, 1)
})

t.test('RFC 9110 section 9.3.2: cache serves HEAD from a stored GET response, and stores no HEAD response', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=60' }

  await origin.get({ method: 'HEAD' })
  await origin.get()
  const head = await origin.get({ method: 'HEAD' })

  t.equal(origin.runs, 2)
  t.match(head.headers, { 'cache-status': /hit/, 'content-length': '5' })
  t.equal(head.body, '')
})

t.test('RFC 9111 section 4.3.5: cache freshens or invalidates a stored GET response by the fields of a HEAD response', async (t) => {
  const origin = await originOf(t)
  const modified = ago(1000)
  const stale = { 'cache-control': 'max-age=0', etag: '"a"', 'last-modified': modified, 'x-both': '1' }
  const headed = async (path: string, first: Fields, head: Fields, headers = {}) => {
    origin.fields = first
    const { body } = await origin.get({ url: path })
    origin.fields = head
    const status = (await origin.get({ method: 'HEAD', url: path, headers })).headers['cache-status']
    const reply = await origin.get({ url: path })
    return { isStored: reply.body === body, both: reply.headers['x-both'], status }
  }

  t.match(await headed('/same', stale, { ...stale, 'cache-control': 'max-age=60', 'x-both': '2' }), { isStored: true, both: '2', status: 'prism; fwd=stale; detail=method' })
  t.match(await headed('/silent', stale, { 'cache-control': 'max-age=60' }), { isStored: true, both: '1' })
  t.match(await headed('/other tag'.replace(' ', '-'), stale, { ...stale, 'cache-control': 'max-age=60', etag: '"b"' }), { isStored: false })
  t.match(await headed('/later', stale, { ...stale, 'cache-control': 'max-age=60', 'last-modified': ago(0) }), { isStored: false })
  t.match(await headed('/longer', stale, { ...stale, 'cache-control': 'max-age=60', 'content-length': '99' }), { isStored: false })
  t.match(await headed('/fresh', { 'cache-control': 'max-age=60', etag: '"a"' }, { 'cache-control': 'max-age=60', etag: '"b"' }, { 'cache-control': 'no-cache' }), { isStored: false })
  t.match(await headed('/forbidden', stale, { ...stale, 'cache-control': 'max-age=60' }, { 'cache-control': 'no-store' }), { isStored: false })
})

t.test('RFC 9111 section 4.4: cache invalidates the URLs of an unsafe request before its response is sent', async (t) => {
  const origin = await originOf(t)
  const keptAfter = async (request: InjectOptions, fields: Fields, status = 200) => {
    Object.assign(origin, { fields: { 'cache-control': 'max-age=60' }, status: 200 })
    await origin.get()
    Object.assign(origin, { fields, status })
    await origin.get({ url: '/other', ...request })
    Object.assign(origin, { fields: { 'cache-control': 'max-age=60' }, status: 200 })
    return /hit/.test(String((await origin.get()).headers['cache-status']))
  }

  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const) t.equal(await keptAfter({ url: '/a', method }, {}), false, method)
  t.equal(await keptAfter({ url: '/a', method: 'OPTIONS' }, {}), true, 'a safe method')
  t.equal(await keptAfter({ url: '/a', method: 'POST' }, {}, 500), true, 'an error')
  t.equal(await keptAfter({ method: 'POST' }, { location: '/a' }, 201), false, 'Location')
  t.equal(await keptAfter({ method: 'POST' }, { 'content-location': 'http://localhost:80/a' }), false, 'Content-Location')
  t.equal(await keptAfter({ method: 'POST' }, { location: 'https://elsewhere.example/a' }, 201), true, 'another origin')
})

t.test('RFC 9111 section 4.4: cache invalidates the responses of a path when an unsafe route of the same path succeeds', async (t) => {
  const app = await cachingApp(t)
  let value = 1
  app.get('/things/:id', { config: { cache: true } }, async () => `${value}`)
  app.put('/things/:id', async () => `${++value}`)
  app.get('/things/:id/part', { config: { cache: true } }, async () => `${value}`)

  for (const url of ['/things/1', '/things/2', '/things/1/part']) {
    await app.inject(url)
    await stored(app)
  }
  await app.inject({ method: 'PUT', url: '/things/%31' })

  t.equal((await app.inject('/things/1')).body, '2', 'an equivalent URL (RFC 3986 section 6.2.2)')
  t.equal((await app.inject('/things/2')).body, '1')
  t.equal((await app.inject('/things/1/part')).body, '1')
})

t.test('RFC 9111 section 5.2.1: cache honours request directives only if the route allows them', async (t) => {
  const origin = await originOf(t)
  origin.fields = { 'cache-control': 'max-age=100', age: '50', etag: '"a"' }
  await origin.get()
  const isHit = async (headers: Record<string, string>) => /; hit/.test(String((await origin.get({ headers })).headers['cache-status']))

  t.equal(await isHit({ 'cache-control': 'max-age=60' }), true)
  t.equal(await isHit({ 'cache-control': 'max-age=10' }), false)
  t.equal(await isHit({ 'cache-control': 'min-fresh=10' }), true)
  t.equal(await isHit({ 'cache-control': 'min-fresh=90' }), false)
  t.equal(await isHit({ 'cache-control': 'no-cache' }), false)
  t.equal(await isHit({ pragma: 'no-cache' }), false)
  t.equal((await origin.get({ headers: { 'cache-control': 'no-cache' } })).headers['cache-status'], 'prism; fwd=request; stored')
  const alone = await origin.get({ url: '/never', headers: { 'cache-control': 'only-if-cached' } })
  t.equal(alone.statusCode, 504)
  t.equal(alone.json().code, 'PRISM_ERR_ONLY_IF_CACHED')

  const own = await cachingApp(t)
  own.get('/', { config: { cache: true } }, async () => 'x')
  await own.inject('/')
  await stored(own)
  t.match((await own.inject({ url: '/', headers: { 'cache-control': 'no-cache, no-store, max-age=0' } })).headers['cache-status'], /hit/)
})

t.test('RFC 9111 section 5.2.2.2: cache serves no stale response instead of an error with must-revalidate, however the handler fails', async (t) => {
  const origin = await originOf(t, { staleIfError: '1m' })
  for (const directive of ['must-revalidate', 'proxy-revalidate', 's-maxage=1', 'no-cache']) {
    Object.assign(origin, { status: 200, fields: { 'cache-control': `max-age=1, ${directive}`, age: '60', etag: '"a"' } })
    await origin.get({ url: `/${directive}` })
    Object.assign(origin, { status: 503, fields: {} })
    const reply = await origin.get({ url: `/${directive}` })
    t.equal(reply.statusCode, 503, directive)
    t.match(reply.headers['cache-status'], /^prism; fwd=stale/)
  }
})
