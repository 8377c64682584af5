import cookie from '@fastify/cookie'
import foreignSession from '@fastify/session'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import { startRedisProcess } from '../support/redis-process.ts'

const secret = 'a secret of the tests: 32 or more'
let url = ''

t.before(async () => { url = (await startRedisProcess({ after: (end) => { t.teardown(end) } })).url })

function open (): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

const stack = (options: Partial<PrismOptions> = {}): PrismOptions => ({ redis: { url }, session: { secrets: [secret] }, ...options })
/** The package itself. */
const foreign = fp(async (app: FastifyInstance) => {
  await app.register(cookie)
  await app.register(foreignSession, { secret })
})

/** Packages with a decorator of ours; the error comes from the place where they decorate. */
const packages: Record<string, { plugin: (app: FastifyInstance) => Promise<void>, option: 'session' | 'cache' | 'rateLimit' | 'events', message: RegExp }> = {
  '@fastify/session': { plugin: fp(async (app) => { app.decorateRequest('session', null as never) }), option: 'session', message: /request\.session is decorated already.*@fastify\/session and @fastify\/secure-session.*session: false/ },
  '@fastify/caching': { plugin: fp(async (app) => { app.decorate('cache', {} as never) }), option: 'cache', message: /fastify\.cache.*@fastify\/caching.*cache: false/ },
  'a plugin with reply.tag': { plugin: fp(async (app) => { app.decorateReply('tag', (() => {}) as never) }), option: 'cache', message: /reply\.tag.*cache: false/ },
  'a plugin with fastify.events': { plugin: fp(async (app) => { app.decorate('events', {} as never) }), option: 'events', message: /fastify\.events.*events: false/ },
  'a plugin with request.rateLimit': { plugin: fp(async (app) => { app.decorateRequest('rateLimit', null as never) }), option: 'rateLimit', message: /request\.rateLimit.*rateLimit: false/ }
}

for (const [name, { plugin, option, message }] of Object.entries(packages)) {
  t.test(`${name} beside the stack is rejected at start with an error that names the solution`, async (t) => {
    const refusal = { code: 'PRISM_ERR_SCOPE', message }
    const [before, after, inside, unawaited, off, beside] = [open(), open(), open(), open(), open(), open()]

    await before.register(plugin)
    await t.rejects(async () => { await before.register(prism, stack()) }, refusal, 'the stack registered after it')
    await after.register(prism, stack())
    await t.rejects(async () => { await after.register(plugin) }, refusal, 'the plugin registered after the stack')
    await inside.register(prism, stack())
    await t.rejects(async () => { await inside.register(async (scope) => { await scope.register(plugin) }) }, refusal, 'the plugin in a child scope')
    unawaited.register(prism, stack())
    unawaited.register(plugin)
    await t.rejects(async () => await unawaited.ready(), refusal, 'not awaited')

    await off.register(prism, stack({ [option]: false }))
    await off.register(plugin)
    await t.resolves(async () => await off.ready(), `with ${option}: false`)
    await beside.register(async (scope) => { await scope.register(prism, stack()) })
    await beside.register(async (scope) => { await scope.register(plugin) })
    await t.resolves(async () => await beside.ready(), 'in two scopes beside each other')
  })
}

t.test('the stack reports @fastify/session by name if both decorate one scope, and both work in sibling scopes', async (t) => {
  const [before, off, beside] = [open(), open(), open()]
  await before.register(foreign)
  await t.rejects(async () => { await before.register(prism, stack()) }, { code: 'PRISM_ERR_SCOPE', message: /@fastify\/session/ })

  await off.register(prism, stack({ session: false }))
  await off.register(foreign)
  off.get('/', async (request) => typeof (request.session as { get?: unknown }).get)
  t.equal((await off.inject('/')).body, 'function')
  await beside.register(async (scope) => {
    await scope.register(prism, stack())
    scope.get('/ours', async (request) => request.session.state)
  })
  await beside.register(async (scope) => {
    await scope.register(foreign)
    scope.get('/theirs', async (request) => String('sessionId' in request.session))
  })
  t.equal((await beside.inject('/ours')).body, 'anonymous')
  t.equal((await beside.inject('/theirs')).body, 'true')
})

t.test('plugins of the app may have the same names as plugins of the stack', async (t) => {
  const app = open()
  for (const name of ['redis', 'session', 'cache', 'events', 'request-lifecycle', 'rate-limit']) await app.register(fp(async () => {}, { name }))
  const { default: entry } = await import('../../plugins/standalone/session.ts')

  await t.rejects(async () => { await app.register(entry, { secrets: [secret] }) }, /dependency 'fastify-prism\/redis' of plugin 'fastify-prism\/session' is not registered/)

  const whole = open()
  for (const name of ['redis', 'session', 'cache', 'events', 'request-lifecycle', 'rate-limit']) await whole.register(fp(async () => {}, { name }))
  await whole.register(prism, stack())
  await t.resolves(async () => await whole.ready())
  for (const name of ['redis', 'session', 'cache', 'events', 'request-lifecycle', 'rate-limit']) t.ok(whole.hasPlugin(`fastify-prism/${name}`), name)
})
