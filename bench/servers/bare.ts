import Fastify from 'fastify'
import { makeItem, sendBody, tellPort } from './item.ts'

// Bare Fastify with the same response bytes: the lower bound.
const app = Fastify({ trustProxy: true })

for (const path of ['/items/:id', '/tagged/:id', '/varied/:id']) app.get<{ Params: { id: string } }>(path, async (request) => makeItem(request.params.id))
app.get<{ Params: { bytes: string } }>('/bodies/:bytes/:id', (request, reply) => sendBody(Number(request.params.bytes), reply))
app.get('/limited', async (_request, reply) => {
  reply.code(429)
  return { type: 'https://iana.org/assignments/http-problem-types#quota-exceeded', title: 'Too many requests', status: 429 }
})

await tellPort(app)
