import { parse } from 'node:querystring'
import type { FastifyInstance, FastifyRequest, RouteShorthandOptions } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'

type Query = Record<string, unknown>

const cache = true
const echo = async (request: FastifyRequest) => ({ query: request.query, params: request.params })

/** Sends one request, and waits until the response is stored. */
async function send (app: FastifyInstance, url: string, headers: Record<string, string> = {}) {
  const { body, statusCode, headers: { 'cache-status': status } } = await app.inject({ url, headers })
  await stored(app)
  return { body, statusCode, status: String(status) }
}

/** A validator of another library: returns a new value, like zod and joi. */
const custom = (make: (query: Query) => Query): RouteShorthandOptions => ({ schema: { querystring: {} }, validatorCompiler: () => (query: Query) => ({ value: make(query) }) })

const paging = { $id: 'paging', type: 'object', properties: { page: { type: 'integer', default: 1 }, size: { type: 'integer', default: 20 } } }
const page = { type: 'object', properties: { page: { type: 'integer', default: 1 } } }

const byAjv: Record<string, object> = {
  'a default in place': page,
  'a reference': { $ref: 'paging#' },
  allOf: { allOf: [{ $ref: 'paging#' }, { type: 'object', properties: { q: { type: 'string', default: '' } } }] },
  'if and then': { ...page, if: { properties: { page: { const: 1 } } }, then: { properties: { size: { type: 'integer', default: 5 } } } },
  'a nested default': { type: 'object', properties: { page: { type: 'integer', default: 1 }, sort: { type: 'object', default: {}, properties: { by: { type: 'string', default: 'name' } } } } },
  'an array': { type: 'object', properties: { page: { type: 'array', items: { type: 'integer' }, default: [1] } } },
  'a strict reference': { $ref: 'strict#' }
}

t.test('cache stores responses of routes whose query has defaults and coercions, however the schema is written', async (t) => {
  const app = await cachingApp(t)
  app.addSchema(paging)
  app.addSchema({ ...paging, $id: 'strict', additionalProperties: false })
  for (const [index, querystring] of Object.values(byAjv).entries()) app.get(`/${index}`, { schema: { querystring }, config: { cache } }, echo)

  for (const [index, name] of Object.keys(byAjv).entries()) {
    for (const url of [`/${index}`, `/${index}?page=2`]) {
      const first = await send(app, url)
      t.match(first, { statusCode: 200, status: /stored/ }, `${name}: ${url}`)
      t.match(await send(app, url), { body: first.body, status: /hit/ }, `${name}: ${url}`)
    }
  }
})

const transforms: Record<string, (query: Query) => Query> = {
  coercion: ({ page = '1' }) => ({ page: Number(page) }),
  list: ({ page = 'a,b' }) => ({ page: String(page).split(',') }),
  date: ({ page = '2026' }) => ({ page: new Date(String(page)) }),
  set: ({ page = 'a' }) => ({ page: new Set([page]), pages: new Map([['page', page]]) }),
  bigint: ({ page = '1' }) => ({ page: String(BigInt(String(page))), text: BigInt(1).toString() }),
  renamed: ({ page = '1' }) => ({ number: page }),
  constant: () => ({})
}

t.test('cache stores responses of routes whose validator returns a value of its own, and its removed parameters neither bypass nor split', async (t) => {
  const app = await cachingApp(t)
  for (const [name, make] of Object.entries(transforms)) app.get(`/${name}`, { ...custom(make), config: { cache } }, async (request) => Object.entries(request.query as Query).map(([key, value]) => [key, String(value)]))

  for (const name of Object.keys(transforms)) {
    for (const url of [`/${name}`, `/${name}?page=2`]) {
      const first = await send(app, url)
      t.match(first, { statusCode: 200, status: name === 'constant' && url !== `/${name}` ? /hit/ : /stored/ }, url)
      t.match(await send(app, url), { body: first.body, status: /hit/ }, url)
      t.match(await send(app, `${url}${url.includes('?') ? '&' : '?'}utm_source=mail`), { body: first.body, status: /hit/ }, `${url}, with utm_source`)
    }
  }
})

t.test('cache keeps a parameter in the key from which a validator computes others', async (t) => {
  const app = await cachingApp(t)
  app.get('/', { ...custom(({ first = '', last = '' }) => ({ name: `${String(first)} ${String(last)}` })), config: { cache } }, async (request) => request.query)

  await send(app, '/?first=Ada&last=L&utm=1')
  t.match(await send(app, '/?first=Ada&last=L'), { status: /hit/ })
  t.match(await send(app, '/?first=Ada&last=M'), { body: '{"name":"Ada M"}', status: /stored/ })
})

t.test('cache gives the handler what validation makes of the listed parameters alone', async (t) => {
  const app = await cachingApp(t)
  app.get('/defaults', { schema: { querystring: { $ref: 'paging#' } }, config: { cache: { query: ['page'] } } }, echo)
  app.get('/computed', { ...custom(({ page = '1', tone = 'plain' }) => ({ page, style: `${String(tone)} style` })), config: { cache: { query: ['page'] } } }, echo)
  app.addSchema(paging)

  t.match(JSON.parse((await send(app, '/defaults?page=3&size=99')).body), { query: { page: 3, size: 20 } })
  t.match(await send(app, '/defaults?page=3&size=7'), { status: /hit/ })
  t.match(JSON.parse((await send(app, '/computed?page=3&tone=evil')).body), { query: { page: '3', style: 'plain style' } })
  t.match(await send(app, '/computed?page=3'), { status: /hit/ })
})

/** What a hook does to the query of one client, behind validation. */
const hooks: Record<string, [options: RouteShorthandOptions, change: (request: FastifyRequest) => void]> = {
  'deletes a default': [{ schema: { querystring: { type: 'object', properties: { visibility: { type: 'string', default: 'public' } } } } }, (request) => { delete (request.query as Query).visibility }],
  'replaces a default': [{ schema: { querystring: { $ref: 'paging#' } } }, (request) => { (request.query as Query).size = 1000 }],
  'restores what validation has changed': [custom(() => ({ role: 'guest' })), (request) => { request.query = { role: 'all' } }],
  'restores what validation has removed': [{ schema: { querystring: { type: 'object', additionalProperties: false, properties: {} } } }, (request) => { request.query = { role: 'all' } }],
  'puts in what cannot be compared': [custom(() => ({ role: new (class { #role = 'guest'; toJSON (): string { return this.#role } })() })), () => {}],
  'changes a date': [custom(() => ({ since: new Date(0) })), (request) => { ((request.query as Query).since as Date).setTime(1) }]
}

t.test('cache shares nothing of a query that a hook has changed behind validation', async (t) => {
  const app = await cachingApp(t)
  app.addSchema(paging)
  for (const [index, [options, change]] of Object.values(hooks).entries()) {
    app.get(`/${index}`, { ...options, config: { cache }, preHandler: async (request) => { if (request.headers['x-user'] === 'admin') change(request) } }, async (request) => JSON.stringify([request.headers === undefined, request.query]))
  }

  for (const [index, name] of Object.keys(hooks).entries()) {
    const admin = await send(app, `/${index}?role=all`, { 'x-user': 'admin' })
    t.match(admin.status, /detail=unkeyed/, name)
    t.notMatch((await send(app, `/${index}?role=all`, { 'x-user': 'guest' })).status, /hit/, name)
    t.match(await send(app, `/${index}?role=all`, { 'x-user': 'admin' }), { body: admin.body, status: /detail=unkeyed/ }, name)
  }
})

/** Parsers of an app's own, and two queries that they tell apart. */
const parsers: Record<string, [parse: (text: string) => Query, queries: readonly [string, string]]> = {
  'ignores case': [(text) => ({ ...parse(text.toLowerCase()) }), ['ID=1&utm=x', 'ID=2&utm=x']],
  'reads brackets': [(text) => Object.fromEntries([...new URLSearchParams(text)].map(([name, value]) => [name.replace(/\[.*/, ''), value])), ['id[a]=1&utm=x', 'id[a]=2&utm=x']],
  'splits at semicolons': [(text) => ({ ...parse(text, ';') }), ['utm=x;id=1', 'utm=x;id=2']],
  'keeps an order that sorting by name changes': [(text) => ({ id: [...new URLSearchParams(text.toLowerCase()).values()].join('') }), ['ID=1&id=2', 'id=2&ID=1']]
}

t.test('cache keeps in the key what an app\'s own query parser makes parameters of', async (t) => {
  const { url } = await startRedisProcess(t)
  for (const [index, [name, [querystringParser, queries]]] of Object.entries(parsers).entries()) {
    const app = await cachingApp(t, { url, server: { routerOptions: { querystringParser } } })
    const path = `/${index}`
    const strict = { querystring: { type: 'object', additionalProperties: false, properties: { id: { type: 'string' } } } }
    app.get(`${path}/strict`, { schema: strict, config: { cache } }, echo)
    app.get(`${path}/listed`, { config: { cache: { query: ['id'] } } }, echo)
    app.get(`${path}/plain`, { config: { cache } }, echo)
    app.get(`${path}/computed`, { ...custom(({ id = '' }) => ({ id })), config: { cache } }, echo)
    for (const kind of ['strict', 'listed', 'plain', 'computed']) {
      const [one, other] = [await send(app, `${path}/${kind}?${queries[0]}`), await send(app, `${path}/${kind}?${queries[1]}`)]
      t.match([one, other], [{ statusCode: 200, status: /stored/ }, { statusCode: 200, status: /stored/ }], `${name}, ${kind}`)
      t.not(one.body, other.body, `${name}, ${kind}`)
      t.match(await send(app, `${path}/${kind}?${queries[0]}`), { body: one.body, status: /hit/ }, `${name}, ${kind}`)
    }
  }
})
