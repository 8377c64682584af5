import t from 'tap'
import type { CacheRequest } from '../../plugins/cache.ts'
import { stored } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { signIn, withUsers } from '../support/signed-in-users.ts'

t.test('cache separates the users of a partition, and serves partitions only with a valid session', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  app.get('/', { config: { cache: { partition: 'user' } } }, async (request) => `${request.session.userId ?? 'anonymous'} ${request.session.get('colour') ?? ''} ${++runs}`)
  const [alice, bob, phone] = [await signIn(app, 'alice'), await signIn(app, 'bob'), await signIn(app, 'alice')]
  const read = async (cookie: string) => {
    const reply = await app.inject({ url: '/', headers: { cookie } })
    await stored(app)
    t.match(reply.headers['cache-control'], 'private')
    return reply.body
  }

  t.same([await read(alice), await read(bob), await read(alice), await read(bob), await read(phone)], ['alice blue 1', 'bob blue 2', 'alice blue 1', 'bob blue 2', 'alice blue 1'])
  await app.inject({ method: 'POST', url: '/sign-out', headers: { cookie: alice } })
  t.same([await read(alice), await read(''), await read(`${bob.slice(0, -3)}xyz`), await read(bob), await read(phone)], ['anonymous  3', 'anonymous  4', 'anonymous  5', 'bob blue 2', 'alice blue 1'])
})

t.test('cache reads a partition and the session in one write; a partition by function takes two', async (t) => {
  const app = await withUsers(t)
  const partitions = { user: 'user', session: 'session', function: (request: CacheRequest) => request.session.userId } as const
  for (const [path, partition] of Object.entries(partitions)) {
    app.get(`/${path}`, { config: { cache: { partition, tags: ['mine'] } } }, async (request) => request.session.userId)
  }
  const alice = await signIn(app, 'alice')

  for (const [path, writes] of [['user', 1], ['session', 1], ['function', 2]] as const) {
    await app.inject({ url: `/${path}`, headers: { cookie: alice } })
    await stored(app)
    const before = app.redisPool.batch.counts.writes
    const reply = await app.inject({ url: `/${path}`, headers: { cookie: alice } })

    t.match(reply.headers['cache-status'], /hit/, path)
    t.equal(app.redisPool.batch.counts.writes - before, writes, path)
  }
})

t.test('cache serves no partition to a session that ended between two requests, whichever way it ended', async (t) => {
  const { url } = await startRedisProcess(t)
  const [app, other] = [await withUsers(t, url), await withUsers(t, url)]
  for (const partition of ['user', 'session'] as const) app.get(`/${partition}`, { config: { cache: { partition } } }, async (request) => `for ${request.session.userId ?? 'anonymous'}`)
  const read = async (path: string, cookie: string) => {
    const { body, headers: { 'cache-status': status } } = await app.inject({ url: path, headers: { cookie } })
    await stored(app)
    return `${body} ${/hit/.test(String(status)) ? 'kept' : 'made'}`
  }
  const ends: Record<string, (cookie: string) => Promise<unknown>> = {
    'signed out at another process': (cookie) => other.inject({ method: 'POST', url: '/sign-out', headers: { cookie } }),
    'revoked, all of the user\'s': () => other.sessions.revokeAll('alice'),
    'lost by Redis': async () => { await app.redis.unlink(await app.redis.keys('session:*')) }
  }

  for (const [how, end] of Object.entries(ends)) {
    const alice = await signIn(app, 'alice')
    for (const path of ['/user', '/session']) await read(path, alice)
    t.same([await read('/user', alice), await read('/session', alice)], ['for alice kept', 'for alice kept'])
    await end(alice)
    t.same([await read('/user', alice), await read('/session', alice)], ['for anonymous made', 'for anonymous made'], how)
  }
})

t.test('cache partitions by session, and by the result of a function that runs after the guards', async (t) => {
  const app = await withUsers(t)
  let runs = 0
  app.decorateRequest('user', '')
  app.get('/device', { config: { cache: { partition: 'session' } } }, async (request) => `${request.session.userId} ${++runs}`)
  app.get('/tenant', {
    config: { cache: { partition: (request) => (request as unknown as { user: string }).user || undefined } },
    preHandler: async (request) => { (request as unknown as { user: string }).user = String(request.headers['x-user'] ?? '') }
  }, async (request) => `${(request as unknown as { user: string }).user} ${++runs}`)
  const [laptop, phone] = [await signIn(app, 'alice'), await signIn(app, 'alice')]
  const read = async (url: string, headers: Record<string, string>) => {
    const { body } = await app.inject({ url, headers })
    await stored(app)
    return body
  }

  t.same([await read('/device', { cookie: laptop }), await read('/device', { cookie: phone }), await read('/device', { cookie: laptop })], ['alice 1', 'alice 2', 'alice 1'])
  t.same([await read('/tenant', { 'x-user': 'a' }), await read('/tenant', { 'x-user': 'b' }), await read('/tenant', { 'x-user': 'a' }), await read('/tenant', {}), await read('/tenant', {})], ['a 3', 'b 4', 'a 3', ' 5', ' 6'])
})

t.test('cache marks a partitioned response as private for other caches, also in a 304', async (t) => {
  const app = await withUsers(t)
  let isFirst = true
  app.get('/', { config: { cache: { partition: 'user' } } }, async (_request, reply) => {
    reply.headers({ etag: '"a"', 'cache-control': 'max-age=60', age: isFirst ? '100' : '0' })
    if (!isFirst) return reply.code(304).send()
    isFirst = false
    return 'x'
  })
  const alice = await signIn(app, 'alice')

  for (const status of [/stored$/, /fwd-status=304; stored/, /hit/]) {
    const { headers } = await app.inject({ url: '/', headers: { cookie: alice } })
    await stored(app)
    t.match(headers['cache-status'], status)
    t.equal(headers['cache-control'], 'private, max-age=60')
  }
})
