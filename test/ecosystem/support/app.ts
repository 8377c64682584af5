import { createHash } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import prism from '../../../plugins/index.ts'
import type { PrismOptions } from '../../../plugins/index.ts'
import type { Owner } from '../../support/cleanup-scope.ts'
import { startRedis } from '../../support/redis.ts'
import { reached } from '../../support/wait-for-redis.ts'

/** Part of the options of an app factory: where the log goes. */
export interface FactoryOptions { logger: { level: string, stream: { write: (line: string) => void } } }

/** What an app of the suite consists of, in the order of registration. */
export interface AppParts {
  /** creates the app; default `Fastify(options)` */
  create?: (options: FactoryOptions) => FastifyInstance | Promise<FastifyInstance>
  /** registers plugins before the stack */
  before?: (app: FastifyInstance) => unknown
  /** options of the stack beside Redis; a session secret and a quota of 10,000 by default */
  stack?: Omit<PrismOptions, 'redis'>
  /** registers plugins and routes after the stack, and before the routes of the suite */
  after?: (app: FastifyInstance) => unknown
  /** `false`: the app has none of the routes of the suite, for options that turn a feature off */
  routes?: false
}

/** A listening app with the stack, the routes of the suite and what it logs. */
export interface EcosystemApp {
  app: FastifyInstance
  url: string
  /** what the start has logged from level `warn` on */
  warnings: readonly string[]
  /** the same, later entries included */
  log: readonly { msg: string }[]
  /** opens the gate of `/slow/:id` */
  open: () => void
}

export const secret = 'a secret of the tests: 32 or more'

/** Memory limits with which no warning is logged at start. */
export const redisArgs = ['--maxmemory', '200mb', '--maxmemory-policy', 'volatile-ttl']

/** The Redis server that the command has started for all files; a file that runs alone starts its own. */
export const redisUrl = process.env.ECOSYSTEM_REDIS_URL ?? (await startRedis({ after: (end) => t.teardown(end) }, { args: redisArgs })).url

let apps = 0

/** Starts an app with the stack and the routes of the suite; closed with its owner. */
export async function startApp (owner: Owner, parts: AppParts = {}): Promise<EcosystemApp> {
  const log: { msg: string }[] = []
  const stream = { write: (line: string) => { log.push(JSON.parse(line)) } }
  const app = await (parts.create ?? ((options) => Fastify(options)))({ logger: { level: 'warn', stream } })
  owner.after(() => app.close())
  await parts.before?.(app)
  // A prefix for each app: the server is shared, cached responses and counters are not.
  await app.register(prism, { redis: { url: redisUrl, commandTimeout: '2s', prefix: `${process.pid}-${++apps}:`, min: 1, max: 2 }, session: { secrets: [secret] }, cache: { debug: true }, rateLimit: { quota: 10_000 }, ...parts.stack })
  await parts.after?.(app)
  const open = parts.routes === false ? () => {} : addRoutes(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  await reached(app)
  const { port } = app.server.address() as AddressInfo
  return { app, url: `http://127.0.0.1:${port}`, warnings: log.map(({ msg }) => msg), log, open }
}

/** The body of `/stream`. */
export const streamed = 'a line of a long response\n'.repeat(8_000)

/** What `/upload` responds with. */
export function digestOf (body: Buffer | string): string {
  return createHash('sha256').update(body).digest('hex')
}

function addRoutes (app: FastifyInstance): () => void {
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  let runs = 0
  const ttl = '5m'
  app.get<{ Params: { id: string } }>('/page/:id', { config: { cache: { ttl } } }, async ({ params }) => ({ id: params.id, run: ++runs }))
  app.get('/mine', { config: { session: 'required', cache: { ttl, partition: 'user' } } }, async ({ session }) => ({ user: session.userId, run: ++runs }))
  app.get('/greeting', { config: { cache: { ttl } } }, async ({ session }) => ({ user: session.userId ?? 'guest' }))
  app.get('/members', { config: { session: 'required' } }, async () => ({}))
  app.get('/few', { config: { rateLimit: { quota: 3 } } }, async () => ({}))
  app.get('/counted', { config: { rateLimit: { quota: 50 } } }, async () => ({}))
  app.get('/slow/:id', { config: { cache: { ttl, maxConcurrency: 1 } } }, async () => {
    await gate
    return {}
  })
  app.post<{ Params: { user: string } }>('/sign-in/:user', async ({ session, params }) => {
    await session.signIn(params.user)
    return {}
  })
  app.put<{ Params: { text: string } }>('/note/:text', async ({ session, params }) => {
    session.set('note', params.text)
    return {}
  })
  app.get('/note', async ({ session }) => ({ note: session.get('note') ?? null }))
  addStreams(app)
  return open
}

/** Routes with large bodies, in a scope of their own so that their parser stays there. */
function addStreams (app: FastifyInstance): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => body)
    scope.get('/stream', async (_request, reply) => reply.type('text/plain').send(Readable.from(streamed.match(/.{1,1000}/gs) ?? [])))
    scope.get('/cached-stream', { config: { cache: { ttl: '5m' } } }, async (_request, reply) => reply.type('text/plain').send(Readable.from(streamed.match(/.{1,1000}/gs) ?? [])))
    scope.post<{ Body: Buffer }>('/upload', async ({ body }) => ({ digest: digestOf(body) }))
  })
}

declare module 'fastify' {
  interface SessionData { note: string }
}
