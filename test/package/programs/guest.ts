import cookie from '@fastify/cookie'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import prism from 'fastify-prism'
import { until } from './until.ts'

const app = Fastify()
await app.register(cookie)
await app.register(redis, { url: process.env.REDIS_URL ?? '' })
const own = app.redis
app.setErrorHandler<Error & { statusCode?: number, code?: string }>((error, request, reply) => reply.code(error.statusCode ?? 500).send({ mine: error.code }))
app.setNotFoundHandler((request, reply) => reply.code(404).send({ mine: 'nothing' }))
await app.register(prism, { redis: { prefix: 'guest:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
await until(() => app.redisPool.state === 'ready')
app.get('/kept', { config: { cache: true } }, async () => ({ at: process.hrtime.bigint().toString() }))
app.get('/mine', { config: { session: 'required' } }, async () => 1)
app.get('/cookie', async (request, reply) => reply.setCookie('a', 'b').send({ cookies: request.cookies }))

const once = await app.inject('/kept')
await until(async () => (await own.keys('guest:api:cache:GET*')).length > 0)
const again = await app.inject('/kept')
const required = await app.inject('/mine')
const missing = await app.inject('/nowhere')
const jar = await app.inject({ url: '/cookie', headers: { cookie: 'x=y' } })
const isSame = app.redis === own
await app.close()
console.log(JSON.stringify({
  isCached: once.body === again.body,
  required: [required.statusCode, required.json()],
  missing: [missing.statusCode, missing.json()],
  jar: [jar.headers['set-cookie'], jar.json()],
  isSame
}))
