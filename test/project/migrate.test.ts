import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { migrated } from '../support/migrate.ts'
import { tableOf } from '../support/readme.ts'

/** What the app of each section does, on either side of its diff. */
for (const side of ['before', 'after'] as const) {
  t.test(`docs/migrate.md, from @fastify/rate-limit: the app ${side} the diff counts a route by tenant, and health checks not at all`, async (t) => {
    const app = await migrated(t, 'From @fastify/rate-limit', side)
    const search = async (tenant: string) => (await app.inject({ url: '/search', headers: { 'x-tenant': tenant } })).statusCode

    t.same([await search('a'), await search('a'), await search('a'), await search('a'), await search('b')], [200, 200, 200, 429, 200])
    const health = await app.inject('/healthz')
    t.equal(health.statusCode, 200)
    t.same(Object.keys(health.headers).filter((name) => /ratelimit/.test(name)), [])
  })

  t.test(`docs/migrate.md, from @fastify/session: the app ${side} the diff signs a user in and out`, async (t) => {
    const app = await migrated(t, 'From @fastify/session', side)
    const account = async (cookie: string) => {
      const response = await app.inject({ url: '/account', headers: { cookie } })
      return [response.statusCode, response.statusCode === 200 ? response.json() : undefined]
    }

    t.same(await account(''), [401, undefined])
    const cookie = await cookieOf(app)
    t.match(cookie, /^shop=/)
    t.same(await account(cookie), [200, { user: 'ada' }])
    t.equal((await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie } })).statusCode, 200)
    t.same(await account(cookie), [401, undefined], 'the old cookie too')
  })
}

t.test('docs/migrate.md, from @fastify/caching: the app after the diff stores the value, and lets browsers reuse the response', async (t) => {
  const app = await migrated(t, 'From @fastify/caching', 'after')

  const [first, second, other] = [await app.inject('/cities/7'), await app.inject('/cities/7'), await app.inject('/cities/8')]
  t.same([first.json(), second.json(), other.json()], [{ id: '7', loads: 1 }, { id: '7', loads: 1 }, { id: '8', loads: 2 }])
  t.equal(first.headers['cache-control'], 'private, max-age=300')
})

t.test('docs/migrate.md names options that exist', async (t) => {
  const ours = new Set(tableOf('docs/options.md', 'option').flatMap(([names = '']) => names.split(', ')))
  const rows = ['@fastify/rate-limit', '@fastify/session, express-session', '@fastify/caching'].flatMap((title) => tableOf('docs/migrate.md', title))
  const named = rows.flatMap(([, instead = '']) => [...instead.matchAll(/(?<![\w.])(?:rateLimit|session|cache|redis)(?!\.md)(?:\.\w+)+/g)].map(([name]) => name))

  t.ok(named.length > 25)
  t.same(named.filter((name) => !ours.has(name)), [])
})

async function cookieOf (app: FastifyInstance): Promise<string> {
  const response = await app.inject({ method: 'POST', url: '/sign-in/ada' })
  return String(response.headers['set-cookie']).split(';')[0] ?? ''
}
