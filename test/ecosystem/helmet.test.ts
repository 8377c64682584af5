import helmet from '@fastify/helmet'
import { assertNeighbour } from './support/neighbour.ts'

const fields = ['content-security-policy', 'strict-transport-security', 'x-content-type-options']

await assertNeighbour({
  packages: ['@fastify/helmet'],
  before: (app) => app.register(helmet, { enableCSPNonces: true }),
  after: (app) => app.get('/nonce', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => reply.type('text/html').send(`<script nonce="${reply.cspNonce.script}">1</script>`)),
  missing: ({ headers }) => fields.find((name) => !headers.has(name)),
  features: {
    'a page with a nonce has the nonce of its own response': async ({ t, client }) => {
      const pages = [await client.get('/nonce'), await client.get('/nonce'), await client.get('/nonce')]
      for (const { text, headers } of pages) t.match(headers.get('content-security-policy'), `'nonce-${/nonce="([^"]+)"/.exec(text)?.[1]}'`)
      t.equal(new Set(pages.map(({ text }) => text)).size, 3, 'no page is shared')
    }
  }
})
