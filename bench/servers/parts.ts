import Fastify from 'fastify'
import type { FastifyContextConfig } from 'fastify'
import cache from '../../plugins/cache.ts'
import metrics from '../../plugins/metrics.ts'
import rateLimit from '../../plugins/rate-limit.ts'
import redis from '../../plugins/redis.ts'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import session from '../../plugins/session.ts'
import { makeItem, tellPort } from './item.ts'

// Some parts of the stack, by PARTS: what each part costs.
const parts = (process.env.PARTS ?? '').split('+')
const app = Fastify({ trustProxy: true })

await app.register(redis, { url: process.env.REDIS_URL })
await app.register(requestLifecycle)
if (parts.includes('limit')) await app.register(rateLimit, { quota: Number(process.env.QUOTA), window: '1m' })
if (parts.includes('session')) await app.register(session, { secrets: ['a secret of at least thirty-two characters'] })
if (parts.includes('cache')) await app.register(cache, {})
if (parts.includes('metrics')) await app.register(metrics, {})

const config: FastifyContextConfig = parts.includes('cache') ? { cache: { ttl: '1h' } } : {}
app.get<{ Params: { id: string } }>('/items/:id', { config }, async (request) => makeItem(request.params.id))
if (parts.includes('session')) {
  app.post<{ Body: { user: string } }>('/sign-in', async (request) => {
    await request.session.signIn(request.body.user)
    return { ok: true }
  })
}

await tellPort(app)
