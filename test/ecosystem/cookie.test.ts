import cookie from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import { Client } from './support/client.ts'
import { assertNeighbour } from './support/neighbour.ts'

function routes (app: FastifyInstance): void {
  let guests = 0
  app.get('/theme', { config: { cache: { ttl: '5m' } } }, async ({ cookies }) => ({ theme: cookies.theme ?? 'light' }))
  app.get('/guest', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => {
    const guest = String(++guests)
    reply.setCookie('guest', guest, { signed: true, path: '/' })
    return { guest }
  })
  app.get('/whoami', async (request) => request.unsignCookie(request.cookies.guest ?? ''))
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
        const guests = [await one.get('/guest'), await other.get('/guest')]
        t.same(guests.map(({ body }) => body.guest), ['1', '2'])
        t.match((await other.get('/whoami')).body, { valid: true, value: '2' })
      }
    }
  })
}
