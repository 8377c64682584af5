import Fastify from 'fastify'
import events from 'fastify-prism/events'
import redis from 'fastify-prism/redis'
import { until } from './until.ts'

const app = Fastify()
await app.register(redis, { url: process.env.REDIS_URL, prefix: 'events:' })
await app.register(events)
await until(() => app.redisPool.state === 'ready')
const { promise, resolve } = Promise.withResolvers<unknown>()
await app.events.subscribe('news', (event) => resolve(event.data))
await app.events.publish('news', { type: 'told', data: { text: 'hello' } })
const heard = await promise
await app.close()
console.log(JSON.stringify(heard))
