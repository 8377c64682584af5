import cookie from '@fastify/cookie'
import rateLimit from '@fastify/rate-limit'
import session from '@fastify/session'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { makeItem, sendBody, tellPort } from './item.ts'

// The conventional stack, well configured: auto-pipelining on, no write for a read-only session, the limiter before the cache, hits that
// count against the limit. It has neither tags, nor Vary, nor compression: those routes are plain ones here.
const quota = Number(process.env.QUOTA)
const redis = new Redis(process.env.REDIS_URL ?? '', { enableAutoPipelining: true })
const app = Fastify({ trustProxy: true })

const idleSeconds = 3600
const store = {
  get: (id: string, done: (error: unknown, session?: never) => void) => {
    redis.get(`sess:${id}`).then((text) => done(null, text === null ? undefined : JSON.parse(text) as never), done)
  },
  set: (id: string, value: unknown, done: (error?: unknown) => void) => {
    redis.set(`sess:${id}`, JSON.stringify(value), 'EX', idleSeconds).then(() => done(), done)
  },
  destroy: (id: string, done: (error?: unknown) => void) => {
    redis.del(`sess:${id}`).then(() => done(), done)
  }
}

await app.register(rateLimit, { redis, max: quota, timeWindow: 60_000, nameSpace: 'limit:' })
await app.register(cookie)
await app.register(session, { secret: 'a secret of at least thirty-two characters', store, saveUninitialized: false, rolling: false, cookie: { secure: false, maxAge: idleSeconds * 1000 } })

await app.register(async (cached) => {
  // After the limiter, which is a hook of the route: an onRequest cache would let hits bypass it.
  cached.addHook('preHandler', async (request, reply) => {
    const stored = await redis.get(`cache:${request.url}`)
    if (stored === null) return
    reply.header('x-cache', 'hit').type('application/json; charset=utf-8')
    return reply.send(stored)
  })
  cached.addHook('onSend', async (request, reply, payload) => {
    if (reply.getHeader('x-cache') !== 'hit') redis.set(`cache:${request.url}`, payload as string, 'EX', 3600).catch(() => {})
    return payload
  })
  for (const path of ['/items/:id', '/tagged/:id', '/varied/:id']) cached.get<{ Params: { id: string } }>(path, async (request) => makeItem(request.params.id))
  cached.get<{ Params: { bytes: string } }>('/bodies/:bytes/:id', (request, reply) => sendBody(Number(request.params.bytes), reply))
})
app.get('/limited', { config: { rateLimit: { max: 10, timeWindow: 60_000 } } }, async () => makeItem('limited'))
app.post<{ Body: { user: string } }>('/sign-in', async (request) => {
  request.session.set('user' as never, request.body.user as never)
  return { ok: true }
})

await tellPort(app)
