import { Writable } from 'node:stream'
import { runInThisContext } from 'node:vm'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import tap, { test } from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redisPlugin from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import { commandTimeout } from '../support/deadline.ts'
import { Browser } from '../support/session-browser.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'
import { sessionSecrets } from '../support/session-app.ts'
import { until } from '../support/until.ts'

type Logged = { msg: string, level: number, route?: string }
type Routes = (app: FastifyInstance) => void

tap.setTimeout(300_000)

test('session changes beside the reply', { timeout: 300_000 }, async (t) => {
  const redis = await startRedis(t)

  t.test('an assignment to a session property throws, in strict and sloppy code, and names the method', async (t) => {
    const assigned = ['cart', 'userId', 'user', 'state', 'id', 'get', 'load', 'devices', 'isNew', 'constructor']
    const sloppy = runInThisContext('(function (target, name, value) { target[name] = value })') as (target: object, name: string, value: unknown) => void
    const { home } = await serve(t, redis.url, (app) => {
      app.post<{ Params: { name: string } }>('/assign/:name', async (request) => { (request.session as unknown as Record<string, unknown>)[request.params.name] = ['tea'] })
      app.post<{ Params: { name: string } }>('/sloppy/:name', async (request) => { sloppy(request.session, request.params.name, ['tea']) })
      app.post('/merge', async (request) => { Object.assign(request.session, { cart: ['tea'] }) })
      app.post('/replace', async (request) => { (request as { session: unknown }).session = { cart: ['tea'] } })
      app.post('/clear', async (request) => { sloppy(request, 'session', null) })
      app.post('/read', async ({ session }) => [(session as unknown as { cart?: unknown }).cart ?? null, 'regenerate' in session, String(session), session.get('test-a') ?? null])
      app.post('/trace', async ({ session }) => { (session as unknown as Record<symbol, unknown>)[Symbol.for('trace')] = 1 })
    })
    const browser = new Browser(home)
    await browser.post('/sign-in')
    for (const name of assigned) {
      const remedy = ['cart', 'user'].includes(name) ? `session.set('${name}', value)` : 'read-only'
      for (const way of ['assign', 'sloppy']) t.match(await browser.post(`/${way}/${name}`), { status: 500, body: { code: 'PRISM_ERR_SESSION_ASSIGNMENT', message: new RegExp(`session\\.${name} .*${remedy.replaceAll(/[().]/g, '\\$&')}`) } }, `${way} ${name}`)
    }
    t.match(await browser.post('/merge'), { status: 500, body: { code: 'PRISM_ERR_SESSION_ASSIGNMENT' } })
    for (const path of ['/replace', '/clear']) t.match(await browser.post(path), { status: 500, body: { code: 'PRISM_ERR_SESSION_ASSIGNMENT', message: /^request\.session cannot/ } })
    t.match(await browser.post('/read'), { status: 200, body: [null, false, '[object Object]', null] })
    t.equal((await browser.post('/trace')).status, 200, 'a tracing library may set its own property')
  })

  t.test('the cookie of a sign-in, rotation or save is sent with a hijacked reply, whichever fields the handler sends', async (t) => {
    const ways: Record<string, (reply: FastifyReply) => void> = {
      'the reply\'s fields': ({ raw, getHeaders }) => { raw.writeHead(200, getHeaders() as Record<string, string>) },
      'fields of its own': ({ raw }) => { raw.writeHead(200, { 'content-type': 'text/plain' }) },
      'no fields': () => {}
    }
    const acts: Record<string, (request: FastifyRequest) => Promise<void>> = {
      'sign-in': async ({ session }) => { await session.signIn('ada') },
      rotate: async ({ session }) => { await session.rotate() },
      save: async ({ session }) => {
        session.set('test-a', 'kept')
        await session.save()
      }
    }
    const { home, lines } = await serve(t, redis.url, (app) => {
      app.post<{ Querystring: { act: string, way: string, first: string } }>('/hijack', async (request, reply) => {
        const { act, way, first } = request.query
        if (first === 'hijack') reply.hijack()
        await acts[act]?.(request)
        if (first === 'act') reply.hijack()
        ways[way]?.(Object.assign(reply, { getHeaders: reply.getHeaders.bind(reply) }))
        reply.raw.end('done')
      })
    })
    for (const act of Object.keys(acts)) {
      for (const way of Object.keys(ways)) {
        for (const first of ['act', 'hijack']) {
          const browser = new Browser(home)
          if (act === 'rotate') await browser.post('/sign-in')
          const response = await browser.post(`/hijack?${new URLSearchParams({ act, way, first })}`)
          const { userId, value } = (await browser.get('/who')).body as { userId: string | null, value: string | null }

          t.same([response.status, response.body, response.setCookie.length], [200, 'done', 1], `${act}, ${way}, ${first} first`)
          t.same([userId, value], act === 'save' ? [null, 'kept'] : ['ada', null])
        }
      }
    }
    t.same(lost(lines), [])
  })

  t.test('a change that no save includes is logged once, with the remedy', async (t) => {
    const change = ({ session }: FastifyRequest) => { session.set('test-a', 'lost') }
    const end = ({ raw }: FastifyReply) => { raw.end('done') }
    const { home, lines } = await serve(t, redis.url, (app) => {
      app.post('/set-hijack', async (request, reply) => { change(request); reply.hijack(); end(reply) })
      app.post('/hijack-set', async (request, reply) => { reply.hijack(); change(request); end(reply) })
      app.post('/update-raw', async (request, reply) => { request.session.update('test-a', () => 'lost'); end(reply); reply.hijack() })
      app.post('/delete-hijack', async (request, reply) => { request.session.delete('test-b'); reply.hijack(); end(reply) })
      app.post('/late', async (request, reply) => { reply.raw.once('finish', () => { setImmediate(() => { change(request) }) }); return {} })
      app.post('/on-send', { onSend: async (request) => { change(request) } }, async () => ({}))
      app.post('/unawaited', async (request, reply) => { reply.hijack(); reply.raw.flushHeaders(); request.session.set('test-a', 'lost'); end(reply) })
      app.post('/saved', async (request, reply) => { reply.hijack(); change(request); await request.session.save(); end(reply) })
      app.post('/saved-late', async (request, reply) => { reply.raw.once('finish', () => { change(request); request.session.save() }); return {} })
      app.post('/usual', async (request) => { change(request) })
      app.post('/streamed', async (request, reply) => { change(request); return await reply.send(new Response('done').body) })
    })
    const browser = new Browser(home)
    await browser.post('/sign-in')
    await browser.post('/set-b')
    for (const path of ['/set-hijack', '/hijack-set', '/update-raw', '/delete-hijack', '/late', '/on-send', '/unawaited']) {
      lines.length = 0
      t.equal((await browser.post(path)).status, 200)
      await until(() => lost(lines).length > 0, { what: `the log names ${path}` })

      t.match(lost(lines), [{ level: 40, route: path, msg: /await request\.session\.save\(\)/ }], path)
      t.equal(lost(lines).some(({ msg }) => msg.includes('ada')), false)
      t.equal(((await browser.get('/who')).body as { value: unknown }).value, null, 'the change is not saved')
    }
    lines.length = 0
    for (const path of ['/saved', '/saved-late', '/usual', '/streamed']) t.equal((await browser.post(path)).status, 200)
    await until(async () => ((await browser.get('/who')).body as { value: unknown }).value === 'lost', { what: 'the change is saved' })
    t.same(lost(lines), [], 'a saved change is not logged')
  })

  t.test('a change during the save with the reply, on a closed connection or in a WebSocket is logged too', async (t) => {
    const change = ({ session }: FastifyRequest) => { session.set('test-a', 'lost') }
    const { home, lines } = await serve(t, redis.url, (app) => {
      const during = (path: string, late: (request: FastifyRequest) => void) => {
        app.post(path, (request, reply) => {
          request.session.set('test-a', null)
          reply.send({})
          late(request)
        })
      }
      during('/during-set', change)
      during('/during-update', ({ session }) => { session.update('test-a', () => 'lost') })
      during('/during-delete', ({ session }) => { session.delete('test-a') })
      app.post('/abandoned', async (request, reply) => {
        reply.hijack()
        reply.raw.once('close', () => { setImmediate(() => { change(request) }) }).destroy()
      })
      app.get('/socket', { websocket: true }, (socket, request) => { socket.on('message', () => { change(request); socket.close() }) })
    }, true)
    const browser = new Browser(home)
    await browser.post('/sign-in')
    const ways: Record<string, () => Promise<unknown>> = {
      '/during-set': () => browser.post('/during-set'),
      '/during-update': () => browser.post('/during-update'),
      '/during-delete': () => browser.post('/during-delete'),
      '/abandoned': () => browser.post('/abandoned').catch(() => {}),
      '/socket': () => new Promise((resolve, reject) => {
        const socket = new WebSocket(`${home.replace('http', 'ws')}/socket`, { headers: { cookie: browser.cookieField, origin: home } })
        socket.once('open', () => { socket.send('change') }).once('close', resolve).once('error', reject)
      })
    }
    for (const [route, request] of Object.entries(ways)) {
      lines.length = 0
      await request()
      await until(() => lost(lines).length > 0, { what: `the log names ${route}` })

      t.match(lost(lines), [{ level: 40, route, msg: /await request\.session\.save\(\)/ }], route)
      t.equal(((await browser.get('/who')).body as { value: unknown }).value, null, 'the change is not saved')
    }
  })

  t.test('a change that needs a cookie is rejected once the head of the reply was sent, before it begins', async (t) => {
    const refused: unknown[] = []
    const late = (work: (request: FastifyRequest) => Promise<unknown>) => async (request: FastifyRequest, reply: FastifyReply) => {
      reply.hijack()
      reply.raw.flushHeaders()
      await work(request).catch(({ code }: { code: string }) => { refused.push(code) })
      reply.raw.end()
    }
    const { home, lines } = await serve(t, redis.url, (app) => {
      app.post('/sign-in-late', late(async ({ session }) => { await session.signIn('late') }))
      app.post('/rotate-late', late(async ({ session }) => { await session.rotate() }))
      app.post('/save-late', late(async ({ session }) => {
        session.set('test-a', 'x')
        await session.save()
      }))
      app.post('/after', async (request, reply) => { reply.raw.once('close', () => { request.session.signIn('late').catch(({ code }: { code: string }) => { refused.push(code) }) }) })
      app.post('/sign-out-late', late(async ({ session }) => { await session.signOut() }))
    })
    const browser = new Browser(home)
    await browser.post('/sign-in')
    const keys = (await redis.client.keys('session:*')).sort()
    await browser.post('/rotate-late')
    for (const path of ['/sign-in-late', '/save-late', '/after']) await new Browser(home).post(path)
    await until(() => refused.length === 4, { what: 'all are rejected' })

    t.same(refused, Array(4).fill('PRISM_ERR_SESSION_SENT'))
    t.same((await redis.client.keys('session:*')).sort(), keys)
    t.equal(((await browser.get('/who')).body as { userId: unknown }).userId, 'ada', 'the session has its old ID')
    await browser.post('/sign-out-late')
    t.equal(((await browser.get('/who')).body as { userId: unknown }).userId, null, 'a sign-out needs no cookie')
    t.same(lost(lines).filter(({ msg }) => msg.includes('cookie')), [])
  })

  t.test('a sign-in that is not awaited before the head was sent is logged', async (t) => {
    const { home, lines } = await serve(t, redis.url, (app) => {
      app.post('/floating', async (request, reply) => {
        reply.hijack()
        request.session.signIn('floating')
        reply.raw.writeHead(200)
        reply.raw.end()
      })
    })
    await new Browser(home).post('/floating')
    await until(() => lost(lines).length > 0, { what: 'the change is logged' })

    t.match(lost(lines), [{ msg: /cookie not sent.*Await signIn/ }])
  })

  t.test('a WebSocket upgrade that signs in is rejected or logged, because a WebSocket sets no cookie', async (t) => {
    const { home, lines } = await serve(t, redis.url, (app) => {
      app.get('/before', { websocket: true, preHandler: async (request) => { await request.session.signIn('upgraded') } }, (socket) => { socket.close() })
      app.get('/inside', { websocket: true }, async (socket, request) => {
        socket.send(await request.session.signIn('upgraded').then(() => 'done', ({ code }: { code: string }) => code))
        socket.close()
      })
    }, true)
    const said = await new Promise<string>((resolve, reject) => { new WebSocket(`${home.replace('http', 'ws')}/inside`).once('message', (data) => { resolve(String(data)) }).once('error', reject) })
    t.equal(said, 'PRISM_ERR_SESSION_SENT')
    await new Promise((resolve) => { new WebSocket(`${home.replace('http', 'ws')}/before`).once('close', resolve).once('error', resolve) })

    await until(() => lost(lines).length > 0, { what: 'the change is logged' })
    t.match(lost(lines)[0], { msg: /cookie not sent/ })
  })
})

/** Starts an app with routes to sign in and to read the session. @returns its address and log */
async function serve (t: Test, url: string, routes: Routes, hasWebSockets = false): Promise<{ home: string, lines: Logged[] }> {
  const lines: Logged[] = []
  const stream = new Writable({ write: (line, _encoding, done) => { lines.push(JSON.parse(String(line)) as Logged); done() } })
  const app = Fastify({ logger: { level: 'warn', stream } })
  await app.register(redisPlugin, { url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(session, { secrets: sessionSecrets })
  if (hasWebSockets) await app.register(websocket)
  t.after(() => app.close())
  app.post('/sign-in', async (request) => { await request.session.signIn('ada') })
  app.post('/set-b', async (request) => { request.session.set('test-b', 'there') })
  app.get('/who', async ({ session }) => ({ userId: session.userId ?? null, value: session.get('test-a') ?? null }))
  routes(app)
  const home = await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  return { home, lines }
}

function lost (lines: readonly Logged[]): Logged[] {
  return lines.filter(({ msg }) => /^Session (change lost|cookie not sent)/.test(msg))
}
