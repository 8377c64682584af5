import Fastify from 'fastify'
import prism from 'fastify-prism'

const app = Fastify()
await app.register(prism, {
  redis: { url: process.env.REDIS_URL, prefix: 'minimal:' },
  session: { secrets: [process.env.SESSION_SECRET] },
  rateLimit: { quota: 100, window: '1m' }
})

let runs = 0
app.get('/time', { config: { cache: { ttl: '10s', tags: ['time'] } } }, async () => ({ run: ++runs, at: new Date() }))

app.get('/account', { config: { session: 'required' } }, async (request) => ({ user: request.session.userId }))

app.post('/sign-in/:name', { config: { rateLimit: { quota: 5 } } }, async (request) => {
  await request.session.signIn(request.params.name) // after you have verified the password
  return {}
})

app.post('/purge', async () => {
  await app.cache.purge('time')
  return {}
})

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
