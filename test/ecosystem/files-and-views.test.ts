import staticFiles from '@fastify/static'
import view from '@fastify/view'
// @ts-expect-error it has no declarations
import ejs from 'ejs'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { assertNeighbour } from './support/neighbour.ts'

const folder = join(import.meta.dirname, 'fixtures/public')
const text = readFileSync(join(folder, 'a.txt'), 'utf8')

await assertNeighbour({
  packages: ['@fastify/static'],
  // Without `maxAge` its responses say `max-age=0`, and are not stored.
  order: 'after the stack; cached with its `maxAge`',
  after: async (app) => {
    await app.register(staticFiles, { root: folder, prefix: '/public/' })
    await app.register(async (scope) => {
      scope.routeDefaults({ cache: { ttl: '5m' } })
      await scope.register(staticFiles, { root: folder, prefix: '/cached/', decorateReply: false, maxAge: '1h' })
      scope.get('/sent', async (_request, reply) => reply.sendFile('a.txt', { maxAge: '1h' }))
    })
  },
  features: {
    'files, ranges and conditions work with and without a cache': async ({ t, client }) => {
      for (const path of ['/public/a.txt', '/cached/a.txt', '/sent']) {
        const whole = await client.get(path)
        t.same([whole.status, whole.text], [200, text], path)
        const part = await client.get(path, { headers: { range: 'bytes=2-5' } })
        t.same([part.status, part.text, part.headers.get('content-range')], [206, text.slice(2, 6), `bytes 2-5/${text.length}`], `${path} in part`)
        const again = await client.get(path, { headers: { 'if-none-match': whole.headers.get('etag') ?? '' } })
        t.equal(again.status, 304, `${path} again`)
      }
    },
    'a file in a cached scope is a hit': async ({ t, client }) => {
      await client.get('/sent')
      t.equal((await client.hit('/sent')).text, text)
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/view', 'ejs'],
  after: async (app) => {
    await app.register(view, { engine: { ejs }, root: join(import.meta.dirname, 'fixtures/views') })
    app.get<{ Params: { name: string } }>('/hello/:name', { config: { cache: { ttl: '5m' } } }, (request, reply) => reply.view('hello.ejs', { name: request.params.name }))
    app.get('/hello-user', { config: { cache: { ttl: '5m' } } }, (request, reply) => reply.view('hello.ejs', { name: request.session.userId ?? 'guest' }))
  },
  features: {
    'reply.view() is cached, and not where it shows the user': async ({ t, client }) => {
      await client.get('/hello/ada')
      const { text, headers } = await client.hit('/hello/ada')
      t.match(text, 'Hello ada')
      t.match(headers.get('content-type'), 'text/html')
      t.match((await client.get('/hello-user')).text, 'Hello guest')
      await client.post('/sign-in/bob')
      t.match((await client.get('/hello-user')).text, 'Hello bob')
    }
  }
})
