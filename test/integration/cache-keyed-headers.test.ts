import type { FastifyInstance, FastifyRequest, RouteShorthandOptions } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { until } from '../support/until.ts'

/** Sends one request, and waits until its response is stored. */
async function send (app: FastifyInstance, url: string, headers: Record<string, string> = {}) {
  const { statusCode, body, headers: fields } = await app.inject({ url, headers })
  await stored(app)
  return { statusCode, body, status: String(fields['cache-status']) }
}

const tenantOf = (request: FastifyRequest) => String(request.headers.authorization)
const echo = async ({ headers }: FastifyRequest) => String(headers['x-tenant'])
const cache = { vary: ['x-tenant'] }

/** Ways in which a hook gives a request another header than the client has sent, by the path of a route. */
const changes: Record<string, (request: FastifyRequest) => void> = {
  '/in-place': (request) => { request.headers['x-tenant'] = tenantOf(request) },
  '/on-the-raw-message': (request) => { request.raw.headers = { ...request.raw.headers, 'x-tenant': tenantOf(request) } },
  '/with-the-setter-of-the-request': (request) => { request.headers = { ...request.headers, 'x-tenant': tenantOf(request) } }
}

for (const hook of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
  t.test(`a header that a hook sets in ${hook}, and that the route's vary names, is in the key as the handler sees it`, async (t) => {
    const app = await cachingApp(t)
    for (const [path, change] of Object.entries(changes)) app.get(path, { config: { cache }, [hook]: async (request: FastifyRequest) => { change(request) } }, echo)

    for (const path of Object.keys(changes)) {
      for (const tenant of ['a', 'b', 'a', 'b']) t.match(await send(app, path, { authorization: tenant }), { body: tenant }, `${path}: ${tenant}`)
    }
    for (const tenant of ['a', 'b']) t.match(await send(app, '/in-place', { authorization: tenant }), { body: tenant, status: /hit/ })
  })
}

t.test('a host that a hook sets after the lookup is in the key of a route with hosts', async (t) => {
  const app = await cachingApp(t)
  const hosts = ['a.example', 'b.example']
  app.get('/', { config: { cache: { hosts } }, preHandler: async (request) => { request.headers.host = tenantOf(request) } }, async ({ host }) => host)

  for (const status of [/stored/, /hit/]) for (const host of hosts) t.match(await send(app, '/', { authorization: host }), { body: host, status })
})

t.test('a Host that is not the host of the key is not shared, as behind a proxy that forwards another one', async (t) => {
  const app = await cachingApp(t, { server: { trustProxy: true } })
  app.get('/', { config: { cache: { hosts: ['a.example'] } } }, async ({ headers }) => headers.host)

  for (const host of ['first.internal', 'second.internal']) t.match(await send(app, '/', { host, 'x-forwarded-host': 'a.example' }), { body: host, status: /detail=unkeyed/ })
})

const integer = { type: 'object', properties: { 'x-n': { type: 'integer', default: 3 }, 'x-flag': { type: 'boolean' } } }
/** As zod and others: what they return is added to the headers. */
const asObject: RouteShorthandOptions = { schema: { headers: {} }, validatorCompiler: () => (headers: Record<string, string>) => ({ value: { 'x-n': { n: headers['x-n'] } } }) }
const read = async ({ headers }: FastifyRequest) => ({ n: headers['x-n'], flag: headers['x-flag'] })

t.test('headers that validation converts or adds are in the key as received, whatever else the key contains', async (t) => {
  const app = await cachingApp(t)
  const vary = ['x-n', 'x-flag']
  app.get('/ajv', { schema: { headers: integer }, config: { cache: { vary } } }, read)
  app.get('/ajv-partition', { schema: { headers: integer }, config: { cache: { vary, partition: () => 'all' } } }, read)
  app.get('/ajv-response', { schema: { headers: integer }, config: { cache: { ttl: 'response' } } }, async (request, reply) => reply.headers({ vary: 'x-n', 'cache-control': 'max-age=60' }).send(await read(request)))
  app.get('/object', { ...asObject, config: { cache: { vary } } }, read)
  app.get('/object-partition', { ...asObject, config: { cache: { vary, partition: () => 'all' } } }, read)

  const expected: [url: string, fields: Record<string, string>, body: unknown][] = [
    ['/ajv', { 'x-n': '4', 'x-flag': 'true' }, { n: 4, flag: true }], ['/ajv', { 'x-n': '5' }, { n: 5 }], ['/ajv', {}, { n: 3 }],
    ['/ajv-partition', { 'x-n': '4' }, { n: 4 }], ['/ajv-partition', {}, { n: 3 }],
    ['/ajv-response', { 'x-n': '04' }, { n: 4 }], ['/ajv-response', {}, { n: 3 }],
    ['/object', { 'x-n': '4' }, { n: { n: '4' } }], ['/object', { 'x-n': '5' }, { n: { n: '5' } }],
    ['/object-partition', { 'x-n': '4' }, { n: { n: '4' } }], ['/object-partition', { 'x-n': '5' }, { n: { n: '5' } }]
  ]
  for (const status of [/stored/, /hit/]) for (const [url, fields, body] of expected) t.match(await send(app, url, fields), { statusCode: 200, body: JSON.stringify(body), status }, `${url} ${JSON.stringify(fields)}`)
})

t.test('a header that a hook makes an object is in no key', async (t) => {
  const app = await cachingApp(t)
  const make = async (request: FastifyRequest) => { (request.headers as Record<string, unknown>)['x-tenant'] = { of: tenantOf(request) } }
  app.get('/', { config: { cache }, preHandler: make }, async ({ headers }) => headers['x-tenant'])

  for (const tenant of ['a', 'b']) t.match(await send(app, '/', { authorization: tenant }), { body: `{"of":"${tenant}"}`, status: /fwd=bypass; detail=unkeyed/ })
})

t.test('a background refresh sends the headers of the key, and not what validation has made of them', async (t) => {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/', { schema: { headers: integer }, config: { cache: { ttl: '1ms', vary: ['x-n'], staleWhileRevalidate: '1h' } } }, async ({ headers }) => `${String(headers['x-n'])} of run ${++runs}`)

  t.match(await send(app, '/'), { body: '3 of run 1' })
  await until(async () => (await send(app, '/')).status.includes('hit') && runs >= 2, { what: 'the refresh has run the handler' })
  await until(async () => (await send(app, '/')).body !== '3 of run 1', { what: 'its response is stored under the key of the client' })
})
