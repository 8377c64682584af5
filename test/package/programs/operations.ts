import Fastify from 'fastify'
import prism from 'fastify-prism'
import live from 'fastify-prism/live'
import metrics from 'fastify-prism/metrics'
import { until } from './until.ts'

const app = Fastify()
await app.register(prism, { redis: { url: process.env.REDIS_URL, prefix: 'operations:' }, session: { secrets: [process.env.SESSION_SECRET ?? ''] } })
await app.register(metrics, { path: '/internal/metrics' })
await app.register(live, { paths: { websocket: '/socket', stream: '/stream', client: '/scripts/live.js' } })
await until(() => app.redisPool.state === 'ready')
let described: unknown
app.addHook('onRoute', ({ url, config }) => { if (url === '/kept/:id') described = app.requestLifecycle.describe(config) })
app.get<{ Params: { id: string } }>('/kept/:id', { config: { cache: { ttl: '1m', tags: ['all'] } } }, async ({ params }) => params)
const statusOf = async (url: string) => (await app.inject(url)).statusCode
const inspect = async () => await app.cache.inspect('/kept/:id', { url: '/kept/1', protocol: 'http', host: 'localhost:80', params: { id: '1' }, query: {} })

const before = await inspect()
const first = await app.inject('/kept/1')
await until(async () => (await inspect()).found === 'fresh')
const stored = await inspect()
const { body } = await app.inject('/internal/metrics')
const client = await app.inject('/scripts/live.js')
const result = {
  before,
  stored: 'fields' in stored ? [stored.status, stored.route, stored.tags] : stored,
  first: first.statusCode,
  described,
  counts: /^prism_http_requests_total\{[^}]*route="\/kept\/:id"[^}]*\} 1$/m.test(body),
  client: [client.statusCode, client.body.length > 100],
  elsewhere: await Promise.all(['/metrics', '/live.js', '/live', '/events'].map(statusOf))
}
await app.close()
console.log(JSON.stringify(result))
