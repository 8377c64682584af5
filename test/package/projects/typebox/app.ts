import assert from 'node:assert/strict'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import prism from 'fastify-prism'
import { Type } from 'typebox'

const app = Fastify().withTypeProvider<TypeBoxTypeProvider>()
await app.register(prism, { redis: { url: process.env.REDIS_URL ?? '', prefix: 'typebox:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
app.get('/cities', {
  schema: { querystring: Type.Object({ page: Type.Integer({ default: 1 }) }) },
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
