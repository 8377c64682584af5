import Fastify from 'fastify'
import type { FastifyInstance, InjectOptions } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import journey from '../../plugins/journey.ts'
import redis from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import type { SessionOptions } from '../../plugins/session.ts'
import { startRedisProcess } from '../helpers/redis-process.ts'

declare module 'fastify' {
  interface SessionData { cart: string[], theme: string }
}

const secrets = ['a secret of the tests, 32 or more']

async function build (t: Test, url: string, options: Partial<SessionOptions> = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(redis, { url })
  await app.register(journey)
  await app.register(session, { secrets, ...options })
  app.post('/in/:user', async (request) => {
    await request.session.signIn((request.params as { user: string }).user)
    return request.session.id
  })
  app.post('/out', async (request) => await request.session.signOut())
  app.post('/rotate', async (request) => await request.session.rotate())
  app.put('/cart/:item', async (request) => request.session.update('cart', (cart = []) => [...cart, (request.params as { item: string }).item]))
  app.get('/cart', async (request) => request.session.get('cart') ?? [])
  app.get('/me', { config: { session: 'required' } }, async (request) => request.session.userId)
  app.get('/plain', { config: { session: false } }, async (request) => request.session.state)
  t.after(() => app.close())
  return app
}

const cookiesOf = (response: { cookies: { name: string, value: string }[] }) => Object.fromEntries(response.cookies.map(({ name, value }) => [name, value]))

test('session', async (t) => {
  const { url } = await startRedisProcess(t)
  const app = await build(t, url)
  const send = (method: InjectOptions['method'], path: string, cookies: Record<string, string> = {}, headers: Record<string, string> = {}) => app.inject({ method, url: path, cookies, headers })

  t.test('signs in, knows the user again, and signs out', async (t) => {
    const cookies = cookiesOf(await send('POST', '/in/ada'))

    t.equal((await send('GET', '/me')).statusCode, 401)
    t.equal((await send('GET', '/me', cookies)).body, 'ada')
    const out = await send('POST', '/out', cookies)
    t.match(out.headers['set-cookie'], /^sid=; Max-Age=0; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/)
    t.equal((await send('GET', '/me', cookies)).statusCode, 401)
  })

  t.test('keeps what an anonymous visitor wrote, and sets no cookie before', async (t) => {
    const read = await send('GET', '/cart')
    const written = await send('PUT', '/cart/tea')
    const again = await send('PUT', '/cart/milk', cookiesOf(written))

    t.equal(read.headers['set-cookie'], undefined)
    t.equal(again.headers['set-cookie'], undefined)
    t.same((await send('GET', '/cart', cookiesOf(written))).json(), ['tea', 'milk'])
  })

  t.test('gives a new id and keeps the data when it rotates', async (t) => {
    const cookies = cookiesOf(await send('POST', '/in/ada'))
    await send('PUT', '/cart/tea', cookies)
    const rotated = cookiesOf(await send('POST', '/rotate', cookies))

    t.same((await send('GET', '/cart', rotated)).json(), ['tea'])
    t.equal((await send('GET', '/me', cookies)).statusCode, 401)
  })

  t.test('refuses an unsafe request of another origin, cookie or not', async (t) => {
    const tries = [
      await send('POST', '/in/ada', {}, { origin: 'https://evil.example' }),
      await send('POST', '/in/ada', {}, { 'sec-fetch-site': 'cross-site' }),
      await send('POST', '/in/ada', {}, { origin: 'null' }),
      await send('POST', '/in/ada', {}, { origin: 'http://localhost:80' })
    ]

    t.same(tries.map(({ statusCode }) => statusCode), [403, 403, 403, 200])
    t.equal(tries[0]?.json().code, 'PRISM_ERR_ORIGIN')
    t.equal((await send('GET', '/cart', {}, { origin: 'https://evil.example' })).statusCode, 200)
  })

  t.test('is off where a route says so', async (t) => {
    t.equal((await send('GET', '/plain', cookiesOf(await send('POST', '/in/ada')))).body, 'anonymous')
  })
})
