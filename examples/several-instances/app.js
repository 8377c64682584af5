import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import prism from 'fastify-prism'

const app = Fastify()
await app.register(prism, {
  redis: { url: process.env.REDIS_URL, prefix: 'several-instances:' },
  session: { secrets: [process.env.SESSION_SECRET] }, // the same in each instance
  rateLimit: { quota: 1000, window: '1m' }
})

// One of all instances runs the handler; the others wait for its response.
app.get('/report', { config: { cache: { ttl: '1m', tags: ['reports'] } } }, async () => {
  await sleep(300)
  return { madeBy: process.pid }
})

// Ten a minute in all instances together.
app.get('/few', { config: { rateLimit: { quota: 10 } } }, async () => ({ by: process.pid }))

app.post('/purge', async () => {
  await app.cache.purge('reports') // in all instances, before this response
  await app.events.publish('purges', { type: 'purged', data: { by: process.pid } })
  return {}
})

let last = null
app.events.subscribe('purges', (event) => { last = event.data })
app.get('/last-purge', async () => ({ last, seenBy: process.pid }))

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
