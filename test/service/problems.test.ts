import createError from '@fastify/error'
import fc from 'fast-check'
import fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import problems from '../../service/plugins/problems.ts'
import { propertyRuns } from '../support/property-runs.ts'

/** An app whose only route throws this. */
async function throwing (t: Test, error: unknown): Promise<FastifyInstance> {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(problems)
  app.get('/', async () => { throw error })
  return app
}

const bodySchema = { type: 'object', required: ['text'], additionalProperties: false, properties: { text: { type: 'string', minLength: 1 }, 'a/b': { type: 'integer' } } }
const querySchema = { type: 'object', additionalProperties: false, properties: { limit: { type: 'integer', minimum: 1 }, order: { enum: ['name', 'size'] } } }

async function validating (t: Test): Promise<FastifyInstance> {
  const app = fastify({ bodyLimit: 1024, genReqId: () => 'the-id', ajv: { customOptions: { removeAdditional: false } } })
  t.teardown(() => app.close())
  await app.register(problems)
  app.post('/', { schema: { body: bodySchema } }, async () => 'ok')
  app.get('/', { schema: { querystring: querySchema } }, async () => 'ok')
  app.get('/:id', { schema: { params: { type: 'object', properties: { id: { type: 'integer' } } } } }, async () => 'ok')
  return app
}

t.test('an error of the stack becomes a problem with its code, status and message', async (t) => {
  const TeapotError = createError('PRISM_ERR_TEAPOT', 'A teapot brews no %s.', 418)
  const app = await throwing(t, new TeapotError('coffee'))

  const reply = await app.inject('/')

  t.equal(reply.statusCode, 418)
  t.equal(reply.headers['content-type'], 'application/problem+json')
  t.equal(reply.headers['cache-control'], 'no-store')
  t.same(reply.json(), { type: 'about:blank', title: "I'm a Teapot", status: 418, detail: 'A teapot brews no coffee.', code: 'PRISM_ERR_TEAPOT', instance: 'req-1' })
})

t.test('the message of an unexpected error is hidden', async (t) => {
  for (const error of [new Error('secret at 10.0.0.1'), Object.assign(new Error('secret'), { statusCode: 99 }), 'secret', { secret: true }]) {
    const app = await throwing(t, error)

    const reply = await app.inject('/')

    t.equal(reply.statusCode, 500)
    t.match(reply.json(), { title: 'Internal Server Error', code: 'PRISM_ERR_INTERNAL', detail: /the log has this request/ })
    t.notMatch(reply.body, 'secret')
    t.notMatch(reply.body, 'problems.test')
  }
})

t.test('a 503 of the stack has its code and Retry-After, and a generic message', async (t) => {
  const GoneError = createError('PRISM_ERR_GONE', 'secret at 10.0.0.1:6379', 503)
  const plain = await throwing(t, new GoneError())
  const timed = await throwing(t, Object.assign(new GoneError(), { retryAfterSeconds: 6.2 }))

  const first = await plain.inject('/')
  const second = await timed.inject('/')

  t.match(first.json(), { status: 503, code: 'PRISM_ERR_GONE', detail: 'This is not available now; try again later.' })
  t.notMatch(first.body, 'secret')
  t.equal(first.headers['retry-after'], '1')
  t.equal(second.headers['retry-after'], '7')
})

t.test('properties of an error are added to its problem, except reserved members', async (t) => {
  const QuotaError = createError('PRISM_ERR_QUOTA', 'The quota is used up.', 429)
  const problem = { type: 'https://iana.org/assignments/http-problem-types#quota-exceeded', 'violated-policies': ['default'], status: 200, code: 'X', instance: 'X' }
  const app = await throwing(t, Object.assign(new QuotaError(), { problem, retryAfterSeconds: 12, headers: { RateLimit: '"default";r=0;t=12' } }))

  const reply = await app.inject('/')

  t.same(reply.json(), { type: problem.type, title: 'Too Many Requests', status: 429, detail: 'The quota is used up.', code: 'PRISM_ERR_QUOTA', instance: 'req-1', 'violated-policies': ['default'] })
  t.match(reply.headers, { 'retry-after': '12', ratelimit: '"default";r=0;t=12' })
})

t.test('each invalid part of a body is named by a pointer', async (t) => {
  const app = await validating(t)

  const missing = await app.inject({ method: 'POST', url: '/', payload: {} })
  const unknown = await app.inject({ method: 'POST', url: '/', payload: { text: 'x', 'c/d': 'secret' } })
  const wrong = await app.inject({ method: 'POST', url: '/', payload: { text: '' } })

  t.same(missing.json(), {
    type: 'about:blank',
    title: 'Bad Request',
    status: 400,
    detail: 'The input does not have the form that this route takes.',
    code: 'PRISM_ERR_VALIDATION',
    instance: 'the-id',
    errors: [{ pointer: '#/text', detail: "must have required property 'text'" }]
  })
  t.same(unknown.json().errors, [{ pointer: '#/c~1d', detail: 'is not known here' }])
  t.same(wrong.json().errors, [{ pointer: '#/text', detail: 'must NOT have fewer than 1 characters' }])
})

t.test('each invalid parameter is named', async (t) => {
  const app = await validating(t)

  const errorsOf = async (url: string) => (await app.inject(url)).json().errors

  t.same(await errorsOf('/?limit=0'), [{ parameter: 'limit', in: 'query', detail: 'must be >= 1' }])
  t.same(await errorsOf('/?limt=1'), [{ parameter: 'limt', in: 'query', detail: 'is not known here' }])
  t.same(await errorsOf('/?order=x'), [{ parameter: 'order', in: 'query', detail: 'must be equal to one of the allowed values: name, size' }])
  t.same(await errorsOf('/x'), [{ parameter: 'id', in: 'path', detail: 'must be integer' }])
})

t.test('Fastify’s own errors have codes of the service', async (t) => {
  const app = await validating(t)
  const post = async (payload: string, type = 'application/json', more = {}) => (await app.inject({ method: 'POST', url: '/', payload, headers: { 'content-type': type, ...more } })).json()

  t.match(await post('{"text":'), { status: 400, code: 'PRISM_ERR_JSON', detail: 'The body is not JSON.' })
  t.match(await post('{"__proto__":{}}'), { status: 400, code: 'PRISM_ERR_JSON' })
  t.match(await post(''), { status: 400, code: 'PRISM_ERR_JSON', detail: 'The body is empty, but said to be JSON.' })
  t.match(await post('x', 'application/xml'), { status: 415, code: 'PRISM_ERR_MEDIA_TYPE' })
  t.match(await post('x'.repeat(2000)), { status: 413, code: 'PRISM_ERR_BODY_TOO_LARGE' })
  t.match(await post('{}', 'application/json', { 'content-length': '9' }), { status: 400, code: 'PRISM_ERR_BODY_LENGTH' })
  t.match((await app.inject('/no/where?secret')).json(), { status: 404, code: 'PRISM_ERR_NOT_FOUND', instance: 'the-id' })
})

t.test('a problem for HEAD has fields and no body', async (t) => {
  const app = await validating(t)
  await app.listen({ port: 0, host: '127.0.0.1' })

  const reply = await fetch(`${app.listeningOrigin}/no/where`, { method: 'HEAD' })

  t.equal(reply.status, 404)
  t.equal(reply.headers.get('content-type'), 'application/problem+json')
  t.equal(await reply.text(), '')
})

t.test('fields of the abandoned response are removed', async (t) => {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(problems)
  app.get('/', async (_request, reply) => {
    reply.headers({ etag: '"1"', 'cache-control': 'public, max-age=60', 'x-other': 'stays' })
    throw new Error('late')
  })

  const reply = await app.inject('/')

  t.match(reply.headers, { 'cache-control': 'no-store', 'x-other': 'stays' })
  t.notOk('etag' in reply.headers)
})

t.test('a 405 names the allowed methods of the path', async (t) => {
  const app = await validating(t)
  const send = async (method: 'PUT' | 'DELETE' | 'OPTIONS' | 'GET', url: string) => {
    const { statusCode, headers: { allow }, body } = await app.inject({ method, url })
    return [statusCode, allow, body === '' ? body : JSON.parse(body).code]
  }

  t.same(await send('PUT', '/?a=b'), [405, 'GET, HEAD, OPTIONS, POST', 'PRISM_ERR_METHOD'])
  t.same(await send('DELETE', '/7'), [405, 'GET, HEAD, OPTIONS', 'PRISM_ERR_METHOD'])
  t.same(await send('OPTIONS', '/7'), [204, 'GET, HEAD, OPTIONS', ''])
  t.same(await send('OPTIONS', '/7/8'), [404, undefined, 'PRISM_ERR_NOT_FOUND'])
  t.same(await send('GET', '/7/8'), [404, undefined, 'PRISM_ERR_NOT_FOUND'])
})

/** Any text, including lone surrogates and control characters. */
const anyText = fc.string({ unit: fc.oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }), fc.constantFrom('\ud800', '\udfff', '\0', '\r\n', '~', '/', '#', '%', '"')), maxLength: 60 })

t.test('a member is named whatever its name is: lone surrogate, control characters, 60 kB', async (t) => {
  const app = fastify({ ajv: { customOptions: { removeAdditional: false } } })
  t.teardown(() => app.close())
  await app.register(problems)
  app.post('/', { schema: { body: { type: 'object', additionalProperties: { type: 'object', additionalProperties: { type: 'integer' } } } } }, async () => 'ok')
  app.post('/closed', { schema: { body: { ...bodySchema, required: [] } } }, async () => 'ok')
  const check = async (url: string, payload: unknown) => {
    const reply = await app.inject({ method: 'POST', url, headers: { 'content-type': 'application/json' }, payload: JSON.stringify(payload) })
    if (!/^application\/(?:problem\+)?json|^text\/plain/.test(String(reply.headers['content-type'])) || reply.statusCode >= 500) throw new Error(`${reply.statusCode} ${reply.body}`)
    return reply
  }

  await fc.assert(fc.asyncProperty(anyText.filter((name) => name !== '__proto__'), anyText, async (name, other) => {
    await check('/', { [name]: { [other]: 'x' } })
    await check('/closed', { [name]: 1 })
  }), { numRuns: propertyRuns(100) })

  t.same((await check('/closed', { '\ud800': 1 })).json().errors, [{ pointer: '#/%EF%BF%BD', detail: 'is not known here' }])
  t.ok((await check('/closed', { ['/'.repeat(60_000)]: 1 })).body.length < 2000)
})

t.test('any thrown value becomes a problem: members that JSON cannot represent, fields that Node rejects, unreadable properties', async (t) => {
  const circle: Record<string, unknown> = {}
  circle.self = circle
  const deep = Array.from({ length: 30_000 }).reduce((inner) => [inner], [])
  const thrown = { statusCode: 404, message: 'gone' }
  const errors = [
    { ...thrown, problem: { circle } }, { ...thrown, problem: { number: 1n } }, { ...thrown, problem: { deep } }, { ...thrown, problem: { toJSON () { throw new Error('no') } } },
    { ...thrown, headers: { 'x-a': '\u4e2d', 'x b': 'c', 'x-c': 'a\r\nb', 'content-length': '1', 'transfer-encoding': 'chunked' } },
    { ...thrown, headers: { 'x-a': Object.create(null) } }
  ]

  for (const error of errors) {
    const reply = await (await throwing(t, error)).inject('/')
    t.match([reply.statusCode, reply.json().detail, reply.headers['content-type']], [404, 'gone', 'application/problem+json'])
    t.same([reply.headers['x-a'], reply.headers['x b'], reply.headers['x-c'], reply.headers['transfer-encoding']], Array(4).fill(undefined))
  }
  for (const error of [{ get code () { throw new Error('no') } }, Object.create(null), undefined, null, Symbol('x')]) t.equal((await (await throwing(t, error)).inject('/')).statusCode, 500)
})

t.test('a client\'s text in a field that cannot contain it becomes a problem', async (t) => {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(problems)
  app.get<{ Querystring: { name: string } }>('/', async (request, reply) => reply.header('x-name', request.query.name).send('ok'))
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  for (const name of ['\u4e2d', 'a\r\nset-cookie: a=b', '\0', '\ud83d\ude00']) {
    const reply = await fetch(`${url}/?name=${encodeURIComponent(name)}`)
    t.match([reply.status, reply.headers.get('content-type'), reply.headers.get('x-name')], [500, 'application/problem+json', null])
  }
  t.equal((await fetch(`${url}/?name=a`)).headers.get('x-name'), 'a')
})
