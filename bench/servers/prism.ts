import Fastify from 'fastify'
import prism from '../../plugins/index.ts'
import { makeItem, tellPort } from './item.ts'

// The same routes on the stack.
const app = Fastify({ trustProxy: true })
await app.register(prism, {
  redis: { url: process.env.REDIS_URL },
  session: { secrets: ['a secret of at least thirty-two characters'] },
  rateLimit: { quota: Number(process.env.QUOTA), window: '1m' },
  cache: {},
  events: false
})

app.get<{ Params: { id: string } }>('/items/:id', { config: { cache: { ttl: '5m' } } }, async (request) => makeItem(request.params.id))
app.get('/limited', { config: { rateLimit: { quota: 10, window: '1m' } } }, async () => makeItem('limited'))
app.post<{ Body: { user: string } }>('/sign-in', async (request) => {
  await request.session.signIn(request.body.user)
  return { ok: true }
})

await tellPort(app)
