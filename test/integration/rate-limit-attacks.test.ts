import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, InjectOptions } from 'fastify'
import { test } from 'tap'
import refusals from '../../service/plugins/reject-malformed.ts'
import { resolveClientAddress } from '../../src/http/client-address.ts'
import { buildLimitedApp } from '../support/limited-app.ts'

const city = (app: FastifyInstance) => {
  app.get('/cities/:id', { config: { rateLimit: { quota: 5 } } }, async () => ({ fine: true }))
}

/** The number of requests that are not rejected; a 404 counts as not rejected. */
async function passing (app: FastifyInstance, requests: InjectOptions[]): Promise<number> {
  let passed = 0
  for (const request of requests) {
    const { statusCode } = await app.inject(request)
    if (statusCode !== 429) passed += 1
  }
  return passed
}

const many = (make: (index: number) => InjectOptions, count = 12) => Array.from({ length: count }, (_, index) => make(index))

/** Listens; the result sends raw bytes and returns everything received until the server closes. */
async function listen (app: FastifyInstance): Promise<(text: string) => Promise<string>> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return async (text) => await new Promise<string>((resolve, reject) => {
    let response = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket.setEncoding('utf8').on('data', (chunk) => { response += chunk }).on('close', () => resolve(response)).on('error', reject)
  })
}

const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)

/** All keys, without the list of the apps on this Redis. */
const keysOf = async ({ redisPool }: Pick<FastifyInstance, 'redisPool'>) => (await redisPool.keys('*')).filter((key) => ![redisPool.keyspace.apps(), redisPool.keyspace.rateLimitQuotas()].includes(key))

test('rate-limit ignores fields that name another client', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 5 } })
  const fields = ['x-forwarded-for', 'x-real-ip', 'forwarded', 'cf-connecting-ip', 'true-client-ip', 'x-client-ip']

  const passed = await passing(app, many((index) => ({ url: '/', headers: { [fields[index % fields.length] ?? '']: `for=192.0.2.${index}, 192.0.2.${index}` } }), 30))

  t.equal(passed, 5)
})

test('rate-limit ignores fields of 10 kB, and large numbers of fields', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 5 } })
  const long = (index: number) => Array.from({ length: 700 }, (_, at) => `192.0.${index}.${at % 250}`).join(', ')

  const passed = await passing(app, many((index) => ({ url: '/', headers: { 'x-forwarded-for': long(index), forwarded: `for="${'x'.repeat(10_000)}${index}"`, 'x-real-ip': 'y'.repeat(10_000) + index } })))

  t.equal(passed, 5)
  t.same(await keysOf(app), ['ratelimit:{ip:127.0.0.1}:all'])
})

test('rate-limit uses the address from a trusted proxy, and only that part of the field', async (t) => {
  const { trust } = resolveClientAddress({ kind: 'networks', networks: ['10.0.0.0/8'] })
  const app = await buildLimitedApp(t, { server: { trustProxy: trust }, limit: { quota: 5 } })
  const from = (forwarded: string) => ({ url: '/', remoteAddress: '10.0.0.1', headers: { 'x-forwarded-for': forwarded } })

  t.equal(await passing(app, many((index) => from(`203.0.113.${index}, 192.0.2.1`))), 5, 'the part that the client wrote is ignored')
  t.equal(await passing(app, [from('192.0.2.2')]), 1, 'another client has a quota of its own')
  t.equal(await passing(app, many((index) => ({ url: '/', remoteAddress: '198.51.100.1', headers: { 'x-forwarded-for': `192.0.2.${index}` } }))), 5, 'an untrusted peer is ignored')
})

test('rate-limit counts by the proxy\'s address if the forwarded address is invalid', async (t) => {
  const { trust } = resolveClientAddress({ kind: 'networks', networks: ['10.0.0.0/8'] })
  const app = await buildLimitedApp(t, { server: { trustProxy: trust }, limit: { quota: 5 } })
  const names = ['192.0.2:1', 'unknown', '[2001:db8::1', 'a'.repeat(10_000), '{ip:192.0.2.9}', '1', '01.02.03.04', '0x7f000001', '1.2.3:80', 'x y', '-']

  const passed = await passing(app, names.map((name) => ({ url: '/', remoteAddress: '10.0.0.1', headers: { 'x-forwarded-for': name } })))

  t.equal(passed, 5)
  t.same(await keysOf(app), ['ratelimit:{ip:10.0.0.1}:all'], 'no key contains a part of a field')
})

test('rate-limit counts an IPv6 /64 as one client, and IPv4-mapped addresses as IPv4', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 5 } })

  t.equal(await passing(app, many((index) => ({ url: '/', remoteAddress: `2001:db8:1:2:${index}::${index + 1}` }))), 5)
  t.equal(await passing(app, [{ url: '/', remoteAddress: '2001:db8:1:3::1' }]), 1)
  t.equal(await passing(app, many((index) => ({ url: '/', remoteAddress: `fe80::${index + 1}%eth${index}` }))), 5, 'zone IDs are ignored')
  t.equal(await passing(app, many((index) => ({ url: '/', remoteAddress: ['192.0.2.1', '::ffff:192.0.2.1', '::ffff:c000:201', '0:0:0:0:0:FFFF:192.0.2.1'][index % 4] ?? '' }))), 5)
})

test('rate-limit counts other spellings of a path, other methods and unknown paths against the same quota', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 20 }, server: { routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, caseSensitive: false } }, routes: city })
  const urls = ['/cities/1', '/cities/1/', '//cities//1', '/CITIES/1', '/cities/%31', '/c%69ties/1', '/cities/2?x=1', '/cities/1?', '/cities/1#x', '/cities/x%2Fy']

  const counts = await passing(app, urls.map((url) => ({ url })))
  const head = await passing(app, many(() => ({ url: '/cities/1', method: 'HEAD' }), 3))
  const overridden = await app.inject({ url: '/cities/1', method: 'POST', headers: { 'x-http-method-override': 'GET' } })
  const nowhere = await passing(app, many((index) => ({ url: `/nowhere/${index}`, method: (['GET', 'POST', 'DELETE', 'PATCH'] as const)[index % 4] ?? 'GET' }), 40))

  t.equal(counts, 5)
  t.equal(head, 0, 'HEAD has no quota of its own')
  t.equal(overridden.statusCode, 404)
  t.equal(nowhere, 20 - 5 - 1, 'unknown paths count against the quota of the stack')
})

test('rate-limit counts pipelined requests and HTTP/1.0 requests', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 5 } })
  const exchange = await listen(app)

  const pipelined = await exchange('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(7) + 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  const old = await exchange('GET / HTTP/1.0\r\n\r\n')

  t.same(statuses(pipelined), ['200', '200', '200', '200', '200', '429', '429', '429'])
  t.same(statuses(old), ['429'])
})

test('rate-limit counts malformed requests, and closes the connection when it rejects them', async (t) => {
  const app = await buildLimitedApp(t, {
    limit: { quota: 5 },
    server: { http: { requireHostHeader: false } },
    routes: (app) => {
      app.register(refusals)
      app.get('/', async () => 'fine').post('/', async () => 'fine')
    }
  })
  const exchange = await listen(app)
  const malformed = [
    'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n',
    'POST / HTTP/1.0\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
    `GET / HTTP/1.1\r\nHost: a\r\nCookie: session=${'x'.repeat(10_000)}\r\n\r\n`
  ]

  const responses = []
  for (const text of [...malformed, ...malformed]) responses.push(await exchange(text))
  const wellFormed = await app.inject('/')

  t.same(responses.flatMap(statuses), ['400', '400', '405', '400', '431', '429', '429', '429', '429', '429'])
  for (const response of responses) t.match(response.toLowerCase(), 'connection: close')
  t.equal(wellFormed.statusCode, 429)
})

test('rate-limit rejects before the guards of the app: a flood of wrong tokens ends in 429', async (t) => {
  let guarded = 0
  const app = await buildLimitedApp(t, {
    limit: { quota: 5 },
    routes: (app) => {
      app.addHook('onRequest', async (_request, reply) => {
        guarded += 1
        return reply.code(401).send()
      })
      app.get('/', async () => 'never')
    }
  })

  const seen = []
  for (let index = 0; index < 8; index++) seen.push((await app.inject({ url: '/', headers: { authorization: `Bearer ${index}` } })).statusCode)

  t.same(seen, [401, 401, 401, 401, 401, 429, 429, 429])
  t.equal(guarded, 5)
})

test('rate-limit counts requests with unparsable bodies', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 3 }, routes: (app) => { app.post('/', async () => 'never') } })

  const seen = []
  for (let index = 0; index < 5; index++) seen.push((await app.inject({ url: '/', method: 'POST', headers: { 'content-type': 'application/json' }, payload: '{' })).statusCode)

  t.same(seen, [400, 400, 400, 429, 429])
})

test('rate-limit counts unknown API keys by address, and known ones by key', async (t) => {
  const known = new Set(['alpha', 'beta'])
  const app = await buildLimitedApp(t, { limit: { quota: 3, by: { apiKey: 'X-API-Key', verify: (key) => known.has(key) } } })
  const send = (key: string) => ({ url: '/', headers: { 'x-api-key': key } })

  t.equal(await passing(app, many((index) => send(`invented-${index}`))), 3)
  t.equal(await passing(app, many(() => send('alpha'))), 3)
  t.equal(await passing(app, many(() => send('beta'))), 3)
  t.equal((await keysOf(app)).filter((key) => /alpha|beta|invented/.test(key)).length, 0, 'Redis contains only a hash of the key')
})

test('rate-limit separates and escapes hostile partition names', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 2, by: (request) => String(request.headers['x-name']) } })
  const names = ['a:x', 'a', 'ip:127.0.0.1', '}{', 'é', '%41', 'A', 'x'.repeat(5000), 'x'.repeat(5001)]

  for (const name of names) t.equal(await passing(app, many(() => ({ url: '/', headers: { 'x-name': name } }), 3)), 2, name.slice(0, 20))

  t.ok((await keysOf(app)).every((key) => /^ratelimit:\{custom:[A-Za-z0-9_.%-]{1,80}\}:all$/.test(key)))
})

test('rate-limit does not count clients on the allow-list', async (t) => {
  const app = await buildLimitedApp(t, { limit: { quota: 2, allowList: ['10.0.0.0/8', '2001:db8::/32', 'fe80::/10'] } })

  t.equal(await passing(app, many(() => ({ url: '/', remoteAddress: '10.1.2.3' }))), 12)
  t.equal(await passing(app, many(() => ({ url: '/', remoteAddress: '::ffff:10.1.2.3' }))), 12)
  t.equal(await passing(app, many(() => ({ url: '/', remoteAddress: '2001:db8::7' }))), 12)
  t.equal(await passing(app, many(() => ({ url: '/', remoteAddress: 'fe80::1%br_lan' }))), 12)
  t.equal(await passing(app, many(() => ({ url: '/', remoteAddress: '11.0.0.1' }))), 2)
})
