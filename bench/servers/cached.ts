import Fastify from 'fastify'
import cache from '../../plugins/cache.ts'
import type { CacheChoice } from '../../plugins/cache.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import { makeItem, tellPort } from './item.ts'

// Only the response cache, or the same routes without one, by CACHE.
const { CACHE, REDIS_URL = '' } = process.env
const app = Fastify()

if (CACHE === 'prism') {
  await app.register(redis, { url: REDIS_URL })
  await app.register(requestLifecycle)
  await app.register(cache)
}
const large = Array.from({ length: 84 }, (_, index) => ({ id: index, name: `City ${index}`, country: 'FR', population: index * 1000, location: { lat: index / 10, lon: -index / 10 }, tags: ['city', 'europe'] }))
const config = (cache: CacheChoice): { cache?: CacheChoice } => CACHE === 'prism' ? { cache } : {}

app.get<{ Params: { id: string } }>('/items/:id', { config: config({ ttl: '5m' }) }, async (request) => makeItem(request.params.id))
app.get<{ Params: { id: string } }>('/tagged/:id', { config: config({ ttl: '5m', tags: ['items'] }) }, async (request) => makeItem(request.params.id))
app.get('/large', { config: config({ ttl: '5m' }) }, async () => large)
app.get<{ Params: { id: string } }>('/varied/:id', { config: config({ ttl: 'response' }) }, async (request, reply) => reply.headers({ 'cache-control': 'max-age=300', vary: 'accept-language' }).send(makeItem(request.params.id)))

await tellPort(app)
