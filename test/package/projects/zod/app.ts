import assert from 'node:assert/strict'
import Fastify from 'fastify'
import prism from 'fastify-prism'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'

const app = Fastify().withTypeProvider<ZodTypeProvider>()
app.setValidatorCompiler(validatorCompiler)
app.setSerializerCompiler(serializerCompiler)
await app.register(prism, { redis: { url: process.env.REDIS_URL ?? '', prefix: 'zod:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
app.get('/cities', {
  schema: { querystring: z.object({ page: z.coerce.number().int().default(1) }), response: { 200: z.object({ page: z.number(), at: z.string() }) } },
  config: { cache: { ttl: '1m', tags: ['cities'] } }
}, async (request) => ({ page: request.query.page satisfies number, at: process.hrtime.bigint().toString() }))

const url = (page: string) => `/cities?page=${page}`
const first = await app.inject(url('1'))
let second = first
do second = await app.inject(url('1'))
while (String(second.headers['cache-status']).includes('miss'))
const wrong = await app.inject(url('many'))
await app.close()
assert.match(String(second.headers['cache-status']), /hit/)
assert.deepEqual(second.json(), { page: 1, at: first.json().at })
assert.equal(wrong.statusCode, 400)
