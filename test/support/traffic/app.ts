import fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import prism from '../../../plugins/index.ts'
import type { RedisOptions } from '../../../src/redis/options.ts'
import { commandTimeout } from '../deadline.ts'
import { watchTrouble } from './fault-injector.ts'

/** Quotas per partition. */
export const quota = 5
/** The topic that the apps publish to. */
export const topic = 'news'

/** An event as received by a subscriber. */
export interface Received { id: string, by: string, n: number }

type Numbered = { Params: { n: string } }
type Named = { Params: { id: string } }

/**
 * An app with the whole stack, and a route for each operation of the traffic; not yet listening.
 *
 * Each response reports in `x-trouble` and `x-recoveries` what the app has noticed of its Redis.
 *
 * @param source address of the content of its cached pages
 */
export async function buildTrafficApp (redis: RedisOptions, source: string): Promise<FastifyInstance> {
  const app = fastify({ forceCloseConnections: true })
  await app.register(prism, { redis: { ...redis, commandTimeout }, session: { secrets: ['a secret of the tests, 32 or more'] }, rateLimit: { quota: 1_000_000, window: '10m' } })
  const trouble = watchTrouble(app.redisPool)
  app.addHook('onClose', () => trouble.end())
  app.addHook('onSend', async (_request, reply) => { reply.headers({ 'x-trouble': trouble.count, 'x-recoveries': trouble.recoveries }) })
  addSessions(app)
  addPages(app, source)
  addQuotas(app)
  await addNews(app)
  return app
}

function addSessions (app: FastifyInstance): void {
  const signedIn = { config: { session: 'required', rateLimit: { quota: 1_000_000, window: '10m', by: 'user' } } } as const
  app.post<{ Params: { user: string } }>('/session/:user', async ({ session, params }) => { await session.signIn(params.user, { keep: ['test-basket'] }) })
  app.put<Numbered>('/basket/:n', async ({ session, params }) => { session.set('test-basket', Number(params.n)) })
  app.post('/rotation', signedIn, async ({ session }) => { await session.rotate() })
  app.delete('/session', async ({ session }) => { await session.signOut() })
  app.get('/notes', signedIn, async ({ session }) => ({ last: session.get('test-last') ?? 0, all: session.get('test-all') ?? [], basket: session.get('test-basket') }))
  app.get('/devices', signedIn, async ({ session }) => await session.devices())
  app.put<Numbered>('/notes/:n', signedIn, async ({ session, params }) => { session.set('test-last', Number(params.n)) })
  app.post<Numbered>('/notes/:n', signedIn, async ({ session, params }) => {
    session.update('test-all', (all) => [...Array.isArray(all) ? all : [], Number(params.n)])
  })
}

function addPages (app: FastifyInstance, source: string): void {
  const tags = (request: FastifyRequest) => [`page:${(request.params as Named['Params']).id}`]
  app.get<Named>('/pages/:id', { config: { cache: { ttl: '10m', tags } } }, async ({ params: { id } }) => {
    const response = await fetch(`${source}/${id}`)
    return { value: Number(await response.text()) }
  })
  app.post<Named>('/purges/:id', async ({ params: { id } }) => { await app.cache.purge(`page:${id}`) })
}

function addQuotas (app: FastifyInstance): void {
  const by = ({ headers }: FastifyRequest) => String(headers['x-client'])
  for (const failure of ['closed', 'local'] as const) app.get(`/quotas/${failure}`, { config: { rateLimit: { quota, window: '10m', by, failureMode: failure } } }, async () => ({}))
}

async function addNews (app: FastifyInstance): Promise<void> {
  const received: Received[] = []
  const resets: string[] = []
  app.get('/news', async () => ({ received, resets }))
  app.get<{ Params: { by: string } }>('/news/:by', async ({ params }) => ({ n: received.findLast(({ by }) => by === params.by)?.n ?? 0 }))
  app.post<Numbered & { Params: { by: string } }>('/news/:by/:n', async ({ params: { by, n } }) => {
    await app.events.publish(topic, { type: 'told', data: { by, n: Number(n) } })
  })
  await app.ready()
  const take = ({ id = '', data }: { id?: string, data?: unknown }) => { received.push({ id, ...data as { by: string, n: number } }) }
  await app.events.subscribe(topic, take, { onReset: (id) => resets.push(id) }).ready
}
