import { Validator } from '@seriousme/openapi-schema-validator'
import { test } from 'tap'
import { buildTestApp } from '../../support/app.ts'

test('home', async (t) => {
  const app = await buildTestApp(t)

  t.test('every route is listed in one line', async (t) => {
    const { routes } = (await app.inject('/')).json()

    t.match(routes, {
      'GET /cities': /near/,
      'GET /cities/{id}': 'A city with its notes',
      'PUT /cities/{id}/notes': /note/,
      'POST /session': 'Sign in',
      'DELETE /me/places/{cityId}': String
    })
  })

  t.test('a browser gets a page, any other client the list; both vary by Accept, and neither is shared', async (t) => {
    const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8'
    const typeFor = async (accept?: string) => {
      const { headers, statusCode } = await app.inject({ url: '/', headers: accept === undefined ? {} : { accept } })
      t.equal(statusCode, 200, accept ?? 'no Accept')
      t.equal(headers.vary, 'Accept', accept ?? 'no Accept')
      return String(headers['content-type'])
    }

    for (const accept of [browser, 'text/html', 'application/json;q=0.5, text/html', 'text/*']) t.match(await typeFor(accept), 'text/html', accept)
    for (const accept of [undefined, '*/*', 'application/json', 'application/json, text/html;q=0.9', 'text/html;q=0', 'image/png', 'nonsense']) t.match(await typeFor(accept), 'application/json', accept ?? 'no Accept')
    t.equal((await app.inject({ url: '/', headers: { accept: browser } })).headers['cache-status'], undefined)
    t.match((await app.inject({ method: 'HEAD', url: '/', headers: { accept: browser } })).headers, { 'content-type': 'text/html; charset=utf-8', vary: 'Accept' })
  })

  t.test('the page and the reader have a strict policy and no inline script or style, and name only files that are served', async (t) => {
    for (const url of ['/', '/docs']) {
      const { headers, body } = await app.inject({ url, headers: { accept: 'text/html' } })
      t.match(headers, { 'content-security-policy': /^default-src 'none'; script-src 'self'; style-src 'self'; /, 'x-content-type-options': 'nosniff' }, url)
      t.notMatch(headers['content-security-policy'], /unsafe|https?:|\*/, url)
      t.notMatch(body, /<style|style=|\bon\w+=|<script(?![^>]*\bsrc=)/, url)
      const files = [...body.matchAll(/(?:src|href)="([^"]+\.(?:js|css|png))"/g)].map(([, file = '']) => file)
      t.ok(files.length > 1, url)
      for (const file of files) t.equal((await app.inject(file)).statusCode, 200, file)
    }
    t.equal((await app.inject('/home/home.ts')).statusCode, 404)
  })

  t.test('the budget costs nothing, and shows what other requests have used', async (t) => {
    const left = async () => {
      const { limits }: { limits: { name: string, remaining: number }[] } = (await app.inject('/budget')).json()
      return Object.fromEntries(limits.map(({ name, remaining }) => [name, remaining]))
    }
    const before = await left()
    t.same(await left(), before)

    const { id } = (await app.inject('/cities/random')).json()
    t.equal((await app.inject(`/cities/${id}`)).statusCode, 200)
    t.same(await left(), { ...before, default: (before.default ?? 0) - 2, random: (before.random ?? 0) - 1 })
  })

  t.test('the OpenAPI document contains what each route chose of the stack, and what it inherited', async (t) => {
    const document = (await app.inject('/openapi.json')).json()
    const city = document.paths['/cities/{id}'].get
    const places = document.paths['/me/places'].get
    const signIn = document.paths['/session'].post

    t.equal(document.openapi, '3.1.0')
    t.same(city['x-prism'].cache, { ttlMs: 3_600_000, tags: ['cities'], partition: null })
    t.match(city.description, 'Cached for 60 minutes.')
    t.match(places['x-prism'], { session: 'required', cache: { ttlMs: 300_000, partition: 'session' } })
    t.match(places.description, /signed-in/i)
    t.match(signIn['x-prism'], { cache: false, rateLimit: [{ quota: 1000, windowMs: 60_000 }, { quota: 5, failure: 'closed' }] })
    t.match(signIn.responses.default.content, { 'application/problem+json': Object })
  })

  t.test('the OpenAPI document is valid, and describes each operation and what the stack does for it', async (t) => {
    const document = (await app.inject('/openapi.json')).json()

    t.strictSame(await new Validator().validate(document), { valid: true })
    for (const [path, item] of Object.entries<Record<string, object>>(document.paths)) {
      for (const [method, operation] of Object.entries(item)) t.match(operation, { summary: /./, description: /cached/i, 'x-prism': { rateLimit: Array } }, `${method} ${path}`)
    }
  })
})
