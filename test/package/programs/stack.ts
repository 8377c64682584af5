import Fastify from 'fastify'
import prism from 'fastify-prism'
import { until } from './until.ts'

declare module 'fastify' {
  interface SessionData { cart: string[] }
}

const app = Fastify()
await app.register(prism, {
  redis: { url: process.env.REDIS_URL, prefix: 'stack:' },
  session: { secrets: [process.env.SESSION_SECRET ?? ''] },
  cache: { ttl: '5m' },
  rateLimit: { quota: 100, window: '1m' },
  events: {}
})
await until(() => app.redisPool.state === 'ready')
let loads = 0
const load = async (id: string) => ({ id, loads: ++loads })

await app.register(async (cities) => {
  cities.routeDefaults({ cache: { ttl: '10m', tags: ['cities'] }, rateLimit: { quota: 4 } })

  cities.get<{ Params: { id: string } }>('/:id', {
    config: { cache: { ttl: '60m', tags: (request) => [`city:${request.params.id}`] } }
  }, async (request) => load(request.params.id))
}, { prefix: '/cities' })
app.post<{ Params: { thing: string } }>('/cart/:thing', async (request) => {
  request.session.update('cart', (cart) => [...cart ?? [], request.params.thing])
  return { cart: request.session.get('cart'), left: request.rateLimit[0]?.remaining }
})

const heard: unknown[] = []
await app.events.subscribe('news', (event) => { heard.push(event.data) })
await app.events.publish('news', { type: 'told', data: 1 })
const first = await app.inject('/cities/1')
await until(async () => (await app.redis.keys('stack:api:cache:GET*')).length > 0)
const second = await app.inject('/cities/1')
await app.cache.purge('city:1')
const third = await app.inject('/cities/1')
const cart = await app.inject({ method: 'POST', url: '/cart/tea' })
const full = await app.inject({ method: 'POST', url: '/cart/milk', headers: { cookie: String(cart.headers['set-cookie']).split(';')[0] } })
await app.inject('/cities/1')
const refused = await app.inject('/cities/1')
const { length }: string = await app.redis.info()
await until(() => heard.length > 0)
await app.close()
console.log(JSON.stringify({
  bodies: [first, second, third].map((response) => response.json()),
  status: String(second.headers['cache-status']).includes('hit'),
  cart: full.json(),
  refused: refused.statusCode,
  code: refused.json().code,
  heard,
  hasInfo: length > 0
}))
