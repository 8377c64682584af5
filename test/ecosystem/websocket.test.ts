import websocket from '@fastify/websocket'
import sse from '@fastify/sse'
import Fastify from 'fastify'
import { once } from 'node:events'
import { EventSource } from 'eventsource'
import { WebSocket } from 'ws'
import { assertNeighbour, closed, signedIn } from './support/neighbour.ts'

async function opened (url: string, cookie = ''): Promise<WebSocket> {
  const socket = new WebSocket(url.replace('http', 'ws'), { headers: cookie ? { cookie } : {} })
  socket.on('error', () => {})
  await once(socket, 'open')
  return socket
}

async function echoed (socket: WebSocket, text: string): Promise<string> {
  const response = once(socket, 'message')
  socket.send(text)
  return String((await response)[0])
}

await assertNeighbour({
  packages: ['@fastify/websocket', 'ws'],
  before: (app) => app.register(websocket),
  after: (app) => {
    app.register(async (scope) => {
      scope.get('/echo', { websocket: true }, (socket, request) => {
        const user = request.session.userId ?? 'guest'
        socket.on('message', (text: Buffer) => socket.send(`${user}: ${String(text)}`))
      })
      scope.get('/members-only', { websocket: true, config: { session: 'required' } }, (socket) => { socket.send('hello') })
      scope.get('/two', { websocket: true, config: { rateLimit: { quota: 2 } } }, (socket) => { socket.send('hello') })
    })
    app.register(async (scope) => {
      scope.routeDefaults({ cache: { ttl: '5m' } })
      scope.get('/cached-scope', { websocket: true }, (socket) => { socket.on('message', (text: Buffer) => socket.send(String(text))) })
    })
  },
  features: {
    'sockets have the session of their user, and refusals reach the client': async ({ t, url }) => {
      const ada = await signedIn(url, 'ada')
      t.equal(await echoed(await opened(`${url}/echo`, ada.cookie), 'hello'), 'ada: hello')
      t.equal(await echoed(await opened(`${url}/echo`), 'hello'), 'guest: hello')
      const refused = new WebSocket(`${url.replace('http', 'ws')}/members-only`)
      refused.on('error', () => {})
      const [, response] = await once(refused, 'unexpected-response')
      t.equal(response.statusCode, 401)
      refused.terminate()
    },
    'an upgrade is counted once': async ({ t, url }) => {
      await opened(`${url}/two`)
      await opened(`${url}/two`)
      const third = new WebSocket(`${url.replace('http', 'ws')}/two`)
      third.on('error', () => {})
      const [, response] = await once(third, 'unexpected-response')
      t.equal(response.statusCode, 429)
      third.terminate()
    },
    'a route in a cached scope echoes to each socket': async ({ t, url }) => {
      const sockets = await Promise.all([1, 2, 3].map(() => opened(`${url}/cached-scope`)))
      t.same(await Promise.all(sockets.map((socket, index) => echoed(socket, `${index}`))), ['0', '1', '2'])
    },
    'close ends open sockets': async ({ t, app, url }) => {
      const socket = await opened(`${url}/echo`)
      const end = once(socket, 'close')
      await closed(app)
      await end
      t.equal(socket.readyState, WebSocket.CLOSED)
    }
  }
})

await assertNeighbour({
  packages: ['@fastify/sse', 'eventsource'],
  // Without it Fastify waits for open streams on close, whatever the plugins.
  create: (options) => Fastify({ ...options, forceCloseConnections: true }),
  after: async (app) => {
    await app.register(sse as any)
    app.register(async (scope) => {
      scope.routeDefaults({ cache: { ttl: '5m' } })
      scope.get('/feed', { sse: true }, async (request, reply) => {
        reply.sse.keepAlive()
        await reply.sse.send({ id: '1', event: 'user', data: request.session.userId ?? 'guest' })
      })
    })
  },
  features: {
    'each client of a stream in a cached scope has its own first event at once': async ({ t, url }) => {
      const ada = await signedIn(url, 'ada')
      const users = await Promise.all([ada.cookie, '', ''].map(async (cookie) => {
        const source = new EventSource(`${url}/feed`, { fetch: (input, init) => fetch(input, { ...init, headers: { ...init?.headers as Record<string, string>, cookie } }) })
        t.teardown(() => source.close())
        return await new Promise((resolve) => source.addEventListener('user', ({ data }) => resolve(JSON.parse(data))))
      }))
      t.same(users, ['ada', 'guest', 'guest'])
    },
    'close ends open streams': async ({ t, app, url }) => {
      const response = await fetch(`${url}/feed`, { headers: { accept: 'text/event-stream' } })
      const reader = response.body?.getReader()
      await reader?.read()
      await closed(app)
      t.ok(await reader?.read().then(({ done }) => done, () => true))
    }
  }
})
