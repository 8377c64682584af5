const startedAt = performance.now()
const { default: Fastify } = await import('fastify')
const app = Fastify({ trustProxy: true })

app.get('/items/:id', async (request) => ({ id: request.params.id }))

await app.listen({ port: 0, host: '127.0.0.1' })
process.send({ milliseconds: performance.now() - startedAt, cpu: process.cpuUsage() })
