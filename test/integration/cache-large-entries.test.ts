import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startCluster } from '../support/cluster.ts'
import { startRedisProcess } from '../support/redis-process.ts'

// A large entry that a process has read is looked up by its first 56 bytes; its body is read again only when another one is stored.

/** JSON that no coding makes small: `bytes` of it are stored. */
function largeBody (bytes: number): string {
  return JSON.stringify({ text: randomBytes(Math.ceil(bytes * 3 / 4)).toString('base64') })
}

interface Server { readonly url: string, readonly control: Redis }

async function startServer (t: Test): Promise<Server> {
  const { url } = await startRedisProcess(t)
  const control = new Redis(url)
  t.after(() => { control.disconnect() })
  return { url, control }
}

/** Calls of a command by all clients of a server. */
async function callsOf ({ control }: Server, command: string): Promise<number> {
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await control.info('commandstats'))?.[1] ?? 0)
}

async function sentBytes ({ control }: Server): Promise<number> {
  return Number(/total_net_output_bytes:(\d+)/.exec(await control.info('stats'))?.[1])
}

interface Counter { runs: number }

/** An app whose route responds with a new body of this size at each run. */
async function largeApp (t: Test, url: string, bytes: number, counter: Counter = { runs: 0 }, commandTimeout?: number): Promise<FastifyInstance> {
  const app = await cachingApp(t, { url, ...commandTimeout === undefined ? {} : { commandTimeout } })
  app.get('/:id', { config: { cache: { ttl: '1h', tags: ['all'] } } }, async (_request, reply) => {
    counter.runs += 1
    return reply.type('application/json').send(largeBody(bytes))
  })
  return app
}

async function bodyOf (app: FastifyInstance, status: RegExp, t: Test, headers = {}): Promise<string> {
  const response = await app.inject({ url: '/1', headers })
  await stored(app)
  t.match(response.headers['cache-status'], status)
  return response.body
}

for (const bytes of [3000, 6000, 20_000, 100_000]) {
  t.test(`hits of a response of ${bytes} bytes read ${bytes > 4096 ? 'only its head' : 'it whole'} after the first one`, async (t) => {
    const server = await startServer(t)
    const counter = { runs: 0 }
    const app = await largeApp(t, server.url, bytes, counter)
    const body = await bodyOf(app, /miss/, t)
    t.equal(await bodyOf(app, /hit/, t), body)
    const before = { bytes: await sentBytes(server), heads: await callsOf(server, 'getrange') }

    for (let hit = 0; hit < 50; hit++) t.equal(await bodyOf(app, /hit/, t), body)

    const sent = await sentBytes(server) - before.bytes - 3000 // the reply to INFO
    t.equal(await callsOf(server, 'getrange') - before.heads, bytes > 4096 ? 50 : 0)
    if (bytes > 4096) t.ok(sent < 50 * 400, `${sent} bytes`)
    if (bytes === 100_000) t.ok(sent < body.length * 50 / 100, `${sent} bytes are at most 1 % of those sent`)
    t.equal(counter.runs, 1)
  })
}

t.test('a large response that another process has replaced is read whole at once, and then by its head again', async (t) => {
  const server = await startServer(t)
  const apps = [await largeApp(t, server.url, 20_000), await largeApp(t, server.url, 20_000)] as const
  const first = await bodyOf(apps[0], /miss/, t)
  for (const app of apps) for (let hit = 0; hit < 2; hit++) t.equal(await bodyOf(app, /hit/, t), first)

  for (let round = 0; round < 3; round++) {
    await apps[1].cache.purge('all')
    const next = await bodyOf(apps[1], /miss/, t)
    t.not(next, first)
    for (let hit = 0; hit < 3; hit++) t.equal(await bodyOf(apps[0], /hit/, t), next)
  }
})

t.test('a purge makes a known large response a miss, in the process that has purged and in another', async (t) => {
  const server = await startServer(t)
  const counter = { runs: 0 }
  const apps = [await largeApp(t, server.url, 20_000, counter), await largeApp(t, server.url, 20_000, counter)] as const
  await bodyOf(apps[0], /miss/, t)
  for (const app of apps) for (let hit = 0; hit < 2; hit++) await bodyOf(app, /hit/, t)

  await apps[0].cache.purge('all')
  await bodyOf(apps[1], /miss/, t)
  await bodyOf(apps[0], /hit/, t)
  await apps[1].cache.purge('all')
  await bodyOf(apps[1], /miss/, t)

  t.equal(counter.runs, 3)
})

const replaced: Record<string, (control: Redis, key: string) => Promise<unknown>> = {
  'is evicted': (control, key) => control.unlink(key),
  'is of another type': async (control, key) => { await control.unlink(key); await control.lpush(key, 'x') },
  'is shorter than a head': (control, key) => control.set(key, 'x'),
  'is empty': (control, key) => control.set(key, ''),
  'has another head': async (control, key) => control.setrange(key, 20, 'x'),
  'is of the format before': async (control, key) => control.setrange(key, 0, '\u0001')
}

for (const [name, replace] of Object.entries(replaced)) {
  t.test(`a known large entry that ${name} is a miss`, async (t) => {
    const server = await startServer(t)
    const counter = { runs: 0 }
    const app = await largeApp(t, server.url, 20_000, counter)
    const first = await bodyOf(app, /miss/, t)
    await bodyOf(app, /hit/, t)
    const [key = ''] = (await server.control.keys('api:cache:*')).filter((key) => !/:(?:seq|tag|epoch|lock|filled)\b/.test(key))

    await replace(server.control, key)
    const response = await app.inject('/1')
    await stored(app)

    t.match(response.headers['cache-status'], /fwd=/)
    t.equal(response.statusCode, 200)
    t.not(response.body, first)
    t.equal(counter.runs, 2)
  })
}

t.test('a known large response is negotiated, cut and validated as one that was read whole', async (t) => {
  const server = await startServer(t)
  const app = await cachingApp(t, { url: server.url })
  const body = JSON.stringify({ text: `${'plain text '.repeat(3000)}${randomBytes(6000).toString('base64')}` })
  app.get('/1', { config: { cache: { ttl: '1h' } } }, async (_request, reply) => reply.type('application/json').send(body))
  await bodyOf(app, /miss/, t)

  for (let round = 0; round < 3; round++) {
    for (const coding of ['br', 'gzip', 'identity', undefined]) {
      const response = await app.inject({ url: '/1', headers: coding === undefined ? {} : { 'accept-encoding': coding } })
      t.match(response.headers['cache-status'], /hit/)
      if (response.headers['content-encoding'] === undefined) t.equal(response.body, body, `${coding} ${round}`)
      else t.equal(response.headers['content-encoding'], coding)
    }
    const { headers: { etag = '' } } = await app.inject('/1')
    t.equal((await app.inject({ url: '/1', headers: { 'if-none-match': String(etag) } })).statusCode, 304)
    const part = await app.inject({ url: '/1', headers: { range: 'bytes=10-19' } })
    t.same([part.statusCode, part.body], [206, body.slice(10, 20)])
    t.equal((await app.inject({ method: 'HEAD', url: '/1' })).headers['content-length'], String(Buffer.byteLength(body)))
  }
})

t.test('large variants of one URL are looked up by their heads', async (t) => {
  const server = await startServer(t)
  const app = await cachingApp(t, { url: server.url })
  app.get('/1', { config: { cache: { ttl: 'response' } } }, async (request, reply) => {
    return reply.headers({ 'cache-control': 'max-age=600', vary: 'accept-language', 'content-type': 'application/json' }).send(JSON.stringify({ of: request.headers['accept-language'], text: largeBody(20_000) }))
  })
  const bodies = new Map<string, string>()
  for (const language of ['de', 'fr']) bodies.set(language, await bodyOf(app, /fwd=/, t, { 'accept-language': language }))
  for (const language of ['de', 'fr']) await bodyOf(app, /hit/, t, { 'accept-language': language })
  const before = await sentBytes(server)

  for (let hit = 0; hit < 20; hit++) for (const [language, body] of bodies) t.equal(await bodyOf(app, /hit/, t, { 'accept-language': language }), body)

  t.ok(await sentBytes(server) - before < 20_000)
})

t.test('a known large response of a Cluster is looked up by its head, and read whole when it was replaced', async (t) => {
  const cluster = await startCluster(t)
  const counter = { runs: 0 }
  const apps = [await largeApp(t, cluster.url, 20_000, counter, 2000), await largeApp(t, cluster.url, 20_000, counter, 2000)] as const
  const first = await bodyOf(apps[0], /miss/, t)
  for (const app of apps) for (let hit = 0; hit < 3; hit++) t.equal(await bodyOf(app, /hit/, t), first)

  await apps[1].cache.purge('all')
  const next = await bodyOf(apps[1], /miss/, t)
  for (const app of apps) for (let hit = 0; hit < 3; hit++) t.equal(await bodyOf(app, /hit/, t), next)

  t.equal(counter.runs, 2)
})
