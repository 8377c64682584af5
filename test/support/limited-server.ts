import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import limits from '../../plugins/rate-limit.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout } from './deadline.ts'
import { reached } from './wait-for-redis.ts'

// A limited app as its own process: `node limited-server.ts <redis url> <options of each route as JSON>`; its first line is its port. The route at position n is `/n`.
const [url, options = '[]'] = process.argv.slice(2)
const app = Fastify()
await app.register(redis, { url, commandTimeout })
await app.register(requestLifecycle)
await app.register(limits)
for (const [index, rateLimit] of JSON.parse(options).entries()) app.get(`/${index}`, { config: { rateLimit } }, async () => ({ fine: true }))
await reached(app)
await app.listen({ port: 0, host: '127.0.0.1' })
console.log((app.server.address() as AddressInfo).port)
