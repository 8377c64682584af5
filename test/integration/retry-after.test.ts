import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import prism from '../../plugins/index.ts'
import { problemFields, problemOf } from '../../plugins/standalone/problem.ts'
import { testSecret } from '../support/app.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { startRig } from '../support/faults.ts'
import type { Rig } from '../support/faults.ts'
import { plainFetch } from '../support/plain-fetch.ts'
import { until } from '../support/until.ts'

interface Thrown extends Error { code: string, statusCode: number, headers: Record<string, string> }

/** What an app's error handler may do with an error, by the prefix of the scope that has it. */
const errorHandlers: Record<string, (scope: FastifyInstance) => void> = {
  none: () => {},
  sends: (scope) => { scope.setErrorHandler((error, _request, reply) => reply.send(error)) },
  throws: (scope) => { scope.setErrorHandler((error) => { throw error }) },
  headers: (scope) => { scope.setErrorHandler<Thrown>(({ code, statusCode, headers }, _request, reply) => reply.code(statusCode).headers(headers).send({ code })) },
  problem: (scope) => {
    scope.setErrorHandler((error, { id }, reply) => {
      const problem = problemOf(error, id)
      return reply.code(problem.status).headers(problemFields(error)).send(problem)
    })
  }
}

/** Routes that fail without an outage, by an outage that begins in their handler, and during one; each with the code of its error. */
const routes = {
  always: { few: 'PRISM_ERR_CACHE_CONCURRENCY', subscribe: 'PRISM_ERR_TOO_MANY_TOPICS' },
  inHandler: { 'sent-save': 'PRISM_ERR_REDIS_UNAVAILABLE', 'awaited-save': 'PRISM_ERR_REDIS_UNAVAILABLE' },
  outage: {
    required: 'PRISM_ERR_SESSION_UNAVAILABLE',
    set: 'PRISM_ERR_SESSION_UNAVAILABLE',
    'sign-out': 'PRISM_ERR_REDIS_UNAVAILABLE',
    'sign-in': 'PRISM_ERR_REDIS_UNAVAILABLE',
    closed: 'PRISM_ERR_REDIS_UNAVAILABLE',
    purge: 'PRISM_ERR_REDIS_UNAVAILABLE',
    publish: 'PRISM_ERR_REDIS_UNAVAILABLE',
    command: 'PRISM_ERR_REDIS_UNAVAILABLE'
  }
}

t.test('each 503 of the stack has Retry-After, whatever an error handler does with the error', { timeout: 60_000 }, async (t) => {
  const rig = await startRig(t)
  const { url, app } = await startApp(t, rig)
  const refusalOf = async (path: string, cookie: string) => {
    const response = await plainFetch(`${url}${path}`, { headers: [['cookie', cookie]] })
    return [response.status, (await response.json() as { code?: string }).code, response.headers.get('retry-after')]
  }
  const signIn = async () => await until(async () => (await plainFetch(`${url}/none/sign-in`)).headers.get('set-cookie')?.split(';', 1)[0], { what: 'a user is signed in' })
  const held: Promise<Response>[] = []

  for (const scope of Object.keys(errorHandlers)) {
    held.push(plainFetch(`${url}/${scope}/few`))
    await until(() => app.cache.counts.fill === held.length, { what: 'the first handler runs' })
    for (const [route, code] of Object.entries(routes.always)) t.same(await refusalOf(`/${scope}/${route}?n=1`, ''), [503, code, '1'], `${scope}/${route}`)
    for (const [route, code] of Object.entries(routes.inHandler)) {
      const cookie = await signIn()
      t.same(await refusalOf(`/${scope}/${route}`, cookie), [503, code, '1'], `${scope}/${route}`)
      await rig.proxy.heal()
    }
  }
  const cookie = await signIn()
  await rig.proxy.fault('down')
  for (const scope of Object.keys(errorHandlers)) {
    for (const [route, code] of Object.entries(routes.outage)) t.same(await refusalOf(`/${scope}/${route}`, route === 'sign-in' ? '' : cookie), [503, code, '1'], `${scope}/${route}`)
  }
  await plainFetch(`${url}/release`)
  t.same((await Promise.all(held)).map(({ status }) => status), Object.keys(errorHandlers).map(() => 200))
})

async function startApp (owner: Owner, { url, proxy }: Rig): Promise<{ url: string, app: FastifyInstance }> {
  const app = Fastify()
  owner.after(() => app.close())
  await app.register(prism, { redis: { url }, session: { secrets: [testSecret] }, rateLimit: { quota: 1_000_000 }, events: { maxTopics: 1 } })
  const release = Promise.withResolvers<void>()
  app.get('/release', async () => { release.resolve() })
  for (const [prefix, setErrorHandler] of Object.entries(errorHandlers)) {
    await app.register(async (scope) => {
      setErrorHandler(scope)
      addRoutes(scope, async () => await proxy.fault('down'), release.promise)
    }, { prefix: `/${prefix}` })
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  await until(() => app.redisPool.state === 'ready', { what: 'Redis is reached' })
  return { url: app.listeningOrigin, app }
}

function addRoutes (scope: FastifyInstance, breakRedis: () => Promise<void>, released: Promise<void>): void {
  scope.get('/few', { config: { cache: { ttl: '1m', maxConcurrency: 1 } } }, async () => await released)
  scope.get('/subscribe', async () => { for (const topic of ['one', 'two']) scope.events.subscribe(topic, () => {}) })
  scope.get('/sent-save', async ({ session }) => {
    session.set('test-note', 'n')
    await breakRedis()
  })
  scope.get('/awaited-save', async ({ session }) => {
    session.set('test-note', 'n')
    await breakRedis()
    await session.save()
  })
  scope.get('/required', { config: { session: 'required' } }, async () => {})
  scope.get('/set', async ({ session }) => { session.set('test-note', 'n') })
  scope.get('/sign-in', async ({ session }) => { await session.signIn('ada') })
  scope.get('/sign-out', async ({ session }) => { await session.signOut() })
  scope.get('/closed', { config: { rateLimit: { quota: 1000, failureMode: 'closed' } } }, async () => {})
  scope.get('/purge', async () => { await scope.cache.purge('tag') })
  scope.get('/publish', async () => { await scope.events.publish('one', { type: 'n', data: 1 }) })
  scope.get('/command', async () => { await scope.redis.get('key') })
}
