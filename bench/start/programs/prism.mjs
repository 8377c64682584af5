const startedAt = performance.now()
const { default: Fastify } = await import('fastify')
const { default: prism } = await import('fastify-prism')
const app = Fastify({ trustProxy: true })
await app.register(prism, {
  redis: { url: process.env.REDIS_URL },
  session: { secrets: ['a secret of at least thirty-two characters'] },
  rateLimit: { quota: 1_000_000, window: '1m' }
})

app.get('/items/:id', { config: { cache: { ttl: '5m' } } }, async (request) => ({ id: request.params.id }))

await app.listen({ port: 0, host: '127.0.0.1' })
process.send({ milliseconds: performance.now() - startedAt, cpu: process.cpuUsage() })
