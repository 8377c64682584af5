import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { Type } from 'typebox'
import { z } from 'zod'
import type { FastifyInstance } from 'fastify'
import { assertNeighbour } from './support/neighbour.ts'
import type { Context } from './support/neighbour.ts'

const cache = { ttl: '5m' } as const

/** Defaults and conversions of the schema are part of the key; parameters that it does not name are not. */
async function assertQueries ({ t, client }: Context, others = ['/cities?name=paris&utm_source=mail', '/cities?utm_source=x&name=paris']): Promise<void> {
  const first = await client.get('/cities?name=paris')
  t.match(first.body, { query: { name: 'paris', page: 1 } })
  for (const path of ['/cities?name=paris', ...others]) t.same((await client.hit(path)).body, first.body, path)
  t.match((await client.get('/cities?name=paris&page=2')).body, { query: { name: 'paris', page: 2 } })
  t.equal((await client.get('/cities')).status, 400)
}

function cities (app: FastifyInstance, querystring: unknown, response?: unknown): void {
  let runs = 0
  app.get('/cities', { schema: { querystring, ...response ? { response: { 200: response } } : {} }, config: { cache } }, async ({ query }) => ({ query, run: ++runs }))
}

const features = { 'defaults and conversions are part of the key, other parameters are not': assertQueries }

await assertNeighbour({
  packages: ['@fastify/type-provider-typebox', 'typebox'],
  after: (app) => app.register(async (scope) => {
    cities(scope, Type.Object({ name: Type.String(), page: Type.Integer({ default: 1 }) }, { additionalProperties: false }))
  }),
  features
})

await assertNeighbour({
  packages: ['@fastify/type-provider-typebox', 'typebox'],
  order: 'after the stack, with Intersect',
  after: (app) => app.register(async (scope) => {
    cities(scope, Type.Intersect([Type.Object({ name: Type.String() }), Type.Object({ page: Type.Integer({ default: 1 }) })]))
  }),
  // It strips no other parameters: they are part of the key, as `cache.query` does not name them.
  features: { 'defaults and conversions are part of the key': (context) => assertQueries(context, []) }
})

await assertNeighbour({
  packages: ['fastify-type-provider-zod', 'zod'],
  after: (app) => app.register(async (scope) => {
    scope.setValidatorCompiler(validatorCompiler)
    scope.setSerializerCompiler(serializerCompiler)
    const querystring = z.object({ name: z.string(), page: z.coerce.number().default(1) })
    cities(scope, querystring, z.object({ query: querystring, run: z.number() }))
  }),
  features
})

await assertNeighbour({
  packages: ['@fastify/type-provider-json-schema-to-ts'],
  after: (app) => app.register(async (scope) => {
    cities(scope, { type: 'object', required: ['name'], properties: { name: { type: 'string' }, page: { type: 'integer', default: 1 } }, additionalProperties: false })
  }),
  features
})
