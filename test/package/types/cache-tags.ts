import Fastify from 'fastify'
import prism from 'fastify-prism'

declare module 'fastify-prism' {
  interface CacheTags { cities: true, [city: `city:${string}`]: true }
}

// Another module of the app adds its own.
declare module 'fastify-prism' {
  interface CacheTags { countries: true }
}

const app = Fastify()
await app.register(prism, { session: false })
app.routeDefaults({ cache: { tags: ['cities', 'countries'] } })
// @ts-expect-error not declared
app.routeDefaults({ cache: { tags: ['citys'] } })
app.get('/:id', { config: { cache: { tags: (request) => ['cities', `city:${request.params.id}`] } } }, async (_request, reply) => reply.tag('countries').send(1))
app.get('/list', { config: { cache: { tags: ['city:7'] } } }, async () => 1)
// @ts-expect-error not declared
app.get('/misspelt', { config: { cache: { tags: ['cities', 'contries'] } } }, async () => 1)
// @ts-expect-error not declared
app.get('/function', { config: { cache: { tags: (request) => [`town:${request.params.id}`] } } }, async () => 1)
// @ts-expect-error not declared
app.get('/reply', async (_request, reply) => reply.tag('contries').send(1))

await app.cache.purge('cities', 'city:7')
await app.cache.purge('countries', { soft: true })
// @ts-expect-error not declared
await app.cache.purge('citys')
// @ts-expect-error not declared
await app.cache.purge('cities', 'citys', { soft: true })
await app.cache.wrap('rows', 1, { ttl: '5m', tags: ['cities'] }, () => 1)
// @ts-expect-error not declared
await app.cache.wrap('rows', 1, { ttl: '5m', tags: ['citys'] }, () => 1)
