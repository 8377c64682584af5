import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { ago, expectStored, originOf } from '../support/caching-origin.ts'

const json = { cities: Array.from({ length: 60 }, (_, index) => ({ id: index, name: `City ${index}` })) }

/** Sends raw bytes; resolves to everything that is received until the connection ends. */
async function wireOf (t: Test): Promise<{ say: (text: string) => Promise<string>, settled: () => Promise<void>, runs: () => number }> {
  const app = await cachingApp(t)
  let runs = 0
  app.get('/json', { config: { cache: true } }, async () => { runs++; return json })
  app.get('/text', { config: { cache: true } }, async () => { runs++; return 'hello' })
  app.get('/stream', { config: { cache: true } }, async (_request, reply) => { runs++; return reply.type('text/plain').send(Readable.from(['hel', 'lo'])) })
  app.get('/empty', { config: { cache: true } }, async (_request, reply) => { runs++; return reply.code(204).send() })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const [address] = app.addresses() as { port: number }[]
  const say = async (text: string) => {
    const socket = connect(address?.port ?? 0, '127.0.0.1')
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.write(text.replaceAll('\n', '\r\n'))
    await once(socket, 'close')
    return Buffer.concat(chunks).toString('latin1')
  }
  return { say, settled: () => stored(app), runs: () => runs }
}

t.test('cache serves HTTP/1.0 clients, which send no Host field', async (t) => {
  const { say, settled, runs } = await wireOf(t)
  for (const path of ['text', 'stream']) {
    await say(`GET /${path} HTTP/1.1\nHost: x\nConnection: close\n\n`)
    await settled()
  }

  for (const path of ['text', 'stream']) {
    const response = await say(`GET /${path} HTTP/1.0\n\n`)
    t.match(response, /\r\ncontent-length: 5\r\n/i)
    t.match(response, /\r\ncache-status: prism; hit/)
    t.notMatch(response, /transfer-encoding/i)
    t.match(response, /\r\n\r\nhello$/)
  }
  t.equal(runs(), 2)
})

t.test('cache sends with HEAD, GET and 304 the fields that each requires, in every content coding', async (t) => {
  const { say, settled } = await wireOf(t)
  const sendRequest = async (method: string, path: string, fields = '') => {
    const [head = '', body = ''] = (await say(`${method} /${path} HTTP/1.1\nHost: x\nConnection: close\n${fields}\n`)).split('\r\n\r\n')
    const named = (name: string) => new RegExp(`^${name}: (.*)$`, 'mi').exec(head)?.[1]?.trim()
    return { status: head.slice(9, 12), length: named('content-length'), bytes: body.length, coding: named('content-encoding'), tag: named('etag') ?? '', vary: named('vary'), type: named('content-type') }
  }
  await sendRequest('GET', 'json')
  await settled()

  for (const accepted of ['', 'Accept-Encoding: br\n', 'Accept-Encoding: gzip;q=1, *;q=0\n', 'Accept-Encoding: identity\n', 'Accept-Encoding:\n']) {
    const [get, head] = [await sendRequest('GET', 'json', accepted), await sendRequest('HEAD', 'json', accepted)]
    t.same({ ...head, bytes: 0 }, { ...get, bytes: 0 }, `HEAD is GET without a body: ${accepted}`)
    t.equal(head.bytes, 0)
    t.equal(get.length, String(get.bytes))
    t.equal(get.vary, 'accept-encoding')
    t.equal(get.coding, accepted.includes('br') ? 'br' : undefined)
    const same = await sendRequest('GET', 'json', `${accepted}If-None-Match: ${get.tag}\n`)
    t.match(same, { status: '304', bytes: 0, tag: get.tag, vary: 'accept-encoding', type: undefined, coding: undefined })
  }
})

t.test('cache sends no Content-Length and no body with 204, stored or not', async (t) => {
  const { say, settled, runs } = await wireOf(t)

  for (const status of ['miss', 'hit']) {
    const response = await say('GET /empty HTTP/1.1\nHost: x\nConnection: close\n\n')
    await settled()
    t.match(response, new RegExp(`^HTTP/1.1 204 No Content\\r\\n[^]*cache-status: prism; [^]*${status}`))
    t.notMatch(response, /content-length|transfer-encoding|content-type/i)
  }
  t.equal(runs(), 1)
})

t.test('cache serves pipelined requests, each with its own response', async (t) => {
  const { say } = await wireOf(t)

  const responses = await say('GET /text HTTP/1.1\nHost: x\n\nHEAD /text HTTP/1.1\nHost: x\n\nGET /json HTTP/1.1\nHost: x\n\nGET /text HTTP/1.1\nHost: x\nConnection: close\n\n')

  t.equal(responses.match(/HTTP\/1.1 200 OK/g)?.length, 4)
  t.equal(responses.match(/hello/g)?.length, 2)
  t.match(responses, JSON.stringify(json))
})

t.test('RFC 9110 section 15: cache applies a heuristic lifetime only to heuristically cacheable status codes', (t) => {
  const modified = { 'last-modified': ago(100_000) }
  return expectStored(t, Object.fromEntries([
    ...[200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].map((status) => [`${status}, stored`, [true, modified, status]] as const),
    ...[201, 202, 302, 303, 307, 400, 401, 403, 418, 451, 500, 502, 503].map((status) => [`${status}, not stored`, [false, modified, status]] as const),
    ...[201, 302, 307, 403, 451, 500, 503].map((status) => [`${status}, with an explicit lifetime`, [true, { 'cache-control': 'max-age=60' }, status]] as const),
    ...[206, 304].map((status) => [`${status}, even with an explicit lifetime`, [false, { 'cache-control': 'max-age=60' }, status]] as const)
  ].map(([name, [stored, fields, status]]) => [name, [stored, fields, status]])))
})

t.test('RFC 9111 section 4.2.1: cache reads malformed freshness information as a shorter lifetime, never as a longer one', (t) => expectStored(t, {
  'a quoted number': [true, { 'cache-control': 'max-age="60"' }],
  'in single quotes': [false, { 'cache-control': "max-age='60'" }],
  'with a fraction': [false, { 'cache-control': 'max-age=60.5' }],
  negative: [false, { 'cache-control': 'max-age=-60' }],
  'with a space before the number': [true, { 'cache-control': 'max-age= 60' }],
  'two that differ': [false, { 'cache-control': 'max-age=60, max-age=0' }],
  'on two lines': [false, { 'cache-control': ['max-age=60', 'no-store'] }],
  'larger than any integer type': [true, { 'cache-control': 'max-age=99999999999999999999' }],
  'Expires that is a number': [false, { expires: '60' }],
  'Expires in another zone': [false, { expires: new Date(Date.now() + 60_000).toUTCString().replace('GMT', 'UTC') }],
  'several Expires': [false, { expires: [ago(-60), ago(-120)] }],
  'a very large age': [false, { 'cache-control': 'max-age=60', age: '99999999999' }],
  'an invalid age is ignored': [true, { 'cache-control': 'max-age=60', age: 'new' }],
  'Pragma of a response is ignored': [true, { 'cache-control': 'max-age=60', pragma: 'no-cache' }]
}))

t.test('RFC 9111 section 5.1: cache adds the time in the store to the Age of the response, and does not change its Date', async (t) => {
  const origin = await originOf(t)
  const date = ago(20)
  origin.fields = { 'cache-control': 'max-age=600', age: '100', date }
  await origin.get()
  const { headers } = await origin.get()

  t.match(headers, { date, age: /^1[01]\d$/, 'cache-status': /hit; ttl=(500|4[89]\d)/ })
  origin.fields = { expires: ago(-60) }
  const [first, second] = [await origin.get({ url: '/b' }), await origin.get({ url: '/b' })]
  t.equal(second.headers.date, first.headers.date, 'Expires is relative to Date')
})

t.test('RFC 9110 section 14.2: cache ignores unknown range units, and ranges of methods other than GET', async (t) => {
  const origin = await originOf(t)
  const modified = ago(1000)
  origin.fields = { 'cache-control': 'max-age=60', etag: '"a"', 'last-modified': modified }
  await origin.get()
  const statusOf = async (range: string, more = {}) => (await origin.get({ headers: { range, ...more } })).statusCode

  for (const range of ['bytes=0-0,-1', 'lines=0-1', 'bytes=2-1', 'bytes', '', 'bytes=a-b']) t.equal(await statusOf(range), 200, range)
  t.equal(await statusOf('bytes=0-99999999999999999999'), 206)
  t.equal((await origin.get({ method: 'HEAD', headers: { range: 'bytes=0-1' } })).statusCode, 200)
  t.equal(await statusOf('bytes=0-1', { 'if-none-match': '"a"' }), 304, 'preconditions precede ranges')
  t.equal(await statusOf('bytes=0-1', { 'if-range': modified }), 206)
  t.equal(await statusOf('bytes=0-1', { 'if-range': ago(900) }), 200)
})

t.test('RFC 9110 section 13.2.2: cache sends 412 if a precondition fails, for a new and for a stored response', async (t) => {
  const app = await cachingApp(t)
  const modified = 'Thu, 26 Nov 2026 10:00:00 GMT'
  app.get('/', { config: { cache: true } }, async (_request, reply) => reply.header('last-modified', modified).send({ rows: 'x'.repeat(2000) }))
  app.get('/gone', { config: { cache: { ttl: 'response' } } }, async (_request, reply) => reply.code(404).header('cache-control', 'max-age=60').send('gone'))
  const etag = String((await app.inject('/')).headers.etag)
  const coded = etag.replace(/"$/, '-br"')
  const conditions: [Record<string, string>, number][] = [
    [{ 'if-match': '"other"' }, 412], [{ 'if-match': `W/${etag}` }, 412], [{ 'if-match': `"other", ${etag}` }, 200], [{ 'if-match': '*' }, 200],
    [{ 'if-match': '"other"', 'if-none-match': etag }, 412], [{ 'if-match': etag, 'if-none-match': etag }, 304], [{ 'if-match': '"other"', range: 'bytes=0-1' }, 412],
    [{ 'if-unmodified-since': 'Wed, 25 Nov 2026 10:00:00 GMT' }, 412], [{ 'if-unmodified-since': modified }, 200], [{ 'if-unmodified-since': 'yesterday' }, 200],
    [{ 'if-unmodified-since': 'Wed, 25 Nov 2026 10:00:00 GMT', 'if-match': etag }, 200]
  ]

  for (const [headers, status] of conditions) {
    await stored(app)
    t.equal((await app.inject({ url: '/', headers })).statusCode, status, `hit ${JSON.stringify(headers)}`)
    t.equal((await app.inject({ url: `/?miss=${encodeURIComponent(JSON.stringify(headers))}`, headers })).statusCode, status, `miss ${JSON.stringify(headers)}`)
  }
  t.equal((await app.inject({ url: '/', headers: { 'if-match': coded, 'accept-encoding': 'br' } })).statusCode, 200, 'the ETag of the coded form')
  const refused = await app.inject({ url: '/', headers: { 'if-match': '"other"' } })
  t.match(refused, { body: '', headers: { etag, 'cache-control': 'no-store' } })
  for (const outcome of [/stored/, /hit/]) {
    t.match(await app.inject({ url: '/gone', headers: { 'if-match': '"other"' } }), { statusCode: 404, headers: { 'cache-status': outcome } }, 'preconditions apply only to successful responses')
    await stored(app)
  }
})
