import cookie from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import { Client } from './support/client.ts'
import { assertNeighbour } from './support/neighbour.ts'

function routes (app: FastifyInstance): void {
  let visitors = 0
  app.get('/theme', { config: { cache: { ttl: '5m' } } }, async ({ cookies }) => ({ theme: cookies.theme ?? 'light' }))
  app.get('/visitor', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => {
    const visitor = String(++visitors)
    reply.setCookie('visitor', visitor, { signed: true, path: '/' })
    return { visitor }
  })
  app.get('/whoami', async (request) => request.unsignCookie(request.cookies.visitor ?? ''))
}

for (const order of ['before', 'after'] as const) {
  await assertNeighbour({
    packages: ['@fastify/cookie'],
    order: `${order} the stack`,
    before: order === 'before' ? (app) => app.register(cookie, { secret: 'a secret of cookies' }) : undefined,
    after: async (app) => {
      if (order === 'after') await app.register(cookie, { secret: 'a secret of cookies' })
      routes(app)
    },
    features: {
      'a response that depends on a cookie is not shared': async ({ t, client, url }) => {
        for (const theme of ['dark', 'sepia']) t.same((await client.get('/theme', { headers: { cookie: `theme=${theme}` } })).body, { theme })
        t.same((await new Client({ url }).get('/theme')).body, { theme: 'light' })
      },
      'a response that sets a cookie is not shared, and signed cookies are verified': async ({ t, url }) => {
        const [one, other] = [new Client({ url }), new Client({ url })]
        const visitors = [await one.get('/visitor'), await other.get('/visitor')]
        t.same(visitors.map(({ body }) => body.visitor), ['1', '2'])
        t.match((await other.get('/whoami')).body, { valid: true, value: '2' })
      }
    }
  })
}
