import Fastify from 'fastify'
import cache from 'fastify-prism/cache'
import rateLimit from 'fastify-prism/rate-limit'
import redis from 'fastify-prism/redis'
import { until } from './until.ts'

const app = Fastify()
let pool = () => app.redis
await app.register(async (scope) => {
  pool = () => scope.redis
  await scope.register(redis, { url: process.env.REDIS_URL, prefix: 'both:' })
  await scope.register(rateLimit, { quota: 2 })
  await scope.register(cache, { ttl: '1m' })
  await until(() => scope.redisPool.state === 'ready')
  scope.routeDefaults({ cache: { tags: ['all'] } })
  scope.get('/kept', async (request, reply) => { reply.tag('more'); return { at: process.hrtime.bigint().toString() } })
}, { prefix: '/v1' })

const first = await app.inject('/v1/kept')
await until(async () => (await pool().keys('both:api:cache:GET*')).length > 0)
const responses = [first, await app.inject('/v1/kept'), await app.inject('/v1/kept')]
await app.close()
console.log(JSON.stringify({ statuses: responses.map(({ statusCode }) => statusCode), isCached: responses[0]?.body === responses[1]?.body }))
