import httpProxy from '@fastify/http-proxy'
import replyFrom from '@fastify/reply-from'
import Fastify from 'fastify'
import t from 'tap'
import { assertNeighbour } from './support/neighbour.ts'
import { digestOf } from './support/app.ts'

const upstream = Fastify()
let runs = 0
upstream.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => body)
upstream.get('/cities', async (_request, reply) => {
  reply.header('cache-control', 'max-age=300')
  return { run: ++runs }
})
upstream.get('/user', async ({ headers }) => ({ user: headers['x-user'] ?? null }))
upstream.post<{ Body: Buffer }>('/upload', async ({ body }) => ({ digest: digestOf(body) }))
const target = await upstream.listen({ port: 0, host: '127.0.0.1' })
t.teardown(() => upstream.close())

const upload = { body: Buffer.alloc(300_000, 'upload'), headers: { 'content-type': 'application/octet-stream' } }

await assertNeighbour({
  packages: ['@fastify/reply-from'],
  after: async (app) => {
    await app.register(replyFrom, { base: target })
    app.get('/from', { config: { cache: { ttl: '5m' } } }, (_request, reply) => reply.from('/cities'))
    app.get('/from-as-response-says', { config: { cache: { ttl: 'response' } } }, (_request, reply) => reply.from('/cities'))
    app.get('/from-user', { config: { cache: { ttl: '5m' } } }, (request, reply) => reply.from('/user', { rewriteRequestHeaders: (_request, headers) => ({ ...headers, 'x-user': request.session.userId ?? 'guest' }) }))
    app.register(async (scope) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', (_request, payload, done) => { done(null, payload) })
      scope.post('/upload-from', (_request, reply) => reply.from('/upload'))
    })
  },
  features: {
    'a proxied response is a hit for a route that reads it as the response says': async ({ t, client }) => {
      const { body } = await client.get('/from-as-response-says')
      t.same((await client.hit('/from-as-response-says')).body, body)
    },
    'a proxied response that depends on the user is not shared': async ({ t, client, url }) => {
      t.same((await client.get('/from-user')).body, { user: 'guest' })
      await client.post('/sign-in/ada')
      t.same((await client.get('/from-user')).body, { user: 'ada' })
      t.ok(url)
    },
    'an upload is passed on': async ({ t, client }) => {
      t.same((await client.post('/upload-from', upload)).body, { digest: digestOf(upload.body) })
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/http-proxy'],
  after: (app) => app.register(async (scope) => {
    scope.routeDefaults({ cache: { ttl: 'response' }, rateLimit: { quota: 100 } })
    await scope.register(httpProxy, { upstream: target, prefix: '/api' })
  }),
  features: {
    'a proxied scope is cached as the responses say, and uploads pass': async ({ t, client }) => {
      const { body } = await client.get('/api/cities')
      t.same((await client.hit('/api/cities')).body, body)
      t.same((await client.post('/api/upload', upload)).body, { digest: digestOf(upload.body) })
    }
  }
})
