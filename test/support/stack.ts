import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import type { RedisOptions } from '../../src/redis/options.ts'
import { testSecret } from './app.ts'
import type { Owner } from './cleanup-scope.ts'
import { commandTimeout } from './deadline.ts'
import { until } from './until.ts'

/** An app with the whole stack, a route for each feature, and one client with a session. */
export interface Stack {
  app: FastifyInstance
  /** the client's cookie */
  cookie: string
  /** handler runs of `/page` */
  readonly runs: number
  /** called at each run */
  onRun: () => void
  /** called when a response is sent */
  onReply: () => void
  /** `GET /page?n=`: cached, limited, the same for all clients */
  page (n?: number | string): Promise<{ status: number, cache: string, body: string }>
  /** `GET /few`: two per minute */
  few (): Promise<number>
  /** `PUT /note`: writes the session; `GET /note`: reads it */
  write (note: string): Promise<number>
  read (): Promise<string>
  /** purges every page */
  purge (): Promise<void>
}

/** Starts an app; closed with its owner. */
export async function startStack (owner: Owner, redis: RedisOptions, options: Omit<PrismOptions, 'redis'> = {}): Promise<Stack> {
  const app = fastify()
  owner.after(() => app.close())
  await app.register(prism, { redis: { commandTimeout, ...redis }, session: { secrets: [testSecret] }, rateLimit: { quota: 1_000_000, window: '1m' }, ...options })
  const page: Handler = { runs: 0, onRun: () => {}, onReply: () => {} }
  app.addHook('onSend', async () => { page.onReply() })
  app.get('/page', { config: { cache: { ttl: '5m', tags: ['pages'] }, rateLimit: { quota: 500_000, window: '1m' } } }, ({ query }) => {
    page.runs += 1
    page.onRun()
    return { query }
  })
  app.get('/few', { config: { cache: { ttl: '5m' }, rateLimit: { quota: 2, window: '1m' } } }, () => ({}))
  app.put<{ Body: { note: string } }>('/note', ({ session, body }) => {
    session.set('test-note', body.note)
    return {}
  })
  app.get('/note', ({ session }) => ({ note: session.get('test-note') ?? null }))
  await app.ready()
  await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
  const begin = () => app.inject({ method: 'PUT', url: '/note', payload: { note: 'begun' } })
  const { cookies: [cookie] } = await until(async () => {
    const response = await begin()
    return response.cookies.length > 0 && response
  }, { what: 'a session' })
  return stackOf(app, `${cookie?.name}=${cookie?.value}`, page)
}

interface Handler { runs: number, onRun: () => void, onReply: () => void }

function stackOf (app: FastifyInstance, cookie: string, handler: Handler): Stack {
  const headers = { cookie }
  return {
    app,
    cookie,
    get runs () { return handler.runs },
    get onRun () { return handler.onRun },
    set onRun (onRun: () => void) { handler.onRun = onRun },
    get onReply () { return handler.onReply },
    set onReply (onReply: () => void) { handler.onReply = onReply },
    page: async (n = 1) => {
      const { statusCode, headers: { 'cache-status': cache }, body } = await app.inject({ url: `/page?n=${n}`, headers })
      return { status: statusCode, cache: String(cache), body }
    },
    few: async () => (await app.inject({ url: '/few', headers })).statusCode,
    write: async (note) => (await app.inject({ method: 'PUT', url: '/note', headers, payload: { note } })).statusCode,
    read: async () => (await app.inject({ url: '/note', headers })).json<{ note: string }>().note,
    purge: () => app.cache.purge('pages')
  }
}
