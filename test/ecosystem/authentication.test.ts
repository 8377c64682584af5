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

const userOf = (request: FastifyRequest) => (request.user as { name?: string } | null)?.name

await assertNeighbour({
  packages: ['@fastify/jwt'],
  order: 'after the stack; a quota `by` its user with `hook: \'preHandler\'`',
  after: async (app) => {
    await app.register(jwt, { secret: 'a secret of tokens' })
    const onRequest = async (request: FastifyRequest) => { await request.jwtVerify() }
    const perUser = { name: 'token', quota: 3, by: userOf, hook: 'preHandler' } as const
    app.get<{ Params: { name: string } }>('/token/:name', async ({ params }) => ({ token: app.jwt.sign({ name: params.name }) }))
    // In each hook in which an app may verify a token: the quota is taken after all of them.
    app.get('/on-request', { onRequest, config: { rateLimit: perUser } }, async (request) => ({ name: nameOf(request) }))
    app.get('/pre-validation', { preValidation: onRequest, config: { rateLimit: perUser } }, async (request) => ({ name: nameOf(request) }))
    app.get('/pre-handler', { preHandler: onRequest, config: { rateLimit: perUser } }, async (request) => ({ name: nameOf(request) }))
    app.get('/cached', { onRequest, config: { rateLimit: perUser, cache: { ttl: '5m', partition: nameOf } } }, async (request) => ({ name: nameOf(request) }))
    app.get('/too-early', { preHandler: onRequest, config: { rateLimit: { ...perUser, hook: 'onRequest' } } }, async (request) => ({ name: nameOf(request) }))
  },
  features: {
    'each user has a quota, whatever the address, and a request counts once': async ({ t, client }) => {
      const [ada, bob] = [await bearer(client, 'ada'), await bearer(client, 'bob')]
      for (const path of ['/on-request', '/pre-validation', '/pre-handler', '/cached']) {
        const responses = []
        for (const init of [ada, ada, ada, ada, bob]) responses.push(await client.get(path, init))
        t.same(responses.map(({ status }) => status), [200, 200, 200, 429, 200], path)
        t.same(responses.map(({ headers }) => /"token";r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]), ['2', '1', '0', '0', '2'], path)
      }
      t.equal((await client.hit('/cached', bob)).body.name, 'bob', 'a hit counts too')
      t.equal((await client.get('/cached', ada)).status, 429, 'a stored response does not evade the quota')
    },
    'a refused token consumes nothing': async ({ t, client }) => {
      const ada = await bearer(client, 'ada')
      for (let i = 0; i < 5; i++) for (const headers of [undefined, { authorization: 'Bearer forged' }]) t.equal((await client.get('/on-request', { headers })).status, 401)
      t.match((await client.get('/on-request', ada)).headers.get('ratelimit'), /"token";r=2/)
    },
    'a quota by a user that is not known yet is told in the log': async ({ t, client, log }) => {
      await client.get('/too-early', await bearer(client, 'ada'))
      t.same(log.map(({ msg }) => /set hook: 'preHandler'/.test(msg)), [true])
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/auth', '@fastify/bearer-auth'],
  after: async (app) => {
    await app.register(auth)
    await app.register(bearerAuth, { keys: new Set(['a key']), addHook: false })
    guarded(app)
  },
  features: {
    'a cached route requires a key on each request': async ({ t, client }) => {
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
