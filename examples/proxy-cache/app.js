import replyFrom from '@fastify/reply-from'
import Fastify from 'fastify'
import prism from 'fastify-prism'

const app = Fastify()
await app.register(prism, {
  redis: { url: process.env.REDIS_URL, prefix: 'proxy-cache:' },
  session: false,
  rateLimit: { quota: 600, window: '1m' }
})
await app.register(replyFrom, { base: process.env.UPSTREAM ?? 'https://www.rfc-editor.org' })

// `ttl: 'response'`: as the Cache-Control of the upstream says, RFC 9111. Others are passed on, and invalidate what they change.
app.get('/*', { config: { cache: { ttl: 'response', staleIfError: '1h' } } }, (request, reply) => reply.from(request.url))
app.route({ method: ['POST', 'PUT', 'PATCH', 'DELETE'], url: '/*', handler: (request, reply) => reply.from(request.url) })

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
