import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import prism from 'fastify-prism'

declare module 'fastify' {
  interface SessionData { views: number }
}

export async function buildApp (): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(prism, { redis: { url: process.env.REDIS_URL ?? '', prefix: 'bundler:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] }, cache: { ttl: '5m' } })
  app.get<{ Params: { id: string } }>('/time/:id', { config: { cache: { ttl: '1m', tags: (request) => [`time:${request.params.id}`] } } }, async (request) => ({ id: request.params.id, at: process.hrtime.bigint().toString() }))
  app.get('/limited', { config: { rateLimit: { quota: 1 } } }, async () => 'one')
  app.post('/view', async (request) => {
    request.session.update('views', (views) => (views ?? 0) + 1)
    return { views: request.session.get('views') }
  })
  return app
}

const app = await buildApp()
const first = await app.inject('/time/1')
let second = first
do second = await app.inject('/time/1')
while (String(second.headers['cache-status']).includes('miss'))
await app.cache.purge('time:1')
const third = await app.inject('/time/1')
const limited = [await app.inject('/limited'), await app.inject('/limited')].map(({ statusCode }) => statusCode)
const view = await app.inject({ method: 'POST', url: '/view' })
await app.close()
if (!String(second.headers['cache-status']).includes('hit')) throw new Error(`no hit: ${second.headers['cache-status']}`)
if (third.body === second.body) throw new Error('a purged response was served')
if (limited.join() !== '200,429') throw new Error(`the quota was not enforced: ${limited.join()}`)
if (view.cookies.length !== 1 || view.json().views !== 1) throw new Error(`no session: ${view.body}`)
console.log('the smoke test has passed')
