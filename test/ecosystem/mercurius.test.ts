import mercurius from 'mercurius'
import { assertNeighbour } from './support/neighbour.ts'

const schema = 'type Query { hello(name: String!): String!, user: String }'

await assertNeighbour({
  packages: ['mercurius', 'graphql'],
  after: async (app) => {
    await app.register(mercurius as any, {
      schema,
      resolvers: {
        Query: {
          hello: (_root: unknown, { name }: { name: string }) => `hello ${name}`,
          user: (_root: unknown, _args: unknown, { reply }: any) => reply.request.session.userId ?? null
        }
      },
      routes: false
    })
    app.post<{ Body: { query: string } }>('/graphql', ({ body }, reply) => (reply as any).graphql(body.query))
    app.get<{ Querystring: { query: string } }>('/graphql', { config: { cache: { ttl: '5m' } } }, ({ query }, reply) => (reply as any).graphql(query.query))
  },
  features: {
    'queries by GET are cached by query, and not where a resolver reads the session': async ({ t, client }) => {
      const hello = `/graphql?query=${encodeURIComponent('{ hello(name: "ada") }')}`
      t.same((await client.get(hello)).body, { data: { hello: 'hello ada' } })
      t.same((await client.hit(hello)).body, { data: { hello: 'hello ada' } })
      const user = `/graphql?query=${encodeURIComponent('{ user }')}`
      t.same((await client.get(user)).body, { data: { user: null } })
      await client.post('/sign-in/bob')
      t.same((await client.get(user)).body, { data: { user: 'bob' } })
      t.same((await client.post('/graphql', { body: JSON.stringify({ query: '{ user }' }), headers: { 'content-type': 'application/json' } })).body, { data: { user: 'bob' } })
    }
  }
})

await assertNeighbour({
  packages: ['mercurius', 'graphql'],
  order: 'after the stack, with its own route',
  after: async (app) => {
    await app.register(mercurius as any, { schema, resolvers: { Query: { hello: () => 'hello', user: (_root: unknown, _args: unknown, { reply }: any) => reply.request.session.userId ?? null } }, graphiql: true })
  },
  features: {
    'queries read the session of their user': async ({ t, client }) => {
      await client.post('/sign-in/bob')
      t.same((await client.post('/graphql', { body: JSON.stringify({ query: '{ user }' }), headers: { 'content-type': 'application/json' } })).body, { data: { user: 'bob' } })
      t.equal((await client.get('/graphiql', { headers: { accept: 'text/html' } })).status, 200)
    }
  }
})
