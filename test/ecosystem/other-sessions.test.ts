import { createRequire } from 'node:module'
import { assertNeighbour, assertRefusal, caught } from './support/neighbour.ts'
import { Client } from './support/client.ts'
import { secret } from './support/app.ts'

// Their types and ours declare `request.session` differently.
const require = createRequire(import.meta.url)
const plugins = {
  '@fastify/session': async (app: any) => {
    await app.register(require('@fastify/cookie'))
    await app.register(require('@fastify/session'), { secret, saveUninitialized: false, cookie: { secure: false } })
  },
  '@fastify/secure-session': (app: any) => app.register(require('@fastify/secure-session'), { key: Buffer.alloc(32, 'key'), cookie: { secure: false, path: '/' } })
}

for (const [name, register] of Object.entries(plugins)) {
  for (const order of ['before', 'after'] as const) {
    await assertRefusal({ packages: [name], [order]: order === 'after' ? async (app: any) => { await app.register(require('@fastify/cookie')); await app.register(caught(require(name), { secret, key: Buffer.alloc(32, 'key') })) } : register, why: 'both decorate `request.session`: `session: false`, or a scope for each', told: /request\.session is decorated already/ })
  }

  await assertNeighbour({
    packages: [name],
    order: 'after the stack, which has `session: false`',
    routes: false,
    stack: { session: false },
    after: async (app) => {
      await register(app)
      let runs = 0
      app.post<{ Params: { user: string } }>('/enter/:user', async ({ session, params }) => {
        (session as any).set('user', params.user)
        return {}
      })
      app.get('/greeting', { config: { cache: { ttl: '5m' } } }, async ({ session }) => ({ user: (session as any).get('user') ?? 'guest' }))
      app.get('/page', { config: { cache: { ttl: '5m' } } }, async () => ({ run: ++runs }))
    },
    features: {
      'a second request is a hit, and two users never share': async ({ t, url, client }) => {
        const [ada, bob] = [new Client({ url }), new Client({ url })]
        await ada.post('/enter/ada')
        await bob.post('/enter/bob')
        for (const [caller, user] of [[ada, 'ada'], [bob, 'bob'], [client, 'guest']] as const) t.equal((await caller.get('/greeting')).body.user, user)
        await client.get('/page')
        t.same((await client.hit('/page')).body, { run: 1 })
      }
    }
  })
}
