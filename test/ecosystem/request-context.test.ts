import { fastifyRequestContext, requestContext } from '@fastify/request-context'
import { assertNeighbour } from './support/neighbour.ts'
import { Client } from './support/client.ts'

declare module '@fastify/request-context' {
  interface RequestContextData { user: string }
}

await assertNeighbour({
  packages: ['@fastify/request-context'],
  before: (app) => app.register(fastifyRequestContext, { defaultStoreValues: { user: 'guest' } }),
  after: (app) => {
    app.addHook('onRequest', async (request) => { request.requestContext.set('user', String(request.headers['x-user'] ?? 'guest')) })
    app.get('/by-request', { config: { cache: { ttl: '5m' } } }, async (request) => ({ user: request.requestContext.get('user') }))
    app.get('/by-export', { config: { cache: { ttl: '5m' } } }, async () => ({ user: requestContext.get('user') }))
    app.get('/by-store', { config: { cache: { ttl: '5m' } } }, async () => ({ user: requestContext.getStore()?.user }))
    app.get('/unread', { config: { cache: { ttl: '5m' } } }, async () => ({ any: true }))
  },
  features: {
    'a response that depends on the context is not shared': async ({ t, url }) => {
      for (const path of ['/by-request', '/by-export', '/by-store']) {
        for (const user of ['ada', 'ada', 'bob', 'guest']) t.same((await new Client({ url }, { 'x-user': user }).get(path)).body, { user }, path)
      }
    },
    'a response that does not read the context is a hit': async ({ t, client }) => {
      await client.get('/unread')
      t.ok((await client.hit('/unread')).isHit)
    }
  }
})
