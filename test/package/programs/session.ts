import Fastify from 'fastify'
import redis from 'fastify-prism/redis'
import session from 'fastify-prism/session'
import { until } from './until.ts'

const app = Fastify()
await app.register(redis, { url: process.env.REDIS_URL })
await app.register(session, { secrets: [process.env.SESSION_SECRET ?? ''] })
await until(() => app.redisPool.state === 'ready')
app.post('/sign-in', async (request) => { await request.session.signIn('ada'); return {} })
app.get('/who', { config: { session: 'required' } }, async (request) => ({ name: request.session.userId }))

const response = await app.inject({ method: 'POST', url: '/sign-in' })
const who = await app.inject({ url: '/who', headers: { cookie: String(response.headers['set-cookie']).split(';')[0] } })
const devices = await app.sessions.devices('ada')
await app.close()
console.log(JSON.stringify({ who: who.json(), devices: devices.length, others: ['cache', 'events'].filter((name) => app.hasDecorator(name)) }))
