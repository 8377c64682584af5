import compress from '@fastify/compress'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import { fastifyRequestContext } from '@fastify/request-context'
import swagger from '@fastify/swagger'
import underPressure from '@fastify/under-pressure'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import { secret } from './app.ts'
import type { AppParts } from './app.ts'

export const origin = 'https://spa.example'

/** The app of a typical product, in the documented order. */
export const product: AppParts = {
  before: async (app) => {
    await app.register(cors, { origin: [origin], credentials: true })
    await app.register(helmet)
    await app.register(websocket)
    await app.register(underPressure, { maxHeapUsedBytes: 8_000_000_000 })
    await app.register(fastifyRequestContext)
  },
  stack: { session: { secrets: [secret], trustedOrigins: [origin] }, rateLimit: { quota: 1_000_000 } },
  after: async (app) => {
    await app.register(jwt, { secret: 'a secret of tokens' })
    await app.register(swagger, { openapi: { info: { title: 'product', version: '1' } } })
    await app.register(compress, { encodings: ['gzip'] })
    await app.register(routes)
  }
}

async function routes (app: FastifyInstance): Promise<void> {
  let runs = 0
  const verify = async (request: any) => { await request.jwtVerify() }
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  app.get<{ Params: { name: string } }>('/token/:name', async ({ params }) => ({ token: app.jwt.sign({ name: params.name }) }))
  app.get('/profile', { onRequest: verify, config: { cache: { ttl: '5m', partition: (request) => (request as any).user.name } } }, async (request) => ({ name: (request.user as { name: string }).name, run: ++runs }))
  app.get<{ Params: { id: string } }>('/items/:id', { config: { cache: { ttl: '5m', tags: ['items'] }, rateLimit: { quota: 1_000_000 } } }, async ({ params }) => ({ id: params.id, text: 'a line of an item '.repeat(100), run: ++runs }))
  app.get('/echo', { websocket: true }, (socket, request) => {
    const user = request.session.userId ?? 'guest'
    socket.on('message', (text: Buffer) => socket.send(`${user}: ${String(text)}`))
  })
}
