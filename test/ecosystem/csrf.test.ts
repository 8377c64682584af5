import cookie from '@fastify/cookie'
import csrf from '@fastify/csrf-protection'
import type { FastifyInstance } from 'fastify'
import { Client } from './support/client.ts'
import { assertNeighbour, signedIn } from './support/neighbour.ts'
import type { Context } from './support/neighbour.ts'

function forms (app: FastifyInstance): void {
  app.get('/form', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => ({ token: await reply.generateCsrf() }))
  app.post('/transfer', { onRequest: app.csrfProtection }, async () => ({}))
}

async function assertTokens ({ t, client, url }: Context): Promise<void> {
  const ada = await signedIn(url, 'ada')
  for (const caller of [client, ada]) {
    const { body: { token } } = await caller.get('/form')
    t.equal((await caller.post('/transfer', { headers: { 'csrf-token': token } })).status, 200)
    t.equal((await caller.post('/transfer')).status, 403)
    t.equal((await new Client({ url }).post('/transfer', { headers: { 'csrf-token': token } })).status, 403, 'the token of another client')
  }
  t.not((await client.get('/form')).body.token, (await ada.get('/form')).body.token)
}

for (const [sessionPlugin, order] of [['@fastify/secure-session', 'after the stack, with `sessionPlugin: \'@fastify/secure-session\'` for our sessions'], ['@fastify/cookie', 'after the stack, with @fastify/cookie']] as const) {
  await assertNeighbour({
    packages: ['@fastify/csrf-protection'],
    order,
    after: async (app) => {
      await app.register(cookie)
      await app.register(csrf, { sessionPlugin } as any)
      forms(app)
    },
    features: {
      'a token is valid for its client, and no form is shared': assertTokens,
      'first forms of one user at once all succeed': async ({ t, url }) => {
        const ada = await signedIn(url, 'ada')
        const responses = await Promise.all([1, 2, 3].map(() => ada.get('/form')))
        t.same(responses.map(({ status }) => status), [200, 200, 200])
      }
    }
  })
}
