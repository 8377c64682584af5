import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { openInstance } from '../../service/app.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import problems from '../../service/plugins/problems.ts'
import refusals from '../../service/plugins/reject-malformed.ts'
import { readConfig } from '../../service/config.ts'

/** The service's instance with its limits, and two routes of the test; listening. */
async function listening (t: Test, more: (app: FastifyInstance) => void = () => {}): Promise<{ app: FastifyInstance, port: number }> {
  const app = openInstance(readConfig({ LOG_LEVEL: 'silent' }))
  t.after(() => app.close())
  await app.register(problems)
  await app.register(requestLifecycle)
  await app.register(refusals)
  app.get('/items/:id', async (request) => ({ ip: request.ip, id: request.id, host: request.host, url: request.url }))
  app.post('/items', async () => 'ok')
  more(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: Number(new URL(app.listeningOrigin).port) }
}

interface RawResponse { status: number, fields: string, body: string, isClosed: boolean }

/** What is received for these bytes, until the server closes or the response is complete. */
async function exchange (port: number, bytes: string, onBegun?: (socket: Socket) => void): Promise<RawResponse> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(bytes)
  let text = ''
  let isClosed = false
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      text += String(chunk)
      if (!text.includes('\r\n\r\n')) return
      if (onBegun !== undefined) onBegun(socket)
      else if (!/^connection: close/im.test(text)) resolve()
    })
    socket.on('error', () => {}) // a reset after the response: `close` follows
    socket.once('close', () => {
      isClosed = true
      resolve()
    })
  })
  socket.destroy()
  const [fields = '', body = ''] = text.split('\r\n\r\n')
  return { status: Number(fields.split(' ')[1]), fields, body, isClosed }
}

const refused: ReadonlyArray<[what: string, bytes: string, status: number, code: string]> = [
  ['two Host fields', 'GET /items/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['two equal Host fields', 'GET /items/1 HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['two Host fields for an unknown path', 'GET /none HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['no Host field', 'GET /items/1 HTTP/1.1\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['a Host with a space in it', 'GET /items/1 HTTP/1.1\r\nHost: a b\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['a Host with a path', 'GET /items/1 HTTP/1.1\r\nHost: a/b\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['a Host with a user', 'GET /items/1 HTTP/1.0\r\nHost: ada@a\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['a target with an invalid host', 'GET http://ada@a/items/1 HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['HTTP/0.9', 'GET /items/1\r\n\r\n', 400, 'PRISM_ERR_HOST'],
  ['an unsupported expectation', 'GET /items/1 HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n', 417, 'PRISM_ERR_EXPECTATION'],
  ['an unsupported transfer coding', 'POST /items HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n', 400, 'PRISM_ERR_TRANSFER_ENCODING'],
  ['TRACE', 'TRACE /items/1 HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n', 405, 'PRISM_ERR_METHOD'],
  ['Transfer-Encoding in HTTP/1.0', 'POST /items HTTP/1.0\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n', 400, 'PRISM_ERR_TRANSFER_ENCODING'],
  ['a cookie of 10 kB', `GET /items/1 HTTP/1.1\r\nHost: a\r\nCookie: session=${'x'.repeat(10_000)}\r\n\r\n`, 431, 'PRISM_ERR_COOKIE_TOO_LARGE'],
  ['header fields over 16 KiB', `GET /items/1 HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`, 431, 'PRISM_ERR_FIELDS_TOO_LARGE'],
  ['bytes that are not HTTP', 'hello there\r\n\r\n', 400, 'PRISM_ERR_MALFORMED'],
  ['both Content-Length and Transfer-Encoding', 'POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n', 400, 'PRISM_ERR_MALFORMED'],
  ['a line feed in a field', 'GET /items/1 HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n', 400, 'PRISM_ERR_MALFORMED']
]

for (const [what, bytes, status, code] of refused) {
  t.test(`${what} is rejected with a problem document, and the connection is closed`, async (t) => {
    const { port } = await listening(t)

    const response = await exchange(port, bytes)

    t.equal(response.status, status)
    t.match(response.fields.toLowerCase(), 'content-type: application/problem+json')
    t.match(JSON.parse(response.body), { status, code, instance: /^[0-9a-f-]{36}$/ })
    t.ok(response.isClosed)
    t.notMatch(response.body, 'secret')
  })
}

const wrong: ReadonlyArray<[what: string, bytes: string, status: number, code: string]> = [
  ['a path that cannot be decoded', 'GET /items/%zz HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'PRISM_ERR_URL'],
  ['a parameter that is too long', `GET /items/${'x'.repeat(200)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414, 'PRISM_ERR_URL_TOO_LONG'],
  ['a body of plain text', 'POST /items HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}', 415, 'PRISM_ERR_MEDIA_TYPE'],
  ['a body of 1 MB', 'POST /items HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n', 413, 'PRISM_ERR_BODY_TOO_LARGE']
]

for (const [what, bytes, status, code] of wrong) {
  t.test(`${what} is rejected with a problem document`, async (t) => {
    const { port } = await listening(t)

    const response = await exchange(port, bytes)

    t.equal(response.status, status)
    t.match(JSON.parse(response.body), { status, code, instance: /^[0-9a-f-]{36}$/ })
  })
}

t.test('the host of a target in absolute form takes precedence over Host', async (t) => {
  const { port } = await listening(t)

  const { status, body } = await exchange(port, 'GET http://shop.example:80/items/1?a=b HTTP/1.1\r\nHost: other.example\r\n\r\n')

  t.equal(status, 200)
  t.match(JSON.parse(body), { host: 'shop.example:80', url: '/items/1?a=b' })
})

for (const host of ['', 'a.example:3000', '[::1]:3000', 'xn--bcher-kva.example', '192.0.2.1', 'a_b.example']) {
  t.test(`Host: ${host} is accepted`, async (t) => {
    const { port } = await listening(t)

    const { status, body } = await exchange(port, `GET /items/1 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)

    t.same([status, JSON.parse(body).host], [200, host])
  })
}

t.test('OPTIONS * lists the methods of the routes', async (t) => {
  const { port } = await listening(t)

  const { status, fields } = await exchange(port, 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n')

  t.equal(status, 204)
  t.match(fields, /^allow: GET, HEAD, OPTIONS, POST$/im)
})

t.test('a body with Expect: 100-continue receives 100', async (t) => {
  const { port } = await listening(t)

  const { fields } = await exchange(port, 'POST /items HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}')

  t.match(fields, /^HTTP\/1.1 100 Continue/)
})

t.test('HTTP/1.0 without Host is accepted', async (t) => {
  const { port } = await listening(t)

  t.equal((await exchange(port, 'GET /items/1 HTTP/1.0\r\n\r\n')).status, 200)
})

t.test('the server\'s limits are configured and enforced', async (t) => {
  const { app } = await listening(t)

  t.equal(app.server.requestTimeout, 10_000)
  t.equal(app.server.headersTimeout, 5_000)
  t.equal(app.initialConfig.bodyLimit, 65_536)
})

t.test('a request whose header fields never end is rejected with a problem document', async (t) => {
  const { port } = await listening(t)

  const response = await exchange(port, 'GET /items/1 HTTP/1.1\r\nHost: a\r\nX-Slow: ')

  t.equal(response.status, 408)
  t.match(JSON.parse(response.body), { status: 408, code: 'PRISM_ERR_REQUEST_TIMEOUT' })
})

t.test('an error after the start of a response is never written into it', async (t) => {
  const { app, port } = await listening(t, (app) => {
    app.get('/slow', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-length': '100' })
      reply.raw.write('begun')
    })
  })

  const response = await exchange(port, 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n', (socket) => socket.write('no HTTP\r\n\r\n'))

  t.equal(response.status, 200)
  t.equal(response.body, 'begun')
  t.ok(response.isClosed)
  t.ok(app.server.listening)
})

t.test('request IDs of clients are ignored', async (t) => {
  const { app } = await listening(t)

  const reply = await app.inject({ url: '/items/1', headers: { 'request-id': 'mine', 'x-request-id': 'mine' } })

  t.match(reply.json().id, /^[0-9a-f-]{36}$/)
})
