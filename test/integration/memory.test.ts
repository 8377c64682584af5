import { setTimeout as sleep } from 'node:timers/promises'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import prism from '../../plugins/index.ts'
import type { PrismOptions } from '../../plugins/index.ts'
import { testSecret } from '../support/app.ts'
import type { Owner } from '../support/cleanup-scope.ts'
import { until } from '../support/until.ts'

async function open (owner: Owner, options: PrismOptions = {}, declare: (app: FastifyInstance) => void = () => {}): Promise<FastifyInstance> {
  const app = fastify()
  owner.after(() => app.close())
  await app.register(prism, { redis: 'memory', session: { secrets: [testSecret] }, ...options })
  declare(app)
  await app.ready()
  return app
}

const statusOf = (response: { headers: Record<string, unknown> }) => String(response.headers['cache-status'])

t.test('a response is stored, served, and purged by its tag', async (t) => {
  let runs = 0
  const app = await open(t, {}, (app) => {
    app.get('/page', { config: { cache: { ttl: '5m', tags: ['pages'] } } }, () => ({ runs: ++runs }))
  })

  t.match(statusOf(await app.inject('/page')), /fwd=miss; stored/)
  await until(async () => /hit/.test(statusOf(await app.inject('/page'))), { what: 'a hit' })
  t.equal(runs, 1)
  await app.cache.purge('pages')
  t.match(statusOf(await app.inject('/page')), /fwd=miss/)
  t.equal((await app.inject('/page')).json<{ runs: number }>().runs, 2)
})

t.test('the handler runs once for concurrent requests, in two apps on one named memory', async (t) => {
  let runs = 0
  const declare = (app: FastifyInstance) => {
    app.get('/slow', { config: { cache: { ttl: '5m' } } }, async () => {
      await sleep(100)
      return { runs: ++runs }
    })
  }
  const redis = { url: 'memory://shared-by-two' }
  const apps = [await open(t, { redis }, declare), await open(t, { redis }, declare)]

  const responses = await Promise.all(Array.from({ length: 20 }, (_, index) => apps[index % 2]?.inject('/slow')))
  t.same(new Set(responses.map((response) => response?.body)), new Set(['{"runs":1}']))
  t.equal(runs, 1)
})

t.test('an app with a memory of its own shares nothing', async (t) => {
  const [one, other] = [await open(t), await open(t)]
  await one.redis.set('key', 'value')

  t.equal(await one.redis.get('key'), 'value')
  t.equal(await other.redis.get('key'), null)
})

t.test('sessions are signed in, read, rotated, saved, listed and revoked', async (t) => {
  const app = await open(t, {}, (app) => {
    app.post('/in', async ({ session }) => { await session.signIn('ada') })
    app.post('/rotate', async ({ session }) => { await session.rotate() })
    app.put<{ Body: { note: string } }>('/note', async ({ session, body }) => { session.set('test-note', body.note) })
    app.get('/me', { config: { session: 'required' } }, ({ session }) => ({ user: session.userId, note: session.get('test-note') ?? null }))
  })
  const cookieOf = (response: { cookies: { name: string, value: string }[] }) => response.cookies.map(({ name, value }) => `${name}=${value}`).join('; ')
  const first = cookieOf(await app.inject({ method: 'POST', url: '/in' }))
  const me = (cookie: string) => app.inject({ url: '/me', headers: { cookie } })

  t.same((await me(first)).json(), { user: 'ada', note: null })
  await app.inject({ method: 'PUT', url: '/note', headers: { cookie: first }, payload: { note: 'é' } })
  t.same((await me(first)).json(), { user: 'ada', note: 'é' })
  const second = cookieOf(await app.inject({ method: 'POST', url: '/rotate', headers: { cookie: first } }))
  t.equal((await me(first)).statusCode, 401)
  t.same((await me(second)).json(), { user: 'ada', note: 'é' })
  t.equal((await app.sessions.devices('ada')).length, 1)
  t.equal(await app.sessions.revokeAll('ada'), 1)
  t.equal((await me(second)).statusCode, 401)
})

for (const limit of [{ algorithm: 'sliding' }, { algorithm: 'fixed' }, { algorithm: 'gcra', burst: 3 }] as const) {
  t.test(`a quota of 3 lets 3 requests pass (${limit.algorithm})`, async (t) => {
    const app = await open(t, { rateLimit: { quota: 3, window: '1h', ...limit } }, (app) => { app.get('/', () => 'fine') })
    const statuses: number[] = []
    for (let count = 0; count < 5; count++) statuses.push((await app.inject('/')).statusCode)

    t.same(statuses, [200, 200, 200, 429, 429])
    t.equal((await app.inject({ url: '/', remoteAddress: '192.0.2.7' })).statusCode, 200)
  })
}

t.test('a concurrency limit admits as many requests as it has slots', async (t) => {
  const gate = Promise.withResolvers<void>()
  const app = await open(t, {}, (app) => {
    app.get('/held', { config: { rateLimit: { concurrency: 2 } } }, async () => {
      await gate.promise
      return 'done'
    })
  })
  const requests = Array.from({ length: 4 }, () => app.inject('/held'))
  const rejected = await Promise.race([Promise.any(requests), sleep(10_000)])
  gate.resolve()

  t.match(rejected, { statusCode: 429 })
  t.same((await Promise.all(requests)).map(({ statusCode }) => statusCode).sort(), [200, 200, 429, 429])
})

t.test('events are delivered in order, and a subscriber resumes after the last one that it saw', async (t) => {
  const app = await open(t)
  const seen: unknown[] = []
  await app.events.subscribe('news', (event) => { seen.push(event.data) })
  for (const data of [1, 2, 3]) await app.events.publish('news', { type: 'count', data })
  await until(() => seen.length === 3, { what: 'three events' })
  t.same(seen, [1, 2, 3])

  const resumed: unknown[] = []
  const [first] = await app.redis.xrange(app.redisPool.keyspace.topicLog('news'), '-', '+').then((entries) => entries.filter(([, [name]]) => name === 'prev'))
  await app.events.subscribe('news', (event) => { resumed.push(event.data) }, { from: first?.[0] })
  await until(() => resumed.length === 2, { what: 'the missed events' })
  t.same(resumed, [2, 3])
})

t.test('transactions, pipelines and leases work as with a server', async (t) => {
  const app = await open(t)

  t.same(await app.redis.multi().set('n', 1).incr('n').exec(), [[null, 'OK'], [null, 2]])
  t.same(await app.redis.pipeline().get('n').lpush('list', 'a', 'b').lrange('list', 0, -1).exec(), [[null, '2'], [null, 2], [null, ['b', 'a']]])
  await using lease = await app.redisPool.lease()
  await lease.client.watch('n')
  await app.redis.incr('n')
  t.equal(await lease.client.multi().set('n', 'lost').exec(), null)
  await t.rejects(app.redis.call('XGROUP', 'CREATE', 's', 'g', '$'), /unknown command 'XGROUP'. redis: 'memory' implements/)
})

t.test('the memory can be inspected as a server: INFO, SCAN, MEMORY USAGE, CLIENT LIST', async (t) => {
  const app = await open(t)
  await app.redis.mset(Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`scanned:${index}`, 'x'])))
  const found = new Set<string>()
  let cursor = '0'
  do {
    const [next, keys] = await app.redis.scan(cursor, 'MATCH', 'scanned:*', 'COUNT', 7)
    for (const key of keys) found.add(key)
    cursor = next
  } while (cursor !== '0')

  t.equal(found.size, 25)
  t.match(await app.redis.info(), /run_id:[0-9a-f]{40}\r\n[^]*maxmemory_policy:noeviction/)
  t.ok(Number(await app.redis.memory('USAGE', 'scanned:1')) > 0)
  t.match(await app.redis.client('LIST'), /^(id=\d+ .*\n){5,}$/)
  t.equal(app.redisPool.state, 'ready')
})

t.test('messages reach the subscribers of a channel and of a pattern', async (t) => {
  const app = await open(t)
  const subscriber = app.redisPool.duplicate()
  t.after(() => subscriber.disconnect())
  const seen: string[] = []
  subscriber.on('message', (channel, text) => seen.push(`${channel} ${text}`))
  subscriber.on('pmessage', (pattern, channel, text) => seen.push(`${pattern} ${channel} ${text}`))
  await subscriber.subscribe('news')
  await subscriber.psubscribe('n?w[a-s]*')

  t.equal(await app.redis.publish('news', 'one'), 2)
  t.equal(await app.redis.publish('nXw', 'two'), 0)
  await until(() => seen.length === 2, { what: 'two messages' })
  t.same(seen, ['news one', 'n?w[a-s]* news one'])
})
