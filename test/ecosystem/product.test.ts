import { isTraced } from './support/agents/dd-trace.ts' // before everything that it instruments
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { assertNeighbour, closed, signedIn } from './support/neighbour.ts'
import { origin, product } from './support/product.ts'

await assertNeighbour({
  packages: ['@fastify/cors', '@fastify/helmet', '@fastify/websocket', '@fastify/under-pressure', '@fastify/request-context', '@fastify/jwt', '@fastify/swagger', '@fastify/compress', 'dd-trace'],
  order: 'a typical product in the documented order: agent, cors, helmet, websocket, under-pressure, request-context, the stack, jwt, swagger, compress, routes',
  ...product,
  headers: { origin },
  missing: ({ headers }) => ['access-control-allow-origin', 'content-security-policy', 'x-content-type-options'].find((name) => !headers.has(name)),
  features: {
    'tokens, documents, purges and traces work': async ({ t, app, client }) => {
      t.ok(isTraced !== undefined)
      const bearer = async (name: string) => ({ headers: { authorization: `Bearer ${(await client.get(`/token/${name}`)).body.token}` } })
      const [ada, bob] = [await bearer('ada'), await bearer('bob')]
      const { body } = await client.get('/profile', ada)
      t.same((await client.hit('/profile', ada)).body, body)
      t.equal((await client.get('/profile', bob)).body.name, 'bob')
      t.equal((await client.get('/profile')).status, 401)
      t.ok((await client.get('/openapi.json')).body.paths['/items/{id}'])
      const item = await client.get('/items/1')
      t.same((await client.hit('/items/1')).body, item.body)
      await app.cache.purge('items')
      t.not((await client.get('/items/1')).body.run, item.body.run)
    },
    'preflights succeed, and sockets have the session of their user': async ({ t, app, client, url }) => {
      const preflight = await client.get('/members', { method: 'OPTIONS', headers: { 'access-control-request-method': 'PUT' } })
      t.equal(preflight.status, 204)
      const ada = await signedIn(url, 'ada', { origin })
      const socket = new WebSocket(`${url.replace('http', 'ws')}/echo`, { headers: { cookie: ada.cookie, origin } })
      await once(socket, 'open')
      const response = once(socket, 'message')
      socket.send('hello')
      t.equal(String((await response)[0]), 'ada: hello')
      const end = once(socket, 'close')
      await closed(app)
      await end
    }
  }
})
