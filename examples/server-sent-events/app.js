import Fastify from 'fastify'
import prism from 'fastify-prism'
import live from 'fastify-prism/live'

const app = Fastify()
await app.register(prism, {
  redis: { url: process.env.REDIS_URL, prefix: 'server-sent-events:' },
  session: { secrets: [process.env.SESSION_SECRET] },
  events: { retain: { count: 1000, time: '10m' } }
})
// GET /events is an event stream, which resumes by Last-Event-ID; GET /live is a WebSocket.
await app.register(live, { topics: { news: 'anyone', 'user:*': 'owner' } })

app.post('/news', { config: { rateLimit: { quota: 30 } } }, async (request) => {
  return { id: await app.events.publish('news', { type: 'news.told', data: { text: String(request.body.text) } }) }
})

app.get('/', async (_request, reply) => reply.type('text/html').send(`<!doctype html>
<title>News</title><ul id="list"></ul>
<script>
  const source = new EventSource('/events?topic=news')
  source.addEventListener('news.told', ({ data }) => { list.append(Object.assign(document.createElement('li'), { textContent: data })) })
</script>`))

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000) }))
