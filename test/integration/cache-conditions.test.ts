import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { until } from '../support/until.ts'

// RFC 9110 sections 13 and 14: a handler behind the cache sees no conditions and no Range, so the cache evaluates them, whether it stores the response or not.

const body = Array.from({ length: 100 }, (_, index) => String(index % 10)).join('')
const modified = 'Mon, 02 Jan 2023 00:00:00 GMT'

type Send = (reply: FastifyReply) => unknown
const payloads: Record<string, Send> = {
  'a string': (reply) => reply.send(body),
  'a Buffer': (reply) => reply.send(Buffer.from(body)),
  'a stream': (reply) => reply.header('content-length', '100').send(Readable.from([body.slice(0, 30), body.slice(30)].map((text) => Buffer.from(text)))),
  'a web stream': (reply) => reply.header('content-length', '100').send(new Response(body).body)
}
const notStored: Record<string, [Record<string, string>, object?]> = {
  private: [{ 'cache-control': 'private' }],
  'no-store': [{ 'cache-control': 'no-store' }],
  'a cookie': [{ 'set-cookie': 'a=b' }],
  'too large': [{}, { maxBytes: 10 }]
}

async function conditionalApp (owner: Owner, send: Send, fields: Record<string, string>, options = {}) {
  const app = await cachingApp(owner, options)
  let runs = 0
  app.get('/page', { config: { cache: { ttl: '5m' } } }, (_request, reply) => {
    runs += 1
    return send(reply.headers({ etag: '"v1"', 'last-modified': modified, 'content-type': 'text/plain', ...fields }))
  })
  return { app, get runs () { return runs } } as { app: FastifyInstance, readonly runs: number }
}

const sendRequest = (app: FastifyInstance, headers: Record<string, string>, options: InjectOptions = {}) => app.inject({ url: '/page', headers, ...options })

async function assertConditions (t: Test, app: FastifyInstance, name: string) {
  for (const headers of [{ 'if-none-match': '"v1"' }, { 'if-none-match': 'W/"v1", "v2"' }, { 'if-modified-since': modified }] as Record<string, string>[]) {
    const response = await sendRequest(app, headers)
    t.match(response, { statusCode: 304, body: '', headers: { etag: '"v1"', 'content-length': undefined } }, `${name}: ${JSON.stringify(headers)}`)
  }
  for (const headers of [{ 'if-match': '"v2"' }, { 'if-unmodified-since': 'Sun, 01 Jan 2023 00:00:00 GMT' }] as Record<string, string>[]) {
    t.match(await sendRequest(app, headers), { statusCode: 412, body: '' }, `${name}: ${JSON.stringify(headers)}`)
  }
  const whole = [{}, { 'if-none-match': '"v2"' }, { 'if-match': '"v1"' }, { range: 'lines=1-2' }, { range: 'bytes=0-1', 'if-range': '"v2"' }] as Record<string, string>[]
  for (const headers of whole) t.match(await sendRequest(app, headers), { statusCode: 200, body }, `${name}: ${JSON.stringify(headers)}`)
  for (const [range, first, last] of [['bytes=0-9', 0, 9], ['bytes=25-34', 25, 34], ['bytes=95-', 95, 99], ['bytes=-3', 97, 99]] as const) {
    const response = await sendRequest(app, { range, 'if-range': '"v1"' })
    t.match(response, { statusCode: 206, body: body.slice(first, last + 1), headers: { 'content-range': `bytes ${first}-${last}/100`, 'content-length': String(last + 1 - first) } }, `${name}: ${range}`)
  }
  t.match(await sendRequest(app, { range: 'bytes=100-' }), { statusCode: 416, body: '', headers: { 'content-range': 'bytes */100' } }, `${name}: a range after the end`)
}

for (const [reason, [fields, options]] of Object.entries(notStored)) {
  t.test(`conditions and ranges of a response that is not stored (${reason}) are evaluated`, async (t) => {
    for (const [name, send] of Object.entries(payloads)) {
      const { app } = await conditionalApp(t, send, fields, options)
      await assertConditions(t, app, name)
      t.equal(app.cache.counts.write, 0)
    }
  })
}

t.test('conditions and ranges of the first response are evaluated, and the whole response is stored', async (t) => {
  for (const [name, send] of Object.entries(payloads)) {
    for (const [headers, status] of [[{ 'if-none-match': '"v1"' }, 304], [{ range: 'bytes=10-19' }, 206], [{ range: 'bytes=200-' }, 416], [{ 'if-match': '"v2"' }, 412]] as [Record<string, string>, number][]) {
      const world = await conditionalApp(t, send, {})
      t.equal((await sendRequest(world.app, headers)).statusCode, status, `${name}: ${JSON.stringify(headers)}`)
      await until(() => world.app.cache.counts.write_ok === 1, { what: 'it is stored' })
      t.match(await sendRequest(world.app, {}), { statusCode: 200, body, headers: { 'cache-status': /hit/ } }, name)
      t.equal(world.runs, 1)
    }
  }
})

t.test('a stream that is read on after a 304 hides no unkeyed input', async (t) => {
  const app = await cachingApp(t)
  const gate = Promise.withResolvers<void>()
  app.get('/page', { config: { cache: { ttl: '5m' } } }, (request, reply) => reply.headers({ etag: '"v1"', 'content-type': 'text/plain' }).send(Readable.from((async function * () {
    yield 'for '
    await gate.promise
    yield String(request.headers['x-name'])
  })())))

  t.equal((await sendRequest(app, { 'x-name': 'alice', 'if-none-match': '"v1"' })).statusCode, 304)
  gate.resolve()
  t.equal((await sendRequest(app, { 'x-name': 'bob' })).body, 'for bob')
})

t.test('conditions are not evaluated twice: a handler that bypasses the cache sees them, and an error has none', async (t) => {
  const app = await cachingApp(t)
  app.addHook('onRequest', async (_request, reply) => { reply.cache.bypass('test') })
  app.get('/page', { config: { cache: true } }, async (request, reply) => reply.header('etag', '"v1"').send(request.headers['if-none-match']))
  t.match(await sendRequest(app, { 'if-none-match': '"v1"' }), { statusCode: 200, body: '"v1"' })

  const other = await cachingApp(t)
  other.get('/page', { config: { cache: true } }, async (_request, reply) => reply.code(404).header('etag', '"v1"').send('gone'))
  t.match(await sendRequest(other, { 'if-none-match': '"v1"', range: 'bytes=0-0' }), { statusCode: 404, body: 'gone' })
})

t.test('conditions of HEAD are evaluated, on a miss, where nothing is stored, and on a hit', async (t) => {
  for (const fields of [{}, { 'cache-control': 'private' }] as Record<string, string>[]) {
    const { app } = await conditionalApp(t, payloads['a string'] as Send, fields)
    for (let turn = 0; turn < 2; turn++) {
      t.match(await sendRequest(app, { 'if-none-match': '"v1"' }, { method: 'HEAD' }), { statusCode: 304, headers: { 'content-length': undefined } })
      t.match(await sendRequest(app, { 'if-match': '"v2"' }, { method: 'HEAD' }), { statusCode: 412 })
      t.match(await sendRequest(app, { range: 'bytes=0-9' }, { method: 'HEAD' }), { statusCode: 200, headers: { 'content-length': '100' } })
      await sendRequest(app, {})
      await stored(app)
    }
  }
})

t.test('RFC 9530: digests of a body are sent only with that body', async (t) => {
  const text = body.repeat(30)
  const digest = `sha-256=:${createHash('sha256').update(text).digest('base64')}:`
  for (const name of ['content-digest', 'repr-digest', 'digest', 'content-md5']) {
    const { app } = await conditionalApp(t, (reply) => reply.header(name, digest).send(text), {})
    for (let turn = 0; turn < 2; turn++) {
      t.match((await sendRequest(app, {})).headers, { [name]: digest, 'content-encoding': undefined }, `${name} of the whole body`)
      await stored(app)
    }
    t.match((await sendRequest(app, { 'accept-encoding': 'br' })).headers, { [name]: undefined, 'content-encoding': 'br' }, `${name} of a compressed body`)
    for (const headers of [{ range: 'bytes=0-9' }, { range: 'bytes=9999999-' }, { 'if-none-match': '"v1"' }, { 'if-match': '"v2"' }] as Record<string, string>[]) {
      t.equal((await sendRequest(app, headers)).headers[name], undefined, `${name}: ${JSON.stringify(headers)}`)
    }
  }
})
