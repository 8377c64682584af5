import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import prism from '../plugins/index.ts'
import { readPackage } from '../service/atlas/source.ts'
import { startRedis } from '../test/support/redis.ts'
import type { TestRedis } from '../test/support/redis.ts'
import { until } from '../test/support/until.ts'
import { withOwner } from './owner.ts'

// Memory in Redis: the stack creates many objects of each kind on an empty server; their size is read key by key (MEMORY USAGE)
// and from the whole server's memory, which includes hash tables and the allocator's rounding.
interface Kind { readonly what: string, readonly many: number, readonly match: string, readonly make: (app: FastifyInstance, index: number) => Promise<unknown> }

const cities = readPackage()
const cityOf = (index: number) => cities[index % cities.length]
const sendRequest = async (app: FastifyInstance, url: string, headers = {}, remoteAddress = '192.0.2.1') => await app.inject({ url, headers, remoteAddress })
const uncounted = { config: { rateLimit: false } } as const
const addressOf = (index: number) => `10.${index >> 16}.${index >> 8 & 255}.${index & 255}`

const kinds: readonly Kind[] = [
  { what: 'a user\'s session on one device, nothing stored in it', many: 10_000, match: 'session:*', make: (app, index) => sendRequest(app, `/sign-in/${index}`) },
  { what: 'the same with a browser\'s name and 200 bytes stored in it', many: 10_000, match: 'session:*', make: (app, index) => sendRequest(app, `/sign-in/${index}?keep=200`, { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0' }) },
  { what: 'the same on two devices, nothing stored in them', many: 10_000, match: 'session:*', make: async (app, index) => { await sendRequest(app, `/sign-in/${index}`); await sendRequest(app, `/sign-in/${index}`) } },
  { what: 'a cached city (about 130 bytes of JSON) and the version of its tag', many: 10_000, match: 'api:cache:GET:*', make: (app, index) => sendRequest(app, `/cities/${index}`) },
  { what: 'a cached search of 20 cities (2.6 kB, stored compressed)', many: 3000, match: 'api:cache:GET:*', make: (app, index) => sendRequest(app, `/cities?from=${index * 20}&limit=20`) },
  { what: 'a cached list of 200 cities (27 kB, stored compressed)', many: 500, match: 'api:cache:GET:*', make: (app, index) => sendRequest(app, `/cities?from=${index * 200}&limit=200`) },
  { what: 'a wrapped value of 100 bytes', many: 5000, match: 'api:cache:wrap:*', make: (app, index) => app.cache.wrap('size', { index }, { ttl: '5m' }, async () => 'x'.repeat(100)) },
  { what: 'a tag that was purged', many: 10_000, match: 'api:cache:tag:*', make: (app, index) => app.cache.purge(`city:${2_000_000 + index}`) },
  { what: 'a counter of one client and quota', many: 10_000, match: 'ratelimit:*', make: (app, index) => sendRequest(app, '/counted', {}, addressOf(index)) },
  { what: 'an event in a topic\'s log (100 bytes of data)', many: 500, match: 'prism:*:log', make: (app, index) => app.events.publish('sizes', { type: 'size.made', data: { index, text: 'x'.repeat(80) } }) }
]

async function build (url: string): Promise<FastifyInstance> {
  const app = Fastify({ trustProxy: false })
  await app.register(prism, { redis: { url }, session: { secrets: ['a secret of at least thirty-two characters'] }, cache: {}, rateLimit: { quota: 100, window: '1m' }, events: {} })
  app.get<{ Params: { user: string }, Querystring: { keep?: string } }>('/sign-in/:user', uncounted, async (request) => {
    await request.session.signIn(request.params.user)
    const { keep } = request.query
    if (keep !== undefined) request.session.set('test-kept', 'x'.repeat(Number(keep)))
    return {}
  })
  app.get<{ Params: { index: string } }>('/cities/:index', { config: { rateLimit: false, cache: { ttl: '5m', tags: (request) => ['cities', `city:${cityOf(Number(request.params.index))?.id}`] } } }, async (request) => cityOf(Number(request.params.index)))
  app.get<{ Querystring: { from: string, limit: string } }>('/cities', { config: { rateLimit: false, cache: { ttl: '5m', tags: ['cities'] } } }, async ({ query: { from, limit } }) => ({ cities: Array.from({ length: Number(limit) }, (_, index) => cityOf(Number(from) + index)) }))
  app.get('/counted', async () => ({}))
  await app.ready()
  return app
}

/** Bytes used by the server without the buffers of its clients. */
async function used (redis: TestRedis): Promise<number> {
  const info = await redis.client.info('memory')
  const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1])
  return figure('used_memory') - figure('mem_clients_normal')
}

async function keysOf (redis: TestRedis, match: string): Promise<string[]> {
  const found = new Set<string>()
  for (let cursor = ''; cursor !== '0';) {
    const [next, page] = await redis.client.scan(cursor || '0', 'MATCH', match, 'COUNT', 1000)
    for (const key of page) found.add(key)
    cursor = next
  }
  return [...found]
}

async function measure ({ many, match, make }: Kind): Promise<{ byKey: number, byServer: number }> {
  return await withOwner(async (owner) => {
    const redis = await startRedis(owner)
    const app = await build(redis.url)
    owner.after(() => app.close())
    await make(app, many)
    const [before, keysBefore] = [await used(redis), (await keysOf(redis, match)).length]
    for (let index = 0; index < many; index += 20) await Promise.all(Array.from({ length: 20 }, (_, each) => make(app, index + each)))
    // A response can be stored after it was sent.
    await until(async () => (await keysOf(redis, match)).length >= (match.endsWith(':log') ? 1 : keysBefore + many * 0.99), { what: `${many} of ${match}` })
    const keys = await keysOf(redis, match)
    const replies = await redis.client.pipeline(keys.map((key) => ['memory', 'usage', key, 'SAMPLES', '0'])).exec() ?? []
    const sum = replies.reduce((all, [, bytes]) => all + Number(bytes), 0)
    return { byKey: sum / many, byServer: (await used(redis) - before) / many }
  })
}

console.log('| what | MEMORY USAGE, bytes | the whole server, bytes |\n|---|---:|---:|')
for (const kind of kinds) {
  const { byKey, byServer } = await measure(kind)
  console.log(`| ${kind.what} | ${byKey.toFixed(0)} | ${byServer.toFixed(0)} |`)
}
