import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { CacheChoice, CacheRequest } from '../../plugins/cache.ts'
import { until } from '../support/until.ts'
import { cachingApp, stored } from '../support/caching.ts'

interface Line { level: number, msg: string, err?: { code?: string } }

const required = { querystring: { type: 'object', required: ['country'], properties: { country: { type: 'string' } } } }
const wrong: Record<string, unknown> = { NaN, Infinity, '-Infinity': -Infinity, object: { id: 1 }, boolean: true, function: () => 'a', symbol: Symbol('a'), promise: Promise.resolve('a') }

/** An app with a route `/:id` whose cached response is `respond(request)`; a request with `x-refused` is rejected by a guard. */
async function start (t: Test, cache: CacheChoice, { schema = {}, respond = (_request: CacheRequest): unknown => 'page' } = {}): Promise<FastifyInstance & { lines: Line[] }> {
  const lines: Line[] = []
  const app = await cachingApp(t, { server: { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Line) } } } } })
  app.get('/:id', {
    schema,
    config: { cache },
    onRequest: async (request, reply) => { if (request.headers['x-refused'] !== undefined) return reply.code(401).send('no') }
  }, async (request) => respond(request as CacheRequest))
  return Object.assign(app, { lines })
}

async function send (app: FastifyInstance, url = '/7', headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
  const response = await app.inject({ url, headers })
  await stored(app)
  return response
}

const isHit = ({ headers }: LightMyRequestResponse) => String(headers['cache-status']).includes('hit')

t.test('cache calls a tags function that throws early again after validation and guards have accepted the request', async (t) => {
  const functions: Record<string, (request: CacheRequest) => string[]> = {
    throws: (request) => [`country:${String(request.query.country).toLowerCase()}:${(request.query.country as string).length}`],
    'returns nothing': (request) => (request.query.country === undefined ? undefined : [`country:${request.query.country as string}`]) as string[]
  }
  for (const [name, tags] of Object.entries(functions)) {
    const app = await start(t, { tags, trackInputs: false }, { schema: required })

    t.equal((await send(app, '/7')).statusCode, 400, `${name}: rejected by validation`)
    t.equal((await send(app, '/7', { 'x-refused': 'yes' })).statusCode, 401, `${name}: rejected by a guard`)
    t.same([isHit(await send(app, '/7?country=fr')), isHit(await send(app, '/7?country=fr'))], [false, true])
    t.same(app.lines.filter(({ level }) => level >= 50), [])
  }

  const byUser = await start(t, { trackInputs: false, tags: (request) => [`user:${(request as unknown as { user: { id: string } }).user.id}`] })
  byUser.addHook('preHandler', async (request) => { Object.assign(request, { user: { id: 'ann' } }) })
  t.same([isHit(await send(byUser)), isHit(await send(byUser))], [false, true], 'from a property that a guard sets')
  await byUser.cache.purge('user:ann')
  t.notOk(isHit(await send(byUser)))
})

t.test('cache does not store if a tags function throws or returns no valid tags, and sends the response unchanged', async (t) => {
  const failing: Record<string, () => unknown> = {
    throws: () => { throw new Error('expected failure') }, undefined: () => undefined, null: () => null, 'an empty tag': () => [''], 'a reserved tag': () => ['=/7']
  }
  for (const [name, tags] of Object.entries(failing)) {
    const app = await start(t, { tags: tags as () => string[] })
    const responses = [await send(app), await send(app)]
    t.same(responses.map((response) => [response.statusCode, response.body, isHit(response)]), [[200, 'page', false], [200, 'page', false]], name)
    t.match(responses[1]?.headers['cache-status'], /detail=tags/)
    t.equal(app.lines.filter(({ msg }) => msg.includes('tags function')).length, name === 'throws' ? 1 : 0, 'one warning')
  }

  const late = await start(t, { tags: (request) => (request as unknown as { done?: boolean }).done === true ? undefined as never : ['page'], trackInputs: false }, { respond: (request) => { Object.assign(request, { done: true }); return 'page' } })
  t.same([isHit(await send(late)), isHit(await send(late))], [false, false], 'invalid only at the end')
})

t.test('cache accepts numbers and a single text as tags, and derives no unintended tag', async (t) => {
  for (const [tags, tag] of [[() => [42], '42'], [() => 'one', 'one'], [() => [0], '0']] as const) {
    const app = await start(t, { tags: tags as never })
    t.same([isHit(await send(app)), isHit(await send(app))], [false, true])
    for (const other of ['undefined', 'null', 'NaN', '[object Promise]', '[object Object]']) await app.cache.purge(other)
    t.ok(isHit(await send(app)))
    await app.cache.purge(tag)
    t.notOk(isHit(await send(app)))
  }
})

t.test('cache rejects an invalid tag list or partition with an error that names the function, after the guards, logged once', async (t) => {
  const routes: Record<string, (value: unknown) => CacheChoice> = {
    tags: (value) => ({ tags: () => value as string[] }),
    'tags in a list': (value) => ({ tags: () => ['a', value] as string[] }),
    'tags after other options': (value) => ({ partition: () => 'one', tags: () => value as string[] }),
    partition: (value) => ({ partition: () => value as string })
  }
  for (const [name, choose] of Object.entries(routes)) {
    for (const [kind, value] of Object.entries({ ...wrong, ...name === 'partition' ? { list: ['a'] } : {} })) {
      const app = await start(t, choose(value))
      t.equal((await send(app, '/7', { 'x-refused': 'yes' })).statusCode, 401)
      t.match((await send(app)).json(), { statusCode: 500, code: 'PRISM_ERR_OPTION', message: new RegExp(`cache\\.${name.split(' ')[0]}\\(\\)`) }, `${name}: ${kind}`)
      t.same(app.lines.filter(({ level }) => level >= 50).map(({ err }) => err?.code), ['PRISM_ERR_OPTION'], 'logged once')
    }
  }
})

t.test('cache handles promises that reject in its functions, and the process stays up', async (t) => {
  const unhandled: unknown[] = []
  const note = (error: unknown) => { unhandled.push(error) }
  process.on('unhandledRejection', note)
  t.after(() => process.off('unhandledRejection', note))
  const rejecting = () => Promise.reject(new Error('expected failure')) as never
  for (const cache of [{ tags: rejecting }, { tags: () => [rejecting(), rejecting()] }, { partition: rejecting }, { partition: () => 'one', tags: rejecting }]) {
    const app = await start(t, cache)
    t.match((await send(app)).json(), { code: 'PRISM_ERR_OPTION' })
    await new Promise(setImmediate)
  }

  t.same(unhandled, [])
})

t.test('cache never serves the response of one user to another, whatever the partition function returns', async (t) => {
  const respond = ({ headers }: CacheRequest) => headers['x-user']
  const partitions: Record<string, (request: CacheRequest) => unknown> = {
    'NaN by Number()': ({ headers }) => Number(headers['x-user']),
    'NaN by parseInt()': ({ headers }) => parseInt(String(headers['x-user']), 10),
    'Infinity by division': ({ headers }) => String(headers['x-user']).length / 0,
    null: () => null,
    undefined: () => undefined,
    'an empty text': ({ headers }) => String(headers['x-user']).replace(/\D/g, ''),
    'lone surrogates': ({ headers }) => headers['x-user'] === 'ann' ? '\ud800' : '\ud801',
    promises: async ({ headers }) => headers['x-user']
  }
  for (const [name, partition] of Object.entries(partitions)) {
    const app = await start(t, { partition: partition as () => string, trackInputs: false }, { respond })
    await send(app, '/7', { 'x-user': 'ann' })
    const bob = await send(app, '/7', { 'x-user': 'bob' })
    t.notOk(isHit(bob), name)
    t.notOk(bob.body.includes('ann'), name)
    t.equal(bob.statusCode, /NaN|Infinity|promises/.test(name) ? 500 : 200)
  }

  const byNumber = await start(t, { partition: ({ headers }) => String(headers['x-user']).length, trackInputs: false }, { respond })
  await send(byNumber, '/7', { 'x-user': 'ann' })
  t.ok(isHit(await send(byNumber, '/7', { 'x-user': 'bob' })), 'a number is a valid partition')
  t.notOk(isHit(await send(byNumber, '/7', { 'x-user': 'anna' })))
})

t.test('cache joins no handler run that is older than a purge by the tags of the validated request', async (t) => {
  const app = await cachingApp(t)
  const schema = { params: { type: 'object', properties: { id: { type: 'integer' } } } }
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let value = 'old'
  let runs = 0
  app.get('/:id', { schema, config: { cache: { tags: (request) => [`item:${request.params.id}`] } } }, async () => {
    const seen = value
    await gates[runs++]?.promise
    return seen
  })

  const before = app.inject('/007')
  await until(() => runs === 1, { what: 'the first run has read' })
  value = 'new'
  await app.cache.purge('item:7')
  const after = app.inject('/007')
  await until(() => runs === 2, { what: 'a second run starts, because the purge came between' })
  for (const gate of gates) gate.resolve()

  t.same([(await before).body, (await after).body], ['old', 'new'])
})

t.test('cache serves a request whose tags function never returns the same tag twice', async (t) => {
  const app = await cachingApp(t)
  let calls = 0
  app.get('/', { config: { cache: { tags: () => [`call:${++calls}`] } } }, async () => 'x')
  t.match(await app.inject('/'), { statusCode: 200, body: 'x' })
})
