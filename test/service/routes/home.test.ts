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
