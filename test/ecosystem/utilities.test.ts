import accepts from '@fastify/accepts'
import autoload from '@fastify/autoload'
import sensible from '@fastify/sensible'
import underPressure from '@fastify/under-pressure'
import { join } from 'node:path'
import { until } from '../support/until.ts'
import { assertNeighbour } from './support/neighbour.ts'

await assertNeighbour({
  packages: ['@fastify/sensible'],
  before: (app) => app.register(sensible),
  after: (app) => {
    app.get('/missing', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => reply.notFound('no such city'))
    app.get('/fine', { config: { cache: { ttl: '5m' } } }, async (request, reply) => {
      return { isJson: request.is(['json']) }
    })
  },
  features: {
    'HTTP errors are sent, and helpers of a reply do not prevent caching': async ({ t, client }) => {
      t.match((await client.get('/missing')).body, { statusCode: 404, message: 'no such city' })
    }
  }
})

let isHealthy = true
await assertNeighbour({
  packages: ['@fastify/under-pressure'],
  before: (app) => app.register(underPressure, { healthCheck: async () => isHealthy, healthCheckInterval: 10, exposeStatusRoute: false }),
  features: {
    'a process under pressure responds with 503 without counting, and recovers': async ({ t, client }) => {
      const remaining = async () => Number(/"route";r=(\d+)/.exec((await client.get('/counted')).headers.get('ratelimit') ?? '')?.[1])
      const first = await remaining()
      isHealthy = false
      await until(async () => (await client.get('/counted')).status === 503, { what: '503' })
      t.equal((await client.get('/page/pressure')).status, 503)
      isHealthy = true
      const seen = await until(async () => await remaining() || false, { what: 'the process recovers' })
      t.ok(seen > first - 30)
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/accepts'],
  before: (app) => app.register(accepts),
  after: (app) => app.get('/either', { config: { cache: { ttl: '5m', vary: ['accept'] } } }, async (request, reply) => request.accepts().type(['json', 'html']) === 'html' ? reply.type('text/html').send('<p>html') : { format: 'json' }),
  features: {
    'each representation is cached': async ({ t, client }) => {
      for (const [accept, body] of [['text/html', '<p>html'], ['application/json', '{"format":"json"}']] as const) {
        t.equal((await client.get('/either', { headers: { accept } })).text, body)
        t.equal((await client.hit('/either', { headers: { accept } })).text, body)
      }
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/autoload'],
  after: (app) => app.register(autoload, { dir: join(import.meta.dirname, 'fixtures/routes') }),
  features: {
    'a route that was loaded from a folder is cached and purged': async ({ t, app, client }) => {
      t.same((await client.get('/cities')).body, { run: 1 })
      t.same((await client.hit('/cities')).body, { run: 1 })
      await app.cache.purge('cities')
      t.same((await client.get('/cities')).body, { run: 2 })
    }
  }
})
