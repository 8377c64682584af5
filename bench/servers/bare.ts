import Fastify from 'fastify'
import { makeItem, tellPort } from './item.ts'

// Bare Fastify with the same response bytes: the lower bound.
const app = Fastify({ trustProxy: true })

app.get<{ Params: { id: string } }>('/items/:id', async (request) => makeItem(request.params.id))
app.get('/limited', async (_request, reply) => {
  reply.code(429)
  return { type: 'https://iana.org/assignments/http-problem-types#quota-exceeded', title: 'Too many requests', status: 429 }
})
app.post('/sign-in', async () => ({ ok: true }))

await tellPort(app)
