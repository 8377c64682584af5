import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import { sessionAdapter } from '../../plugins/standalone/session.ts'
import type { AdaptedSession } from '../../plugins/standalone/session.ts'
import { commandTimeout } from '../support/deadline.ts'
import { startRedis } from '../support/redis.ts'
import { reached } from '../support/wait-for-redis.ts'

const redis = await startRedis({ after: (end) => t.teardown(end) })

/** An app with the adapter, and a client that keeps its cookie. */
async function start (t: Test, routes: (app: FastifyInstance) => void): Promise<{ app: FastifyInstance, post: (url: string) => Promise<{ status: number, body: unknown, cookie: string }> }> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: { secrets: ['a secret of the tests: 32 or more'] } })
  await app.register(sessionAdapter)
  app.post('/data', async (request) => adapted(request).data())
  routes(app)
  await reached(app)
  let cookie = ''
  return {
    app,
    post: async (url) => {
      const response = await app.inject({ method: 'POST', url, headers: cookie === '' ? {} : { cookie } })
      const [set] = [response.headers['set-cookie'] ?? []].flat()
      if (set !== undefined) cookie = set.split(';')[0] ?? ''
      return { status: response.statusCode, body: response.json(), cookie }
    }
  }
}

function adapted ({ session }: { session: unknown }): AdaptedSession {
  return session as AdaptedSession
}

t.test('with the adapter the values of a session are properties: assigned, read, listed, deleted', async (t) => {
  const { post } = await start(t, (app) => {
    app.post('/assign', async (request) => { Object.assign(adapted(request), { theme: 'dark', cart: ['tea'], gone: undefined }); return {} })
    app.post('/read', async (request) => {
      const session = adapted(request)
      return { theme: session.theme, viaGet: session.get('cart'), keys: Object.keys(session), has: ['theme' in session, 'other' in session], json: JSON.stringify(session), user: session.userId ?? null }
    })
    app.post('/delete', async (request) => { delete adapted(request).theme; adapted(request).set('cart', undefined); return {} })
  })

  t.equal((await post('/assign')).status, 200)
  t.same((await post('/read')).body, { theme: 'dark', viaGet: ['tea'], keys: ['theme', 'cart'], has: [true, false], json: '{"theme":"dark","cart":["tea"]}', user: null })
  await post('/delete')
  t.same((await post('/data')).body, {})
})

t.test('the adapter rejects what would not be saved: members, attributes of the cookie, changes in place', async (t) => {
  const { post } = await start(t, (app) => {
    app.post<{ Params: { name: string } }>('/assign/:name', async (request) => { adapted(request)[request.params.name] = 'x'; return {} })
    app.post('/options', async (request) => { adapted(request).options({ maxAge: 1 }); return {} })
    app.post('/cart', async (request) => { adapted(request).cart = ['tea']; return {} })
    app.post('/push', async (request) => { (adapted(request).cart as string[]).push('milk'); return {} })
    app.post('/replace', async (request) => { (request as { session: unknown }).session = {}; return {} })
  })

  for (const name of ['userId', 'id', 'state', 'get', 'set', 'regenerate', 'cookie', 'sessionId']) t.match(await post(`/assign/${name}`), { status: 500, body: { code: 'PRISM_ERR_SESSION_ASSIGNMENT', message: new RegExp(`session\\.${name}`) } }, name)
  for (const path of ['/options', '/replace']) t.match(await post(path), { status: 500, body: { code: 'PRISM_ERR_SESSION_ASSIGNMENT' } }, path)
  await post('/cart')
  t.equal((await post('/push')).status, 500)
  t.same((await post('/data')).body, { cart: ['tea'] })
})

t.test('regenerate ends the old session and its user, keeps the named values, and takes a callback; so does destroy', async (t) => {
  const { app, post } = await start(t, (app) => {
    app.post('/sign-in', async (request) => { await request.session.signIn('ada'); Object.assign(adapted(request), { cart: ['tea'], secret: 1 }); return {} })
    app.post('/regenerate', async (request) => { await adapted(request).regenerate(['cart']); return { user: request.session.userId ?? null } })
    app.post('/regenerate-callback', (request, reply) => { adapted(request).regenerate((error) => { adapted(request).fresh = true; reply.send({ error: error ?? null }) }) })
    app.post('/save-callback', (request, reply) => { adapted(request).saved = true; adapted(request).save((error) => { reply.send({ error: error ?? null }) }) })
    app.post('/destroy', (request, reply) => { adapted(request).destroy((error) => { reply.send({ error: error ?? null }) }) })
  })
  const { cookie: before } = await post('/sign-in')

  const { body, cookie: after } = await post('/regenerate')
  t.same(body, { user: null })
  t.not(after, before)
  t.same((await post('/data')).body, { cart: ['tea'] })
  t.same((await app.inject({ method: 'POST', url: '/data', headers: { cookie: before } })).json(), {}, 'the old token finds nothing')
  t.same(await app.sessions.devices('ada'), [])

  t.same((await post('/regenerate-callback')).body, { error: null })
  t.same((await post('/save-callback')).body, { error: null })
  t.same((await post('/data')).body, { fresh: true, saved: true })
  const { cookie: last } = await post('/data')
  t.same((await post('/destroy')).body, { error: null })
  t.same((await app.inject({ method: 'POST', url: '/data', headers: { cookie: last } })).json(), {})
})

t.test('a cached response that reads the adapted session is not shared', async (t) => {
  const { app, post } = await start(t, (app) => {
    app.post('/theme', async (request) => { adapted(request).theme = 'dark'; return {} })
    app.get('/page', { config: { cache: { ttl: '5m' } } }, async (request) => ({ theme: adapted(request).theme ?? null }))
  })
  const { cookie } = await post('/theme')

  for (let round = 0; round < 3; round++) {
    t.same((await app.inject({ url: '/page', headers: { cookie } })).json(), { theme: 'dark' })
    t.same((await app.inject('/page')).json(), { theme: null })
  }
})

t.test('without the adapter an assignment throws and names the adapter', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: redis.url, commandTimeout }, session: { secrets: ['a secret of the tests: 32 or more'] } })
  app.post('/assign', async (request) => { adapted(request)._csrf = 'x' })
  app.post('/unset', async (request) => { adapted(request).set('passport', undefined) })

  for (const path of ['/assign', '/unset']) t.match((await app.inject({ method: 'POST', url: path })).json().message, /sessionAdapter of fastify-prism\/session/)
})
