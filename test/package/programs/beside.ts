import rateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import prism from 'fastify-prism'

const app = Fastify()
await app.register(rateLimit, { global: false })
await app.register(prism, { session: false })
app.get('/theirs', { config: { rateLimit: { max: 1 } } }, async () => 1)
app.get('/ours', { config: { rateLimit: { quota: 30, group: 'reads' } } }, async () => 1)
// @ts-expect-error a quota is a number
app.get('/neither', { config: { rateLimit: { quota: 'many' } } }, async () => 1)
