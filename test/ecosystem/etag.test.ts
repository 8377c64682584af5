import etag from '@fastify/etag'
import { assertNeighbour } from './support/neighbour.ts'

await assertNeighbour({
  packages: ['@fastify/etag'],
  after: (app) => app.register(etag),
  features: {
    'conditional requests receive 304, whether the response is stored or not': async ({ t, client }) => {
      for (const path of ['/note', '/page/etag']) {
        const { headers } = await client.get(path)
        const tag = headers.get('etag') ?? ''
        t.ok(tag)
        t.equal((await client.get(path, { headers: { 'if-none-match': tag } })).status, 304, path)
      }
      const stored = await client.hit('/page/etag')
      t.equal((await client.get('/page/etag', { headers: { 'if-none-match': stored.headers.get('etag') ?? '' } })).status, 304, 'a hit')
    }
  }
})
