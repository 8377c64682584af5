import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { makeItem, tellPort } from './item.ts'

// The smallest cache: GET in a hook, SET after the handler.
const redis = new Redis(process.env.REDIS_URL ?? '', { enableAutoPipelining: true })
const app = Fastify({ trustProxy: true })

app.addHook('preHandler', async (request, reply) => {
  const stored = await redis.get(`cache:${request.url}`)
  if (stored !== null) return reply.header('x-cache', 'hit').type('application/json; charset=utf-8').send(stored)
})
app.addHook('onSend', async (request, reply, payload) => {
  if (reply.getHeader('x-cache') !== 'hit') redis.set(`cache:${request.url}`, payload as string, 'EX', 3600).catch(() => {})
  return payload
})
app.get<{ Params: { id: string } }>('/items/:id', async (request) => makeItem(request.params.id))

await tellPort(app)
