import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

const session = { secrets: ['a secret of the tests: 32 or more'] }

/** Options with a Redis server of the test. */
async function optionsFor (t: Test): Promise<PrismOptions & { redis: { url: string } }> {
  const { url } = await startRedis(t)
  return { redis: { url }, session }
}

function open (t: Test, settings = {}): FastifyInstance {
  const app = Fastify(settings)
  t.teardown(() => app.close())
  return app
}

t.test('the stack rejects a second registration in the same scope or in a child scope', async (t) => {
  const options = await optionsFor(t)
  const [beside, inside] = [open(t), open(t)]
  await beside.register(prism, options)
  await inside.register(prism, options)

  await t.rejects(async () => { await beside.register(prism, options) }, { code: 'PRISM_ERR_SCOPE', message: /already registered the stack/ })
  await t.rejects(async () => { await inside.register(async (scope) => { await scope.register(prism, options) }) }, { code: 'PRISM_ERR_SCOPE' })
})

t.test('registered in a child scope, the stack affects only that scope', async (t) => {
  const options = await optionsFor(t)
  const app = open(t)
  await app.register(async (scope) => {
    await scope.register(prism, { ...options, rateLimit: { quota: 1 } })
    await reached(scope)
    scope.get('/inside', async () => 1)
  }, { prefix: '/v1' })
  app.get('/outside', async () => 1)

  const inside = [await app.inject('/v1/inside'), await app.inject('/v1/inside')]
  const outside = [await app.inject('/outside'), await app.inject('/outside')]

  t.same(inside.map(({ statusCode }) => statusCode), [200, 429])
  t.same(outside.map(({ statusCode }) => statusCode), [200, 200])
  t.notOk(app.hasDecorator('cache'))
})

t.test('two scopes with their own stacks are independent', async (t) => {
  const options = await optionsFor(t)
  const app = open(t)
  for (const name of ['a', 'b']) {
    await app.register(async (scope) => {
      await scope.register(prism, { ...options, redis: { ...options.redis as object, prefix: `${name}:` }, rateLimit: { quota: 1 } })
      await reached(scope)
      scope.get('/', async () => name)
    }, { prefix: `/${name}` })
  }

  const statuses = [await app.inject('/a'), await app.inject('/b'), await app.inject('/a')].map(({ statusCode }) => statusCode)

  t.same(statuses, [200, 200, 429])
})

t.test('the stack rejects a prefix and unknown or invalid options', async (t) => {
  const options = await optionsFor(t)
  await t.rejects(async () => { await open(t).register(prism, { ...options, prefix: '/v1' }) }, { code: 'PRISM_ERR_OPTION', message: /Unknown option prism\.prefix.*Known options: redis, session/ })
  await t.rejects(async () => { await open(t).register(prism, { ...options, cache: { ttl: 'soon' as '1s' } }) }, { code: 'PRISM_ERR_OPTION', message: /cache\.ttl.*but is a text/ })
  await t.rejects(async () => { await open(t).register(prism, { redis: options.redis }) }, { code: 'PRISM_ERR_OPTION', message: /session\.secrets/ })
})

t.test('an option of false turns its feature off', async (t) => {
  const options = await optionsFor(t)
  const app = open(t)
  await app.register(prism, { redis: options.redis, session: false, cache: false, rateLimit: false, events: false })

  t.same(['sessions', 'cache', 'rateLimits', 'events'].filter((name) => app.hasDecorator(name)), [])
  t.ok(app.hasDecorator('redis'))
})

t.test('the stack logs a warning that names routes declared before it', async (t) => {
  const options = await optionsFor(t)
  const lines: string[] = []
  const app = open(t, { logger: { level: 'warn', stream: { write: (line: string) => lines.push(line) } } })
  app.get('/early', async () => 1)
  await app.register(prism, options)

  t.match(lines.join(''), /declared before fastify-prism.*/)
  t.match(lines.join(''), /early \(GET, HEAD\)/)
})

t.test('closing the app closes all Redis connections', async (t) => {
  const server = await startRedis(t)
  const connections = async () => String(await server.client.client('LIST')).trim().split('\n').length
  const app = open(t)
  await app.register(prism, { redis: { url: server.url }, session })
  await app.ready()
  await until(async () => await connections() > 1, { what: 'its connections' })

  await app.close()

  t.ok(await until(async () => await connections() === 1, { what: 'Redis has seen all connections end' }))
})
