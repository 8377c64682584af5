import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { assertNeighbour } from './support/neighbour.ts'

let runs = 0
const pages = new Hono()
pages.get('/hono/page', (context) => context.html(`<p>${++runs}`))
pages.get('/hono/user', (context) => context.text(context.req.header('cookie') ?? 'guest'))
pages.get('/hono/feed', (context) => streamSSE(context, async (stream) => { await stream.writeSSE({ data: 'first' }) }))

await assertNeighbour({
  packages: ['hono', '@hono/node-server'],
  order: 'after the stack, in replies that are hijacked',
  after: (app) => app.register(async (scope) => {
    scope.routeDefaults({ cache: { ttl: '5m' } })
    const listener = getRequestListener(pages.fetch)
    scope.get('/hono/*', async (request, reply) => {
      reply.hijack()
      await listener(request.raw, reply.raw)
    })
  }),
  features: {
    'pages of another framework in a cached scope are made for each request': async ({ t, client }) => {
      t.same([(await client.get('/hono/page')).text, (await client.get('/hono/page')).text], ['<p>1', '<p>2'])
      for (const cookie of ['a=1', 'a=2']) t.equal((await client.get('/hono/user', { headers: { cookie } })).text, cookie)
    },
    'concurrent requests do not wait for each other': async ({ t, client }) => {
      const responses = await Promise.all(Array.from({ length: 20 }, () => client.get('/hono/feed', { signal: AbortSignal.timeout(4_000) })))
      t.ok(responses.every(({ text }) => text.includes('data: first')))
    }
  }
})
