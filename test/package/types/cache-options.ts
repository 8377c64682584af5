import Fastify from 'fastify'
import prism, { type CacheChoice, type CacheOptions, type WrapOptions } from 'fastify-prism'

// What is right has types, with parameters that need no annotation.
export const right: CacheChoice[] = [
  true,
  false,
  {},
  { ttl: '1.5h', tags: ['any', 'text'], vary: ['accept-language'], query: ['page'], hosts: ['example.com'], maxConcurrency: 5 },
  { ttl: 'response', honorRequestCacheControl: false, trackInputs: true, staleIfError: '1d', lockTimeout: '10s', browserMaxAge: '1m' },
  { earlyRefresh: true, staleWhileRevalidate: '30s', tags: ({ params, query }) => [`city:${params.id}`, ...[query.page ?? []].flat()] },
  { partition: 'user', earlyRefresh: false },
  { partition: 'session' },
  { partition: ({ headers }) => headers['x-tenant'] as string | undefined, tags: () => undefined },
  { partition: () => null },
  { partition: () => 7 }
]

// @ts-expect-error a duration has one of the units ms, s, m, h, d
export const words: CacheChoice = { ttl: '5 minutes' }
// @ts-expect-error a duration is no number
export const number: CacheChoice = { ttl: 300 }
// @ts-expect-error only the ttl may be that of the response
export const window: CacheChoice = { staleWhileRevalidate: 'response' }
// @ts-expect-error tags are a list
export const tag: CacheChoice = { tags: 'cities' }
// @ts-expect-error a function of tags returns a list
export const tagFunction: CacheChoice = { tags: () => 'cities' }
// @ts-expect-error a function of tags is synchronous
export const laterTags: CacheChoice = { tags: async () => ['cities'] }
// @ts-expect-error a partition is 'user', 'session' or a function
export const users: CacheChoice = { partition: 'users' }
// @ts-expect-error a list is no partition
export const listed: CacheChoice = { partition: ['user'] }
// @ts-expect-error a partition is a text or a number
export const object: CacheChoice = { partition: () => ({ id: 1 }) }
// @ts-expect-error a partition is known at once
export const laterPartition: CacheChoice = { partition: async () => 'ada' }
// @ts-expect-error a background refresh carries no user
export const contradiction: CacheChoice = { partition: 'user', earlyRefresh: true }
// @ts-expect-error the same for a function
export const contradictionToo: CacheChoice = { partition: () => 'ada', earlyRefresh: true }
// @ts-expect-error vary is a list of headers
export const vary: CacheChoice = { vary: 'accept-language' }
// @ts-expect-error a count
export const many: CacheChoice = { maxConcurrency: '5' }
// @ts-expect-error of the plugin alone
export const debug: CacheChoice = { debug: true }
// @ts-expect-error of routes alone
export const tagged: CacheOptions = { tags: ['all'] }
// @ts-expect-error an option of @fastify/caching
export const theirs: CacheChoice = { expiresIn: 300 }
// @ts-expect-error neither true nor false
export const yes: CacheChoice = 'yes'
// @ts-expect-error a value has a ttl
export const forever: WrapOptions = { tags: ['all'] }
// @ts-expect-error a value is not a response
export const byResponse: WrapOptions = { ttl: 'response' }

const app = Fastify()
await app.register(prism, { session: false })
app.get('/:id', { config: { cache: { ttl: '5m', tags: (request) => [`city:${request.params.id}`], partition: (request) => request.ip } } }, async () => 1)
// @ts-expect-error the same in a route
app.get('/words', { config: { cache: { ttl: '5 minutes' } } }, async () => 1)
// @ts-expect-error the same in a route
app.get('/both', { config: { cache: { partition: 'user', earlyRefresh: true } } }, async () => 1)
// @ts-expect-error neither options nor a boolean
app.get('/text', { config: { cache: '5m' } }, async () => 1)
// @ts-expect-error neither options nor a boolean
app.get('/number', { config: { cache: 300 } }, async () => 1)
// @ts-expect-error a session is required or optional
app.get('/session', { config: { session: 'require' } }, async () => 1)
// @ts-expect-error a session is required or optional
app.get('/session', { config: { session: true } }, async () => 1)
// @ts-expect-error a quota has a name
app.get('/quota', { config: { rateLimit: 5 } }, async () => 1)
// @ts-expect-error the same in a scope
app.routeDefaults({ cache: { partition: 'users' } })
// @ts-expect-error an option of @fastify/caching. In a route's config Fastify infers further keys, so there only the start rejects it
app.routeDefaults({ cache: { expiresIn: 300 } })
// @ts-expect-error an option of @fastify/rate-limit
app.routeDefaults({ rateLimit: { max: 5 } })
// @ts-expect-error purge takes each tag as an argument
await app.cache.purge(['cities'])
await app.cache.purge('any', 'text', { soft: true })
export const city: { id: number } | undefined = await app.cache.get<{ id: number }>('city', 1)
export const row: number = await app.cache.wrap('row', 1, { ttl: '5m', refresh: true }, () => 1)
await app.cache.delete('row', 1)
// @ts-expect-error unknown without a type argument
export const unknown: number = await app.cache.get('row', 1)
