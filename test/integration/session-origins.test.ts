import websocket from '@fastify/websocket'
import fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import prism from '../../plugins/index.ts'
import type { SessionOptions } from '../../plugins/index.ts'
import { commandTimeout } from '../support/deadline.ts'
import { testSecret } from '../support/app.ts'
import { reached, unlessLate } from '../support/wait-for-redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'

const apple = 'https://appleid.example'
const listed = 'https://shop.example'

/** An app with a form, a WebSocket route, and a callback that another site posts to. */
async function startApp (t: Test, session: Partial<SessionOptions> = {}, isWebsocketFirst = false): Promise<{ app: FastifyInstance, port: number, cookie: string }> {
  const { url } = await startRedisProcess(t)
  const app = fastify()
  t.after(() => app.close())
  if (isWebsocketFirst) await app.register(websocket)
  await app.register(prism, { redis: { url, commandTimeout }, session: { secrets: [testSecret], ...session }, rateLimit: false })
  if (!isWebsocketFirst) await app.register(websocket)
  app.removeContentTypeParser('text/plain')
  app.post('/sign-in', async (request) => { await request.session.signIn('ann') })
  app.post('/form', async (request) => request.session.userId ?? 'anonymous')
  app.get('/form', async (request) => request.session.userId ?? 'anonymous')
  app.post('/note', async (request) => { request.session.set('test-note', 'x') })
  app.post('/callback', { config: { session: { trustedOrigins: [apple] } } }, async (request) => request.session.userId ?? 'anonymous')
  app.register(async (scope) => {
    scope.routeDefaults({ session: { trustedOrigins: [apple] } })
    scope.post('/members', { config: { session: 'required' } }, async (request) => request.session.userId)
    scope.get('/ws-callback', { websocket: true }, greet)
  })
  app.post('/off', { config: { session: false } }, async () => 'off')
  app.get('/ws', { websocket: true }, greet)
  await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  const { cookies } = await unlessLate(() => app.inject({ method: 'POST', url: '/sign-in' }))
  return { app, port: (app.server.address() as AddressInfo).port, cookie: cookies.map(({ name, value }) => `${name}=${value}`).join('; ') }
}

function greet (socket: WebSocket, request: { session: { userId: string | undefined } }): void {
  socket.send(request.session.userId ?? 'anonymous')
}

type Fields = Record<string, string>

/** The result of a WebSocket request: its greeting, or the status of the rejection. */
async function open (t: Test, port: number, path: string, headers: Fields): Promise<string> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers })
  t.after(() => socket.terminate())
  return await new Promise((resolve) => {
    socket.on('message', (text) => resolve(String(text as Buffer)))
    socket.on('unexpected-response', (request, { statusCode }) => { resolve(String(statusCode)); request.destroy() })
    socket.on('error', () => {}) // a rejection is emitted before
  })
}

async function post (app: FastifyInstance, url: string, headers: Fields): Promise<string> {
  const { statusCode, body } = await app.inject({ method: 'POST', url, headers })
  return statusCode === 200 ? body : String(statusCode)
}

for (const isWebsocketFirst of [false, true]) {
  test(`unsafe methods and upgrades have the same origin check, ${isWebsocketFirst ? '@fastify/websocket' : 'the stack'} registered first`, async (t) => {
    const { app, port, cookie } = await startApp(t, { trustedOrigins: [listed] }, isWebsocketFirst)
    const host = `127.0.0.1:${port}`
    const cases: [fields: Fields, expected: string][] = [
      [{}, 'ann'],
      [{ origin: `http://${host}` }, 'ann'],
      [{ origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }, 'ann'],
      [{ origin: 'null', 'sec-fetch-site': 'same-origin' }, 'ann'],
      [{ origin: listed, 'sec-fetch-site': 'cross-site' }, 'ann'],
      [{ origin: listed }, 'ann'],
      [{ origin: `http://${host}`, 'sec-fetch-site': 'cross-site' }, '403'],
      [{ origin: `http://${host}`, 'sec-fetch-site': 'same-site' }, '403'],
      [{ origin: 'http://127.0.0.1' }, '403'],
      [{ origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, '403'],
      [{ origin: 'https://evil.example' }, '403'],
      [{ origin: `${listed}.evil.example` }, '403'],
      [{ origin: apple, 'sec-fetch-site': 'cross-site' }, '403'],
      [{ origin: 'null' }, '403'],
      [{ origin: 'null', 'sec-fetch-site': 'cross-site' }, '403'],
      [{ 'sec-fetch-site': 'cross-site' }, '403']
    ]
    for (const [fields, expected] of cases) {
      t.equal(await post(app, '/form', { host, cookie, ...fields }), expected, `POST ${JSON.stringify(fields)}`)
      t.equal(await open(t, port, '/ws', { cookie, ...fields }), expected, `upgrade ${JSON.stringify(fields)}`)
    }
    t.equal((await app.inject({ url: '/form', headers: { host, cookie, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' } })).body, 'ann', 'a safe method is allowed')
    t.equal((await app.inject({ url: '/form', headers: { host, cookie, origin: 'https://evil.example', connection: 'upgrade', upgrade: 'h2c' } })).body, 'ann', 'an upgrade that no page can send is allowed')
  })
}

test('trusted origins of a route apply to that route only, in addition to those of the stack and the scopes', async (t) => {
  const { app, port, cookie } = await startApp(t, { trustedOrigins: [listed] })
  const from = (origin: string) => ({ cookie, origin, 'sec-fetch-site': 'cross-site' })

  t.equal(await post(app, '/callback', from(apple)), 'ann')
  t.equal(await post(app, '/callback', from(listed)), 'ann')
  t.equal(await post(app, '/callback', from('https://evil.example')), '403')
  t.equal(await post(app, '/members', from(apple)), 'ann', 'a route inherits the origins of its scope')
  t.equal(await open(t, port, '/ws-callback', from(apple)), 'ann')
  t.equal(await post(app, '/form', from(apple)), '403')
  t.equal(await open(t, port, '/ws', from(apple)), '403')
})

test('a request without the session cookie has no origin check, and cannot begin a session', async (t) => {
  const { app, port, cookie } = await startApp(t)
  const foreign = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }

  t.equal(await post(app, '/form', foreign), 'anonymous')
  t.equal(await post(app, '/form', { 'sec-fetch-site': 'cross-site' }), 'anonymous')
  t.equal(await post(app, '/form', { ...foreign, cookie: 'theme=dark; xsid=1' }), 'anonymous', 'another cookie is no session cookie')
  t.equal(await open(t, port, '/ws', foreign), 'anonymous')
  t.equal(await post(app, '/members', foreign), '401')
  t.equal(await post(app, '/off', { ...foreign, cookie }), 'off')
  t.equal(await post(app, '/form', { ...foreign, cookie: 'sid=forged' }), '403')
  for (const [fields, expected] of [[{ ...foreign, origin: 'null' }, '403'], [{ origin: 'null', 'sec-fetch-site': 'same-site' }, '403'], [{ origin: 'null' }, '403']] as [Fields, string][]) {
    t.equal(await post(app, '/form', fields), expected, `POST ${JSON.stringify(fields)}`)
    t.equal(await post(app, '/callback', fields), expected, `POST to a callback ${JSON.stringify(fields)}`)
    t.equal(await open(t, port, '/ws', fields), expected, `upgrade ${JSON.stringify(fields)}`)
  }
  for (const url of ['/sign-in', '/note']) {
    const { statusCode, headers, json } = await app.inject({ method: 'POST', url, headers: foreign })
    t.same([statusCode, headers['set-cookie'], json<{ code: string }>().code], [403, undefined, 'PRISM_ERR_ORIGIN'], url)
  }
})

test('a trusted origin with a star is rejected at start', async (t) => {
  const [app, refused] = [fastify(), fastify()]
  t.after(() => Promise.all([app.close(), refused.close()]))
  const star = ['https://*.example.com']
  await t.rejects(async () => await refused.register(prism, { redis: { url: 'redis://127.0.0.1:1' }, session: { secrets: [testSecret], trustedOrigins: star } }), { code: 'PRISM_ERR_OPTION', message: /session\.trustedOrigins/ })
  await app.register(prism, { redis: { url: (await startRedisProcess(t)).url, commandTimeout }, session: { secrets: [testSecret] } })

  t.throws(() => app.post('/callback', { config: { session: { trustedOrigins: star } } }, async () => {}), { code: 'PRISM_ERR_OPTION', message: /config\.session\.trustedOrigins/ })
  t.throws(() => app.routeDefaults({ session: { trustedOrigins: star } }), { code: 'PRISM_ERR_OPTION', message: /config\.session\.trustedOrigins/ })
})
