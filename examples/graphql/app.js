import Fastify from 'fastify'
import prism from 'fastify-prism'
import mercurius from 'mercurius'

const cities = new Map([['1', { id: '1', name: 'Paris' }], ['2', { id: '2', name: 'Rome' }]])
let loads = 0

const app = Fastify()
await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'graphql:' }, session: { secrets: [process.env.SESSION_SECRET] } })

const loadCity = (id) => app.cache.wrap('city', id, { ttl: '5m', tags: ['cities'] }, () => {
  loads += 1 // from a database
  return cities.get(id) ?? null
})

await app.register(mercurius, {
  schema: `
    type City { id: ID!, name: String! }
    type Query { city(id: ID!): City, loads: Int!, me: String }
    type Mutation { rename(id: ID!, name: String!): City }`,
  resolvers: {
    Query: {
      city: async (_root, { id }) => await loadCity(id),
      loads: () => loads,
      me: (_root, _args, { reply }) => reply.request.session.userId ?? null
    },
    Mutation: {
      rename: async (_root, { id, name }) => {
        cities.set(id, { id, name })
        await app.cache.delete('city', id) // this value
        await app.cache.purge('queries') // and the responses
        return await loadCity(id)
      }
    }
  },
  routes: false
})

// Queries by GET are cached by their text; where a resolver reads the session, the response is not shared.
app.get('/graphql', { config: { cache: { ttl: '1m', tags: ['queries'] } } }, async (request, reply) => await reply.graphql(request.query.query))
app.post('/graphql', { config: { rateLimit: { quota: 60 } } }, async (request, reply) => await reply.graphql(request.body.query, undefined, request.body.variables))

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
