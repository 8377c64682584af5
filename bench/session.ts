import cookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore } from 'connect-redis'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import requestLifecycle from '../plugins/request-lifecycle.ts'
import redisPlugin from '../plugins/redis.ts'
import prismSession from '../plugins/session.ts'
import { Browser } from '../test/support/session-browser.ts'
import type { Owner } from '../test/support/cleanup-scope.ts'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { countWrites } from '../test/support/writes.ts'
import { withOwner } from './owner.ts'

// Redis cost of a request, and its time compared with the same route without a session: the stack beside @fastify/session with connect-redis,
// by default and tuned, in one run. Requests are sequential, so that each socket write is a round trip.
declare module 'fastify' {
  interface SessionData { theme: string }
}

const secret = 'a secret of at least thirty-two characters'
const requests = Number(process.env.BENCH_REQUESTS ?? 2000)
const userId = '7f3b1c52-9a54-4a6e-8f0e-0c7d6f1d2b3a'

/** One session implementation, with the same four routes. */
interface Peer { app: FastifyInstance, redis: Redis, port: number }
/** The methods of the other implementation's session. */
interface Foreign { set (key: string, value: string): void, get (key: string): unknown, regenerate (): Promise<void>, destroy (): Promise<void> }

async function startPrism (owner: Owner): Promise<Peer> {
  const { url, port } = await startRedisProcess(owner)
  const app = Fastify()
  await app.register(redisPlugin, { url })
  await app.register(requestLifecycle)
  await app.register(prismSession, { secrets: [secret] })
  app.post('/in', async ({ session }) => await session.signIn(userId))
  app.get('/read', async ({ session }) => ({ user: session.userId, theme: session.get('theme') }))
  app.post('/write', async ({ session, id }) => { session.set('theme', id) })
  app.post('/out', async ({ session }) => await session.signOut())
  return await opened(owner, app, url, port)
}

async function startForeign (owner: Owner, options: { rolling?: boolean, saveUninitialized?: boolean }): Promise<Peer> {
  const { url, port } = await startRedisProcess(owner)
  const client = createClient({ url })
  await client.connect()
  owner.after(() => client.destroy())
  const app = Fastify()
  await app.register(cookie)
  await app.register(fastifySession, { secret, store: new RedisStore({ client }) as never, cookie: { secure: false, maxAge: 3_600_000 }, ...options })
  const sessionOf = (request: object) => (request as { session: Foreign }).session
  app.post('/in', async (request) => {
    await sessionOf(request).regenerate()
    sessionOf(request).set('user', userId)
  })
  app.get('/read', async (request) => ({ user: sessionOf(request).get('user'), theme: sessionOf(request).get('theme') }))
  app.post('/write', async (request) => { sessionOf(request).set('theme', request.id) })
  app.post('/out', async (request) => await sessionOf(request).destroy())
  return await opened(owner, app, url, port)
}

async function opened (owner: Owner, app: FastifyInstance, url: string, port: number): Promise<Peer> {
  const redis = new Redis(url)
  owner.after(async () => {
    redis.disconnect()
    await app.close()
  })
  await app.ready()
  return { app, redis, port }
}

const writing = /^cmdstat_(?:set|setex|hset|hdel|del|unlink|expire|pexpire|pexpireat|getex):calls=(\d+)/

async function mutationsOf ({ redis }: Peer): Promise<number> {
  return (await redis.info('commandstats')).split('\n').reduce((sum, line) => sum + Number(writing.exec(line)?.[1] ?? 0), 0)
}

/** Commands, round trips and key changes of one request. */
async function costOf (owner: Owner, peer: Peer, act: () => Promise<unknown>): Promise<string[]> {
  const count = countWrites(owner, peer.port)
  const before = await mutationsOf(peer)
  count.clear()
  await act()
  const [commands, trips] = [count.commandCount, count.writes]
  return [commands, trips, await mutationsOf(peer) - before].map(String)
}

async function figuresOf (owner: Owner, name: string, peer: Peer): Promise<string[][]> {
  const browser = new Browser(peer.app)
  // Once before, so that Redis has loaded every script.
  for (const path of ['/in', '/write', '/out', '/in']) await browser.post(path)
  const rows = []
  rows.push(['an anonymous client reads', ...await costOf(owner, peer, () => new Browser(peer.app).get('/read'))])
  rows.push(['read', ...await costOf(owner, peer, () => browser.get('/read'))])
  rows.push(['write', ...await costOf(owner, peer, () => browser.post('/write'))])
  rows.push(['sign in', ...await costOf(owner, peer, () => new Browser(peer.app).post('/in'))])
  rows.push(['sign out', ...await costOf(owner, peer, () => browser.post('/out'))])
  return rows.map((row) => [name, ...row])
}

async function bytesOf ({ app, redis }: Peer): Promise<number> {
  await redis.flushall()
  const browser = new Browser(app)
  await browser.post('/in')
  await browser.post('/write')
  const sizes = await Promise.all((await redis.keys('*')).map(async (key) => Number(await redis.memory('USAGE', key))))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** CPU microseconds of a request that only reads: medians of interleaved rounds. */
async function timesOf (apps: Record<string, FastifyInstance>): Promise<Record<string, number>> {
  const rounds: Record<string, number[]> = {}
  const headers = Object.fromEntries(await Promise.all(Object.entries(apps).map(async ([name, app]) => [name, await signedIn(app)])))
  for (let round = 0; round < 8; round++) {
    for (const [name, app] of Object.entries(apps)) {
      const started = process.cpuUsage()
      for (let count = 0; count < requests; count += 50) await Promise.all(Array.from({ length: 50 }, () => app.inject({ url: '/read', headers: headers[name] })))
      const { user, system } = process.cpuUsage(started)
      if (round > 0) (rounds[name] ??= []).push((user + system) / requests)
    }
  }
  return Object.fromEntries(Object.entries(rounds).map(([name, times]) => [name, times.sort((one, other) => one - other)[3] ?? NaN]))
}

async function signedIn (app: FastifyInstance): Promise<{ cookie: string }> {
  const browser = new Browser(app)
  await browser.post('/in')
  return { cookie: browser.cookieField }
}

await withOwner(async (owner) => {
  const peers = {
    'fastify-prism': await startPrism(owner),
    '@fastify/session': await startForeign(owner, {}),
    '@fastify/session, tuned': await startForeign(owner, { rolling: false, saveUninitialized: false })
  }
  console.log('| sessions | request | commands | round trips | key changes |\n|---|---|---:|---:|---:|')
  for (const [name, peer] of Object.entries(peers)) for (const row of await figuresOf(owner, name, peer)) console.log(`| ${row.join(' | ')} |`)

  const bare = Fastify()
  bare.get('/read', async () => ({ user: userId, theme: 'dark' }))
  const { bare: floor = NaN, ...times } = await timesOf({ bare, ...Object.fromEntries(Object.entries(peers).map(([name, { app }]) => [name, app])) })
  const ours = (times['fastify-prism'] ?? NaN) - floor
  console.log('\n| sessions | bytes in Redis, one device | CPU µs a read | ÷ bare | added ÷ ours |\n|---|---:|---:|---:|---:|')
  for (const [name, peer] of Object.entries(peers)) {
    const time = times[name] ?? NaN
    console.log(`| ${[name, await bytesOf(peer), time.toFixed(0), (time / floor).toFixed(2), ((time - floor) / ours).toFixed(2)].join(' | ')} |`)
  }
})
