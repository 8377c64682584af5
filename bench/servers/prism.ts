import Fastify from 'fastify'
import prism from '../../plugins/index.ts'
import metrics from '../../plugins/metrics.ts'
import { makeItem, sendBody, tellPort } from './item.ts'

// The same routes on the stack; with metrics, unless METRICS is `off`. COMPRESSION is `br`, `gzip` or `false`.
const compressions: Record<string, 'br' | 'gzip' | false> = { br: 'br', gzip: 'gzip', false: false }
const app = Fastify({ trustProxy: true })
await app.register(prism, {
  redis: { url: process.env.REDIS_URL },
  session: { secrets: ['a secret of at least thirty-two characters'] },
  rateLimit: { quota: Number(process.env.QUOTA), window: '1m' },
  cache: { compression: compressions[process.env.COMPRESSION ?? 'br'] },
  events: false
})
if (process.env.METRICS !== 'off') await app.register(metrics, {})

app.get<{ Params: { id: string } }>('/items/:id', { config: { cache: { ttl: '1h' } } }, async (request) => makeItem(request.params.id))
app.get<{ Params: { id: string } }>('/tagged/:id', { config: { cache: { ttl: '1h', tags: ['items'] } } }, async (request) => makeItem(request.params.id))
app.get<{ Params: { id: string } }>('/varied/:id', { config: { cache: { ttl: 'response' } } }, async (request, reply) => reply.headers({ 'cache-control': 'max-age=3600', vary: 'accept-language' }).send(makeItem(request.params.id)))
app.get<{ Params: { bytes: string } }>('/bodies/:bytes/:id', { config: { cache: { ttl: '1h' } } }, (request, reply) => sendBody(Number(request.params.bytes), reply))
app.get('/limited', { config: { rateLimit: { quota: 10, window: '1m' } } }, async () => makeItem('limited'))
app.post<{ Body: { user: string } }>('/sign-in', async (request) => {
  await request.session.signIn(request.body.user)
  return { ok: true }
})

await tellPort(app)
