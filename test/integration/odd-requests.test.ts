import fc from 'fast-check'
import type { InjectOptions } from 'fastify'
import t from 'tap'
import { buildTestApp } from '../support/app.ts'
import { propertyRuns } from '../support/property-runs.ts'

t.setTimeout(300_000)

// 503 is allowed: on a busy machine Redis may time out.

const odd = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('0', '-1', '1e3', '2988507', '9'.repeat(30), 'NaN', 'null', '__proto__', 'constructor', '\0', '"', "' OR 1=1 --", '*', '^', 'NEAR(', 'a AND', '{}', '[', '{a}', '../..', '%', '\u202e', '48.85,2.35', '91,181', 'FR', 'É', 'x'.repeat(120)),
  fc.integer().map(String),
  fc.double().map(String)
)
const id = odd.map((text) => encodeURIComponent(text.toWellFormed()))
const query = fc.dictionary(fc.oneof(fc.constantFrom('q', 'country', 'near', 'limit'), odd), odd, { maxKeys: 4, noNullPrototype: true })
  .map((fields) => new URLSearchParams(fields).toString())
const path = fc.oneof(
  fc.constantFrom('/ops', '/ops/entry', '/ops/purge', '/metrics', '/users', '/session', '/cities/2988507/notes'),
  fc.tuple(fc.constantFrom('/cities', '/', '/openapi.json', '/countries/FR'), query).map(([start, fields]) => `${start}?${fields}`),
  fc.tuple(fc.constantFrom('/cities', '/countries', '/session/devices', '/me/places', '/healthz', '/cities/2988507'), id).map((parts) => parts.join('/'))
)
const method = fc.constantFrom<NonNullable<InjectOptions['method']>>('GET', 'GET', 'GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS')
/** JSON whose names and texts contain lone surrogates. */
const halves = fc.record({ name: fc.constantFrom('\ud800', '\udfff', 'a\ud800b', '__proto__', 'name', 'text'), value: fc.constantFrom('\udc00', '\ud800'.repeat(50), 'x') }).map(({ name, value }) => JSON.stringify({ name: value, password: value, [name]: value }))
const body = fc.oneof(fc.json(), halves, odd, fc.record({ name: odd, password: odd }).map((account) => JSON.stringify(account)))
const type = fc.constantFrom('application/json', 'application/json; charset=latin1', 'text/plain', 'application/x-www-form-urlencoded', 'a/b', '')
/** Bytes that a field may contain: all but control characters. */
const fieldText = fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f).map((code) => String.fromCharCode(code)), maxLength: 60 })
// As many characters as a signature of the stack has, and twice as many bytes.
const forged = fc.oneof(fieldText, fieldText.map((text) => `${Date.now() + 60_000}.${text.replaceAll('.', '')}.${'\u00e9'.repeat(43)}`))
const cookie = fc.tuple(odd, forged, fieldText).map(([text, ticket, sid]) => `session=${encodeURIComponent(text.toWellFormed())}; __proto__=1; session=; prism_operator=${ticket}; sid=${sid}`)
const fields = fc.dictionary(fc.constantFrom('range', 'accept', 'accept-encoding', 'accept-language', 'cache-control', 'if-none-match', 'if-match', 'if-modified-since', 'if-range', 'origin', 'sec-fetch-site', 'authorization', 'x-forwarded-for', 'x-forwarded-proto', 'x-real-ip', 'last-event-id', 'traceparent', 'user-agent'), fieldText, { maxKeys: 4, noNullPrototype: true })

t.test('malformed requests never cause a 5xx other than 503', async (t) => {
  const app = await buildTestApp(t, { adminToken: 'a token of the operator' })

  await fc.assert(fc.asyncProperty(path, method, cookie, body, type, fields, async (url, method, cookie, payload, type, fields) => {
    const takesBody = method === 'PUT' || method === 'POST' || method === 'PATCH'
    const reply = await app.inject({ method, url, headers: { ...fields, cookie, ...(takesBody ? { 'content-type': type } : {}) }, ...(takesBody ? { payload } : {}) })

    if (reply.statusCode >= 500 && reply.statusCode !== 503) throw new Error(`${reply.statusCode} ${reply.body}`)
    const isOfCache = reply.statusCode === 412 || reply.statusCode === 416 // sent with a stored response, without a body
    if (reply.statusCode >= 400 && !isOfCache && method !== 'HEAD' && !reply.headers['content-type']?.toString().startsWith('application/problem+json')) throw new Error(`no problem document: ${reply.body}`)
  }), { numRuns: propertyRuns(150) })

  t.equal((await app.inject('/healthz/ready')).statusCode, 200)
})

t.test('malformed bodies never cause a 5xx other than 503 at sign-up or sign-in', async (t) => {
  const app = await buildTestApp(t)

  await fc.assert(fc.asyncProperty(fc.constantFrom('/users', '/session'), body, type, async (url, payload, type) => {
    const { statusCode, body } = await app.inject({ method: 'POST', url, payload, headers: { 'content-type': type } })

    if (statusCode >= 500 && statusCode !== 503) throw new Error(`${statusCode} ${body}`)
  }), { numRuns: propertyRuns(50) })

  t.equal((await app.inject('/healthz/ready')).statusCode, 200)
})
