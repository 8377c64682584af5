import compress from '@fastify/compress'
import { gunzipSync } from 'node:zlib'
import { get } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { IncomingMessage } from 'node:http'
import { assertNeighbour } from './support/neighbour.ts'

const page = '<p>a line of a page</p>\n'.repeat(500)
const register = (app: any) => app.register(compress, { encodings: ['gzip', 'identity'] })
const routes = (app: any) => {
  app.get('/html', { config: { cache: { ttl: '5m' } } }, async (_request: any, reply: any) => reply.type('text/html').send(page))
  app.get('/compressed', { config: { cache: { ttl: '5m', vary: ['accept-encoding'] } } }, (_request: any, reply: any) => reply.type('text/html').compress(page))
}

/** Without a decoder, which `fetch` has. */
async function raw (url: string, encoding: string): Promise<{ response: IncomingMessage, body: Buffer }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => { get(url, { headers: { 'accept-encoding': encoding } }, resolve).on('error', reject) })
  return { response, body: await buffer(response) }
}

for (const order of ['before', 'after'] as const) {
  await assertNeighbour({
    packages: ['@fastify/compress'],
    before: order === 'before' ? register : undefined,
    after: (app) => {
      if (order === 'after') register(app)
      // The plugin compresses the routes of the scopes that are opened after it.
      app.register(async (scope) => { routes(scope) })
    },
    order: `${order} the stack`,
    features: {
      'a miss and a hit are compressed once, for clients that accept it': async ({ t, client, url }) => {
        await client.get('/html')
        await client.hit('/html')
        for (const encoding of ['gzip', 'identity']) {
          const { response, body } = await raw(`${url}/html`, encoding)
          t.equal(response.headers['content-encoding'], encoding === 'gzip' ? 'gzip' : undefined)
          t.match(response.headers['cache-status'], /hit/)
          t.equal(String(encoding === 'gzip' ? gunzipSync(body) : body), page)
        }
      },
      'reply.compress() is cached': async ({ t, client, url }) => {
        await client.get('/compressed')
        t.equal((await client.hit('/compressed')).text, page)
        const { response, body } = await raw(`${url}/compressed`, 'identity')
        t.equal(response.headers['content-encoding'], undefined)
        t.equal(String(body), page)
      }
    }
  })
}
