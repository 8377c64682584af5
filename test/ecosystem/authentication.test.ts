import auth from '@fastify/auth'
import bearerAuth from '@fastify/bearer-auth'
import jwt from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { assertNeighbour } from './support/neighbour.ts'
import type { Client } from './support/client.ts'

const nameOf = (request: FastifyRequest) => (request.user as { name: string }).name

await assertNeighbour({
  packages: ['@fastify/jwt'],
  after: async (app) => {
    await app.register(jwt, { secret: 'a secret of tokens' })
    let runs = 0
    const onRequest = async (request: FastifyRequest) => { await request.jwtVerify() }
    app.get<{ Params: { name: string } }>('/token/:name', async ({ params }) => ({ token: app.jwt.sign({ name: params.name }) }))
    app.get('/profile', { onRequest, config: { cache: { ttl: '5m', partition: nameOf } } }, async (request) => ({ name: nameOf(request), run: ++runs }))
    app.get('/unpartitioned', { onRequest, config: { cache: { ttl: '5m' } } }, async (request) => ({ name: nameOf(request) }))
  },
  features: {
    'responses are cached by user, and none is shared': async ({ t, client }) => {
      const [ada, bob] = [await bearer(client, 'ada'), await bearer(client, 'bob')]
      const first = await client.get('/profile', ada)
      t.same((await client.hit('/profile', ada)).body, first.body)
      t.equal((await client.get('/profile', bob)).body.name, 'bob')
      for (const [init, name] of [[ada, 'ada'], [ada, 'ada'], [bob, 'bob']] as const) t.equal((await client.get('/unpartitioned', init)).body.name, name)
      t.equal((await client.get('/profile')).status, 401, 'a hit skips no verification')
    }
  }
})

async function bearer (client: Client, name: string): Promise<{ headers: Record<string, string> }> {
  return { headers: { authorization: `Bearer ${(await client.get(`/token/${name}`)).body.token}` } }
}

await assertNeighbour({
  packages: ['@fastify/auth', '@fastify/bearer-auth'],
  after: async (app) => {
    await app.register(auth)
    await app.register(bearerAuth, { keys: new Set(['a key']), addHook: false })
    guarded(app)
  },
  features: {
    'a cached route asks for a key on each request': async ({ t, client }) => {
      const key = { headers: { authorization: 'Bearer a key' } }
      for (const path of ['/any', '/both']) {
        await client.get(path, key)
        t.equal((await client.hit(path, key)).status, 200)
        t.equal((await client.get(path)).status, 401)
        t.equal((await client.get(path, { headers: { authorization: 'Bearer another' } })).status, 401)
      }
    }
  }
})

function guarded (app: FastifyInstance): void {
  const verify = (app as any).verifyBearerAuth
  const isNamed = (_request: FastifyRequest, _reply: unknown, done: (error?: Error) => void) => done()
  app.get('/any', { preHandler: app.auth([verify]), config: { cache: { ttl: '5m' } } }, async () => ({}))
  app.get('/both', { preHandler: app.auth([isNamed as any, verify], { relation: 'and' }), config: { cache: { ttl: '5m' } } }, async () => ({}))
}
