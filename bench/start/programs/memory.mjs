process.env.NODE_ENV = 'test' // in production `redis: 'memory'` is rejected
const startedAt = performance.now()
const { default: Fastify } = await import('fastify')
const { default: prism } = await import('fastify-prism')
const app = Fastify({ trustProxy: true })
await app.register(prism, {
  redis: 'memory',
  session: { secrets: ['a secret of at least thirty-two characters'] },
  rateLimit: { quota: 1_000_000, window: '1m' }
})

app.get('/items/:id', { config: { cache: { ttl: '5m' } } }, async (request) => ({ id: request.params.id }))

await app.ready() // a test with app.inject does not listen
process.send({ milliseconds: performance.now() - startedAt, cpu: process.cpuUsage() })
