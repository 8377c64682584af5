import rateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import prism, { rateLimitStore } from 'fastify-prism'

const app = Fastify()
// Both read `config.rateLimit`: with `rateLimit: false` it is theirs.
await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'from-fastify-rate-limit:' }, session: false, rateLimit: false })
// Their options, hooks and headers stay. The counters are ours: windows that slide, in the round trip of the cache.
await app.register(rateLimit, { max: 100, timeWindow: '1 minute', store: rateLimitStore(app.redisPool) })

app.get('/search', { config: { rateLimit: { max: 3, timeWindow: '1 minute' } } }, async () => ({ found: [] }))

app.get('/cities', { config: { cache: { ttl: '5m' } } }, async () => ({ cities: ['Paris', 'Rome'] }))

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
