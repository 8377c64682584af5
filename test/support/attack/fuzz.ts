import fc from 'fast-check'
import { HttpClient } from './http-client.ts'
import { operatorToken } from './target.ts'
import type { Target } from './target.ts'

const parallel = 16
const atOnce = 500

/** Text of any kind, as UTF-16 that may not be well formed. */
const odd = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', '0', '-1', '1e3', '2988507', '9'.repeat(30), 'null', '__proto__', 'constructor', '\0', '"', "' OR 1=1 --", '*', '^', 'NEAR(', '{}', '[', '../..', '%', '%00', '%ud800', '\u202e', '48.85,2.35', '91,181', 'FR', 'É', '\ud800', 'x'.repeat(120)),
  fc.integer().map(String),
  fc.double().map(String)
)
/** Bytes of a header value: printable or from 0x80 on. */
const value = fc.oneof(
  odd.map((text) => Buffer.from(text, 'utf8').toString('latin1').replaceAll(/\p{Cc}/gu, ' ')),
  fc.string({ unit: fc.constantFrom('"', ',', ';', '=', '(', ')', '\\', ' ', '\t', '*', '/', 'a', 'b', '0', '9', 'é', 'ÿ', '-', '.'), maxLength: 60 })
)
const known = [
  'range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'cache-control', 'pragma', 'accept', 'accept-encoding', 'accept-language', 'accept-version',
  'authorization', 'origin', 'referer', 'sec-fetch-site', 'forwarded', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip', 'x-http-method-override', 'x-prism-own', 'last-event-id', 'expect', 'te', 'upgrade', 'traceparent', 'content-encoding'
]
const header = fc.tuple(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...known) }, { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom('a', 'x', '-', '_', '1'), minLength: 1, maxLength: 20 }) }), fc.oneof(value, fc.constantFrom(`Bearer ${operatorToken}`, 'bytes=0-', 'bytes=-1,0-0', 'no-cache', 'only-if-cached', '"a", W/"b"', 'null', 'same-origin')))
const signature = fc.string({ unit: fc.constantFrom('é', 'ÿ', '\x80', 'a'), minLength: 43, maxLength: 43 })
const cookie = fc.oneof(
  value,
  value.map((text) => `sid=${text}; __proto__=1; sid=; ${text}`),
  signature.map((text) => `prism_operator=9999999999999.AAAAAAAAAAAA.${text}; __Host-sid=${text}`)
)
const json = fc.oneof(
  fc.json({ maxDepth: 4 }),
  odd.map((text) => JSON.stringify({ name: text, password: text, text })),
  fc.constantFrom('{"\\ud800":1}', '{"__proto__":{"a":1}}', '{"constructor":{"prototype":{}}}', '['.repeat(5000), '{"a":'.repeat(5000), '"', '', '\ufeff{}', '{"name":1e999}')
)
/** The members that a route accepts, and one more. */
const fitting = fc.tuple(fc.constantFrom<[string, string, object]>(['POST', '/users', { name: 'a', password: 'correct horse' }], ['POST', '/session', { name: 'a', password: 'correct horse' }], ['PUT', '/cities/2988507/notes', { text: 'a' }]), odd, odd)
  .map(([[method, path, body], name, text]) => ({ method, path, type: 'application/json', body: JSON.stringify({ ...body, [`${name}\ud800`.slice(name.length % 2)]: text }) }))
const type = fc.constantFrom('application/json', 'application/json', 'application/json; charset=latin1', 'application/json;;;', 'text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded', '/', '')
const segment = fc.oneof(odd.map((text) => encodeURIComponent(text.toWellFormed())), fc.string({ unit: fc.constantFrom('/', '.', '%', '2', 'f', 'a', ';', ':', '@', '*', '\\', 'é'), maxLength: 20 }))
const query = fc.array(fc.tuple(fc.constantFrom('q', 'country', 'near', 'limit', 'topic', 'since', 'cursor', '__proto__', 'a[]'), segment), { maxLength: 4 }).map((fields) => fields.map(([name, text]) => `${name}=${text}`).join('&'))
const path = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constantFrom('/cities', '/', '/openapi.json', '/countries/FR', '/cities/2988507', '/events', '/live', '/live.js', '/session', '/session/devices', '/me/places', '/metrics', '/healthz/ready', '/ops', '/ops/feed', '/ops/cache', '/users'), query).map(([start, fields]) => fields === '' ? start : `${start}?${fields}`) },
  { weight: 3, arbitrary: fc.tuple(fc.constantFrom('/cities', '/countries', '/session/devices', '/me/places', '/healthz', '/ops', ''), segment, query).map(([start, end, fields]) => `${start}/${end}?${fields}`) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom('http://a', 'http://', '//a', 'https://[::1]:99999', '*', ''), segment).map((parts) => parts.join('/')) }
)
const method = fc.constantFrom('GET', 'GET', 'GET', 'GET', 'HEAD', 'PUT', 'PUT', 'POST', 'POST', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PURGE', 'QUERY', 'PROPFIND')

interface Request { method: string, path: string, headers: [string, string][], cookie: string | undefined, type: string, body: string, client: number }
const free = fc.record({ method, path, type, body: json })
/** `member` is replaced by the cookie of a signed-in user. */
const common = fc.record({ headers: fc.array(header, { maxLength: 4 }), cookie: fc.oneof(fc.constantFrom(undefined, 'member'), cookie), client: fc.nat(60_000) })
const request: fc.Arbitrary<Request> = fc.tuple(fc.oneof({ weight: 9, arbitrary: free }, { weight: 1, arbitrary: fitting }), common).map(([own, rest]) => ({ ...own, ...rest }))

/** Malformed requests: a valid one with some bytes changed, removed or inserted. */
const malformed = fc.tuple(request, fc.array(fc.tuple(fc.nat(), fc.constantFrom('', '\r', '\n', '\0', ' ', '\r\n\r\n', ':', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Host: b\r\n', '\x80', 'x'.repeat(20_000)), fc.nat(3)), { minLength: 1, maxLength: 4 }))
  .map(([request, changes]) => changes.reduce((bytes, [at, text, cut]) => {
    const place = at % bytes.length
    return Buffer.concat([bytes.subarray(0, place), Buffer.from(text, 'latin1'), bytes.subarray(place + cut)])
  }, bytesOf(request)))

/** One request as sent; the client's address is set as by a proxy, so that no quota ends the test. */
function bytesOf ({ method, path, headers, cookie, type, body, client }: Request, member = ''): Buffer {
  const target = path.replaceAll(/[\p{Cc} ]/gu, '%20') || '/'
  const payload = /^(?:PUT|POST|PATCH|QUERY)$/.test(method) ? Buffer.from(body, 'utf8') : Buffer.alloc(0)
  const lines = [
    `${method} ${target} HTTP/1.1`, 'Host: 127.0.0.1', `X-Forwarded-For: 10.${client >> 12 & 255}.${client >> 6 & 63}.${client & 63}`,
    ...headers.map(([name, text]) => `${name}: ${text}`),
    ...cookie === undefined ? [] : [`Cookie: ${cookie === 'member' ? member : cookie}`],
    ...payload.length === 0 ? [] : [`Content-Type: ${type}`, `Content-Length: ${payload.length}`]
  ]
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), payload])
}

/** Sends requests of every kind, a tenth of them malformed. No response may be a 5xx other than 503, and none may be missing. */
export async function fuzz (target: Target, { requests, seed }: { requests: number, seed: number }): Promise<void> {
  const { service } = target
  const member = await signIn(service.url)
  let sent = 0
  const clients = Array.from({ length: parallel }, () => new HttpClient(service.port))
  for (let from = 0; from < requests && !target.hasEnded; from += atOnce) {
    const number = Math.min(atOnce, requests - from)
    const whole = fc.sample(request, { numRuns: number, seed: seed + from })
    const broken = fc.sample(malformed, { numRuns: Math.ceil(number / 10), seed: seed + from })
    let next = 0
    await Promise.all(clients.map(async (client) => {
      for (let at = next++; at < number && !target.hasEnded; at = next++) {
        const bytes = at % 10 === 0 ? broken[at / 10] ?? Buffer.from('\r\n') : bytesOf(whole[at] as Request, member)
        const { status } = await client.exchange(bytes, { isHead: at % 10 !== 0 && whole[at]?.method === 'HEAD', isLast: at % 10 === 0 })
        target.count(status)
        sent += 1
        if ((status >= 500 && status !== 503) || (status === -1 && !target.hasEnded)) target.fault(`fuzz: ${status === -1 ? 'no response' : status} to ${JSON.stringify(bytes.toString('latin1').slice(0, 300))}`)
      }
    }))
    if (sent % 5000 < atOnce) target.note(`fuzz: ${sent} of ${requests} requests`)
  }
  for (const client of clients) client.close()
}

/** @returns the cookie of a new user */
async function signIn (url: string): Promise<string> {
  const body = JSON.stringify({ name: `fuzz ${Math.floor(performance.now())}`, password: 'correct horse' })
  const post = async (path: string) => await fetch(`${url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json', connection: 'close' }, body })
  await post('/users')
  const { headers } = await post('/session')
  return headers.getSetCookie().map((field) => field.split(';')[0]).join('; ')
}
