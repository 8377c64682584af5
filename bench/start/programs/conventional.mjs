const startedAt = performance.now()
const { default: Fastify } = await import('fastify')
const { default: cookie } = await import('@fastify/cookie')
const { default: rateLimit } = await import('@fastify/rate-limit')
const { default: session } = await import('@fastify/session')
const { Redis } = await import('ioredis')
const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true })
const store = {
  get: (id, done) => { redis.get(`sess:${id}`).then((text) => done(null, JSON.parse(text)), done) },
  set: (id, value, done) => { redis.set(`sess:${id}`, JSON.stringify(value), 'EX', 3600).then(() => done(), done) },
  destroy: (id, done) => { redis.del(`sess:${id}`).then(() => done(), done) }
}
const app = Fastify({ trustProxy: true })
await app.register(rateLimit, { redis, max: 1_000_000, timeWindow: 60_000 })
await app.register(cookie)
await app.register(session, { secret: 'a secret of at least thirty-two characters', store, saveUninitialized: false, rolling: false, cookie: { secure: false } })

app.addHook('preHandler', async (request, reply) => {
  const stored = await redis.get(`cache:${request.url}`)
  if (stored !== null) return reply.type('application/json; charset=utf-8').send(stored)
})
app.get('/items/:id', async (request) => ({ id: request.params.id }))

await redis.ping() // the stack is connected when it listens, too
await app.listen({ port: 0, host: '127.0.0.1' })
process.send({ milliseconds: performance.now() - startedAt, cpu: process.cpuUsage() })
