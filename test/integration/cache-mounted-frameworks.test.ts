import { once } from 'node:events'
import express from 'express'
import type { FastifyInstance } from 'fastify'
import Koa from 'koa'
import t from 'tap'
import { cachingApp, stored } from '../support/caching.ts'

// Express gives each message a prototype of its own: what a message has must be its own, also after a cached route of the server has been tracked.

/** What a request of Express has. */
function expressApp (): express.Express {
  const app = express()
  app.use((request, response) => {
    const { url, ip, hostname, httpVersion, httpVersionMajor, httpVersionMinor, query, headers, rawHeaders, socket } = request
    response.json({ url, ip, hostname, version: [httpVersion, httpVersionMajor, httpVersionMinor], query, user: headers['x-user'], lines: rawHeaders.includes('x-user'), port: typeof socket.remotePort })
  })
  return app
}

function koaApp (): ReturnType<Koa['callback']> {
  const app = new Koa()
  app.use((context) => { context.body = { url: context.url, ip: context.ip, user: context.get('x-user') } })
  return app.callback()
}

async function senderFor (app: FastifyInstance): Promise<(path: string) => Promise<{ status: number, body: unknown, cache: string | null }>> {
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  return async (path) => {
    const response = await fetch(origin + path, { headers: { 'x-user': 'ann' } })
    const body = await response.text()
    await stored(app)
    return { status: response.status, body: body.startsWith('{') ? JSON.parse(body) : body, cache: response.headers.get('cache-status') }
  }
}

const seenByExpress = (url: string) => ({ url, ip: '127.0.0.1', hostname: '127.0.0.1', version: ['1.1', 1, 1], query: { b: '2', a: '1' }, user: 'ann', lines: true, port: 'number' })

t.test('Express and Koa use hijacked replies as before, after cached routes of the same server have been filled', async (t) => {
  const app = await cachingApp(t)
  const [ofExpress, ofKoa] = [expressApp(), koaApp()]
  app.get('/express', (request, reply) => { reply.hijack(); ofExpress(request.raw, reply.raw) })
  app.get('/koa', (request, reply) => { reply.hijack(); ofKoa(request.raw, reply.raw) })
  app.get('/in-cached-scope', { config: { cache: true } }, (request, reply) => { reply.hijack(); ofExpress(request.raw, reply.raw) })
  app.get('/prefix/mounted', { config: { cache: true } }, (request, reply) => {
    request.raw.url = request.raw.url?.slice('/prefix'.length)
    reply.hijack()
    ofExpress(request.raw, reply.raw)
  })
  app.get('/page', { config: { cache: true } }, async () => 'page')
  const send = await senderFor(app)

  for (const status of [/stored/, /hit/, /hit/]) {
    t.match(await send('/express?b=2&a=1'), { status: 200, body: seenByExpress('/express?b=2&a=1') })
    t.match(await send('/koa'), { status: 200, body: { url: '/koa', ip: '127.0.0.1', user: 'ann' } })
    t.match(await send('/in-cached-scope?b=2&a=1'), { status: 200, body: { ...seenByExpress('/in-cached-scope?a=1&b=2'), query: { a: '1', b: '2' } } })
    t.match(await send('/prefix/mounted'), { status: 200, body: { url: '/mounted' } })
    t.match(await send('/page'), { body: 'page', cache: status })
  }
})

t.test('middleware of Express in a hook of every request leaves cached routes cached, and their inputs tracked', async (t) => {
  const app = await cachingApp(t)
  const middleware = express()
  middleware.use((_request, response, next) => { response.setHeader('x-middleware', 'ran'); next() })
  app.addHook('onRequest', async (request, reply) => {
    const done = Promise.withResolvers<void>()
    middleware(request.raw as never, reply.raw as never, () => { done.resolve() })
    await Promise.race([done.promise, once(reply.raw, 'close')])
  })
  app.get('/page', { config: { cache: true } }, async () => 'page')
  app.get('/user', { config: { cache: true } }, async ({ raw }) => raw.headers['x-user'])
  const send = await senderFor(app)

  for (const status of [/stored/, /hit/, /hit/]) {
    t.match(await send('/page'), { status: 200, body: 'page', cache: status })
    t.match(await send('/user'), { status: 200, body: 'ann', cache: /fwd=miss; detail=unkeyed/ })
  }
})
