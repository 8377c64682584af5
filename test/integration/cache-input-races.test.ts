import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

// Data is read before the handler runs: the session together with the lookup, a database row by a guard.

declare module 'fastify' {
  interface SessionData { 'test-list': string }
  interface FastifyRequest { row: string }
}

interface TestRoute { Querystring: { gate?: string }, Params: { value: string } }

/** An app whose guard can be delayed after the session was loaded, and after it has read a row. */
async function gatedApp (t: Parameters<typeof cachingApp>[0], url: string, rows: { row: string }): Promise<{ app: FastifyInstance, waiting: () => number, open: () => void }> {
  const app = await cachingApp(t, { url, hasSessions: true })
  const gate = { ...Promise.withResolvers<void>(), waiting: 0 }
  app.decorateRequest('row', '')
  app.addHook<TestRoute>('preHandler', async (request) => {
    request.row = rows.row
    if (request.query.gate === undefined) return
    gate.waiting += 1
    await gate.promise
  })
  app.get('/list', { config: { cache: { ttl: '5m', partition: 'session', tags: ['lists'] } } }, async ({ session }) => ({ list: session.get('test-list') ?? null }))
  app.get('/own', { config: { cache: { ttl: '5m', partition: ({ session }) => session.userId, tags: ['lists'] } } }, async ({ session }) => ({ list: session.get('test-list') ?? null }))
  app.get('/row', { config: { cache: { ttl: '5m', tags: ['rows'], trackInputs: false } } }, async (request) => ({ row: request.row }))
  app.post('/sign-in', async (request) => { await request.session.signIn('ada') })
  app.put<TestRoute>('/list/:value', async (request) => {
    request.session.set('test-list', request.params.value)
    await request.session.save()
    await app.cache.purge('lists')
  })
  await app.ready()
  return { app, waiting: () => gate.waiting, open: gate.resolve }
}

for (const path of ['/list', '/own']) {
  t.test(`a purge invalidates a response whose session was loaded before the purge: ${path}`, async (t) => {
    const { url } = await startRedis(t)
    const [here, there] = [await gatedApp(t, url, { row: '' }), await gatedApp(t, url, { row: '' })]
    const { cookies: [cookie] } = await here.app.inject({ method: 'POST', url: '/sign-in' })
    const headers = { cookie: `${cookie?.name}=${cookie?.value}` }
    await here.app.inject({ method: 'PUT', url: '/list/old', headers })

    const early = there.app.inject({ url: `${path}?gate=1`, headers })
    await until(() => there.waiting() === 1, { what: 'the first session is loaded' })
    t.equal((await here.app.inject({ method: 'PUT', url: '/list/new', headers })).statusCode, 200)
    const late = there.app.inject({ url: `${path}?gate=1`, headers })
    await until(() => there.waiting() === 2, { what: 'a request arrives after the purge' })
    there.open()

    t.same((await early).json(), { list: 'old' }, 'requested before the purge')
    t.same((await late).json(), { list: 'new' }, 'does not join a run with older data')
    await stored(there.app)
    t.same((await there.app.inject({ url: `${path}?gate=1`, headers })).json(), { list: 'new' })
  })
}

t.test('a purge invalidates a response whose guard read a row before the purge', async (t) => {
  const { url } = await startRedis(t)
  const rows = { row: 'old' }
  const { app, waiting, open } = await gatedApp(t, url, rows)

  await app.cache.purge('others')

  const early = app.inject('/row?gate=1')
  await until(() => waiting() === 1, { what: 'the first row is read' })
  rows.row = 'new'
  await app.cache.purge('rows')
  const late = app.inject('/row?gate=1')
  await until(() => waiting() === 2, { what: 'a request arrives after the purge' })
  open()

  t.same((await early).json(), { row: 'old' })
  t.same((await late).json(), { row: 'new' })
  await stored(app)
  t.same((await app.inject('/row?gate=1')).json(), { row: 'new' })
})
