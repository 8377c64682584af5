import cors from '@fastify/cors'
import { assertNeighbour } from './support/neighbour.ts'

const origin = 'https://spa.example'

await assertNeighbour({
  packages: ['@fastify/cors'],
  before: (app) => app.register(cors, { origin: [origin], credentials: true }),
  stack: { session: { secrets: ['a secret of the tests: 32 or more'], trustedOrigins: [origin] }, rateLimit: { quota: 1_000 } },
  headers: { origin },
  missing: ({ headers }) => headers.get('access-control-allow-origin') === origin ? undefined : 'Access-Control-Allow-Origin',
  features: {
    'preflights succeed, and are not counted': async ({ t, client }) => {
      const remaining = async () => Number(/"default";r=(\d+)/.exec((await client.get('/note')).headers.get('ratelimit') ?? '')?.[1])
      const before = await remaining()
      const preflight = await client.get('/members', { method: 'OPTIONS', headers: { 'access-control-request-method': 'PUT' } })
      t.equal(preflight.status, 204)
      t.equal(await remaining(), before - 1, 'only the second GET is counted')
    }
  }
})
