import fastifyRateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import prismRateLimit from '../../plugins/rate-limit.ts'
import prismRedis from '../../plugins/redis.ts'
import { makeItem, tellPort } from './item.ts'

// Only one limiter: LIMITER selects it, QUOTA is its quota per minute and address.
const { LIMITER, QUOTA, REDIS_URL = '' } = process.env
const quota = Number(QUOTA)
const app = Fastify({ trustProxy: true })

if (LIMITER === 'prism') {
  await app.register(prismRedis, { url: REDIS_URL })
  await app.register(requestLifecycle)
  await app.register(prismRateLimit, { quota, window: '1m' })
}
if (LIMITER === 'fastify') await app.register(fastifyRateLimit, { redis: new Redis(REDIS_URL, { enableAutoPipelining: true }), max: quota, timeWindow: 60_000 })
if (LIMITER === 'created') {
  await app.register(fastifyRateLimit, { global: false, redis: new Redis(REDIS_URL, { enableAutoPipelining: true }), max: quota, timeWindow: 60_000 })
  const check = app.createRateLimit()
  app.addHook('onRequest', async (request, reply) => {
    const told = await check(request)
    if (!told.isAllowed && told.isExceeded) return reply.code(429).send({ error: 'slow down' })
  })
}
if (LIMITER === 'flexible') {
  const limiter = new RateLimiterRedis({ storeClient: new Redis(REDIS_URL, { enableAutoPipelining: true }), points: quota, duration: 60 })
  app.addHook('onRequest', async (request, reply) => {
    try {
      await limiter.consume(request.ip)
    } catch {
      return reply.code(429).send({ error: 'slow down' })
    }
  })
}

app.get<{ Params: { id: string } }>('/items/:id', async (request) => makeItem(request.params.id))

await tellPort(app)
