import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import fastify from 'fastify'
import t from 'tap'
import cache from '../../plugins/cache.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from '../support/deadline.ts'
import { stored } from '../support/caching.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'

type Hook = 'onRequest' | 'preParsing' | 'preValidation' | 'preHandler'
const hooks: Hook[] = ['onRequest', 'preParsing', 'preValidation', 'preHandler']

/** Rejects half of the clients, in each way that a hook can. */
const refusals: Record<string, (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>> = {
  'by sending': async (request, reply) => {
    if (request.headers['x-who'] !== 'accepted') return reply.code(403).send('no')
  },
  'by throwing': async (request) => {
    if (request.headers['x-who'] !== 'accepted') throw Object.assign(new Error('no'), { statusCode: 403 })
  },
  'later, by sending': async (request, reply) => {
    await new Promise((resolve) => setImmediate(resolve))
    if (request.headers['x-who'] !== 'accepted') await reply.code(403).send('no')
  },
  'by a callback': function (request: FastifyRequest, _reply: FastifyReply, ...rest: unknown[]) {
    const done = rest.at(-1) as (error?: Error) => void
    setImmediate(() => request.headers['x-who'] === 'accepted' ? done() : done(Object.assign(new Error('no'), { statusCode: 403 })))
  } as never
}

/** Every position in which Fastify accepts a hook. */
const places: Record<string, (app: FastifyInstance, stack: () => Promise<void>, hook: Hook, guard: never, route: (scope: FastifyInstance, options?: object) => void) => Promise<void>> = {
  'in the app, before the stack': async (app, stack, hook, guard, route) => {
    app.addHook(hook, guard)
    await stack()
    route(app)
  },
  'in the app, after the stack': async (app, stack, hook, guard, route) => {
    await stack()
    app.addHook(hook, guard)
    route(app)
  },
  'in the app, after the route': async (app, stack, hook, guard, route) => {
    await stack()
    route(app)
    app.addHook(hook, guard)
  },
  'in a plugin': async (app, stack, hook, guard, route) => {
    await stack()
    await app.register(fp(async (scope) => { scope.addHook(hook, guard) }))
    route(app)
  },
  'in a scope': async (app, stack, hook, guard, route) => {
    await stack()
    await app.register(async (scope) => {
      scope.addHook(hook, guard)
      route(scope)
    })
  },
  'in a scope, after the route': async (app, stack, hook, guard, route) => {
    await stack()
    await app.register(async (scope) => {
      route(scope)
      scope.addHook(hook, guard)
    })
  },
  'in a scope around its scope': async (app, stack, hook, guard, route) => {
    await stack()
    await app.register(async (scope) => {
      scope.addHook(hook, guard)
      await scope.register(async (inner) => { route(inner) })
    })
  },
  'in the route, by an onRoute hook before the stack': async (app, stack, hook, guard, route) => {
    app.addHook('onRoute', (options) => { Object.assign(options, { [hook]: guard }) })
    await stack()
    route(app)
  },
  'in a scope around the stack': async (app, stack, hook, guard, route) => {
    app.addHook(hook, guard)
    await stack()
    await app.register(async (scope) => { route(scope) })
  },
  'in the route': async (_app, stack, hook, guard, route) => {
    await stack()
    route(_app, { [hook]: guard })
  },
  'in the route, in a list': async (_app, stack, hook, guard, route) => {
    await stack()
    route(_app, { [hook]: [async () => {}, guard] })
  },
  'in the route, by an onRoute hook after the stack': async (app, stack, hook, guard, route) => {
    await stack()
    app.addHook('onRoute', (options) => { Object.assign(options, { [hook]: guard }) })
    route(app)
  }
}

for (const [how, refusal] of Object.entries(refusals)) {
  t.test(`cache serves no hit to a request that a guard rejects ${how}, in any position of the hook`, async (t) => {
    const { url } = await startRedisProcess(t)
    let count = 0
    for (const [place, build] of Object.entries(places)) {
      for (const hook of hooks) {
        const app = fastify()
        t.after(() => app.close())
        const prefix = `p${count++}:`
        const stack = async () => {
          await app.register(redis, { url, commandTimeout, prefix })
          await app.register(requestLifecycle)
          await app.register(cache)
          await reached(app)
        }
        await build(app, stack, hook, refusal as never, (scope, options = {}) => scope.get('/', { ...options, config: { cache: true } }, async () => 'yes'))

        await app.inject({ url: '/', headers: { 'x-who': 'accepted' } })
        await stored(app)
        const accepted = await app.inject({ url: '/', headers: { 'x-who': 'accepted' } })
        const rejected = await app.inject({ url: '/', headers: { 'x-who': 'rejected' } })

        t.match(accepted.headers['cache-status'], /hit/, `${place}, ${hook}: a hit for an accepted client`)
        t.equal(rejected.statusCode, 403, `${place}, ${hook}: none for a rejected client`)
        t.notMatch(rejected.body, 'yes')
        await app.close()
      }
    }
  })
}

t.test('cache serves no hit to a request that validation rejects', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = fastify({ ajv: { customOptions: { removeAdditional: false } } })
  t.after(() => app.close())
  await app.register(redis, { url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(cache)
  await reached(app)
  const querystring = { type: 'object', additionalProperties: false, properties: { limit: { type: 'integer', minimum: 1 } } }
  const headers = { type: 'object', required: ['x-key'], properties: { 'x-key': { const: 'secret' } } }
  app.get('/', { config: { cache: true }, schema: { querystring, headers } }, async () => 'yes')

  await app.inject({ url: '/?limit=1', headers: { 'x-key': 'secret' } })
  await stored(app)

  t.match((await app.inject({ url: '/?limit=1', headers: { 'x-key': 'secret' } })).headers['cache-status'], /hit/)
  t.equal((await app.inject({ url: '/?limit=1', headers: { 'x-key': 'wrong' } })).statusCode, 400)
  t.equal((await app.inject({ url: '/?limit=1&utm=1', headers: { 'x-key': 'secret' } })).statusCode, 400)
})
