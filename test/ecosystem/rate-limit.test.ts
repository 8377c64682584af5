import { createRequire } from 'node:module'
import { rateLimitStore } from '../../plugins/index.ts'
import { assertNeighbour, assertRefusal, caught } from './support/neighbour.ts'

// Their types declare `config.rateLimit` and `fastify.cache` otherwise than ours.
const require = createRequire(import.meta.url)
const [rateLimit, caching] = [require('@fastify/rate-limit'), require('@fastify/caching')]

await assertNeighbour({
  packages: ['@fastify/rate-limit'],
  order: 'after the stack, with the counters of the stack, for routes with `rateLimit: false`',
  after: async (app) => {
    await app.register(rateLimit, { global: false, store: rateLimitStore(app.redisPool) })
    app.get('/theirs', { config: { rateLimit: false }, preHandler: (app as any).rateLimit({ max: 2, timeWindow: '1m' }) }, async () => ({}))
  },
  features: {
    'its limit refuses beyond its quota, and ours beyond ours': async ({ t, client }) => {
      const theirs = [await client.get('/theirs'), await client.get('/theirs'), await client.get('/theirs')]
      t.same(theirs.map(({ status }) => status), [200, 200, 429])
      const ours = []
      for (let i = 0; i < 4; i++) ours.push((await client.get('/few')).status)
      t.same(ours, [200, 200, 200, 429])
    }
  }
})

for (const order of ['before', 'after'] as const) {
  await assertRefusal({ packages: ['@fastify/caching'], [order]: order === 'after' ? (app: any) => app.register(caught(caching)) : (app: any) => app.register(caching), why: 'both decorate `fastify.cache` and `reply.etag`: `cache: false`, or a scope for each', told: /fastify\.cache is decorated already/ })
}

await assertNeighbour({
  packages: ['@fastify/caching'],
  order: 'before the stack, which has `cache: false`',
  routes: false,
  stack: { cache: false },
  before: (app) => app.register(caching, { privacy: 'private', expiresIn: 60 }),
  after: (app) => app.get('/browser', async (request) => ({ user: request.session.userId ?? 'guest' })),
  features: {
    'its Cache-Control is sent': async ({ t, client }) => {
      t.match((await client.get('/browser')).headers.get('cache-control'), 'private, max-age=60')
    }
  }
})
