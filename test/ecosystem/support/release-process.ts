// One process of a release: PRISM_ENTRY is its entry, REDIS_URL its server. Writes its port to standard output, and closes at SIGTERM.
import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import { pathToFileURL } from 'node:url'
import { until } from '../../support/until.ts'

const { default: prism } = await import(pathToFileURL(process.env.PRISM_ENTRY ?? '').href) as typeof import('../../../plugins/index.ts')
const app = Fastify({ forceCloseConnections: 'idle' })
await app.register(prism, { redis: { url: process.env.REDIS_URL, commandTimeout: '2s' }, session: { secrets: ['a secret of the tests: 32 or more'] }, rateLimit: { quota: 1_000_000 } })

/** What the handlers of all processes read: a database that is not the stack's. */
const version = async (id: string) => Number(await app.redis.get(`database:${id}`) ?? 0)

app.post<{ Params: { user: string } }>('/sign-in/:user', async ({ session, params }) => {
  await session.signIn(params.user)
  return {}
})
app.put<{ Params: { text: string } }>('/note/:text', async ({ session, params }) => {
  session.set('note', params.text)
  return {}
})
app.get('/note', async ({ session }) => ({ user: session.userId ?? null, note: session.get('note') ?? null }))
app.get<{ Params: { client: string } }>('/counted/:client', { config: { rateLimit: { quota: 15, window: '10m', by: (request) => (request as { url: string }).url } } }, async () => ({}))
app.get<{ Params: { id: string } }>('/page/:id', { config: { cache: { ttl: '5m', tags: ({ params }) => [`page:${(params as { id: string }).id}`] } } }, async ({ params }) => ({ id: params.id, version: await version(params.id), text: params.id.repeat(1_000) }))
app.put<{ Params: { id: string } }>('/page/:id', async ({ params }) => {
  const written = await app.redis.incr(`database:${params.id}`)
  await app.cache.purge(`page:${params.id}`)
  return { version: written }
})

process.once('SIGTERM', () => { app.close().then(() => process.exit(0), () => process.exit(1)) })
await app.listen({ port: 0, host: '127.0.0.1' })
await until(() => app.redisPool.state === 'ready', { what: 'Redis is reached' })
console.log((app.server.address() as AddressInfo).port)
