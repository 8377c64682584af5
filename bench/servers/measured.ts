import Fastify from 'fastify'
import prism from '../../plugins/index.ts'
import metrics from '../../plugins/metrics.ts'
import { makeItem, tellPort } from './item.ts'

// Ours, with metrics or without: METRICS=on counts every request, and looks at Redis as the service does.
const app = Fastify({ trustProxy: true })
await app.register(prism, { redis: { url: process.env.REDIS_URL }, session: { secrets: ['a secret of at least thirty-two characters'] }, rateLimit: { quota: 100_000_000, window: '1m' }, cache: {}, events: false })
if (process.env.METRICS === 'on') await app.register(metrics, {})
app.get<{ Params: { id: string } }>('/items/:id', { config: { cache: { ttl: '5m' } } }, async (request) => makeItem(request.params.id))
await tellPort(app)
