import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import type { RedisOptions } from '../../../src/redis/options.ts'

t.test('policy has defaults', async (t) => {
  const policy = resolveRedisPolicy()

  t.same(policy, { from: { kind: 'server', options: { host: '127.0.0.1', port: 6379, db: 0 } }, connection: {}, min: 5, max: 10, prefix: '', deadlineMs: 200 })
  t.ok(Object.isFrozen(policy))
})

t.test('policy raises its maximum to its minimum', async (t) => {
  t.match(resolveRedisPolicy({ min: 20 }), { min: 20, max: 20 })
  t.match(resolveRedisPolicy({ min: 1, max: 1 }), { min: 1, max: 1 })
})

t.test('policy accepts commandTimeout as a duration or in milliseconds', async (t) => {
  t.equal(resolveRedisPolicy({ commandTimeout: '1.5s' }).deadlineMs, 1500)
  t.equal(resolveRedisPolicy({ commandTimeout: 50 }).deadlineMs, 50)
})

t.test('policy accepts a client of the app, for one server or a Cluster', async (t) => {
  const redis = new Redis({ lazyConnect: true })
  const cluster = new Cluster([], { lazyConnect: true })

  t.equal(resolveRedisPolicy({ client: redis }).from, redis)
  t.equal(resolveRedisPolicy({ client: cluster }).from, cluster)
  redis.disconnect()
  cluster.disconnect()
})

t.test('policy rejects invalid options', async (t) => {
  const wrong: [unknown, string][] = [
    [{ uri: 'redis://host' }, 'redis.uri'],
    [{ url: '' }, 'redis.url'],
    [{ url: 'http://host' }, 'redis.url'],
    [{ client: {} }, 'redis.client'],
    [{ url: 'redis://host', client: 'redis' }, 'redis.client'],
    [{ min: 0 }, 'redis.min'],
    [{ min: 1.5 }, 'redis.min'],
    [{ min: 5, max: 4 }, 'redis.max'],
    [{ max: '10' }, 'redis.max'],
    [{ connection: { db: NaN } }, 'redis.connection.db'],
    [{ connection: { db: -1 } }, 'redis.connection.db'],
    [{ connection: { db: '5' } }, 'redis.connection.db'],
    [{ url: 'redis://a,redis://b', connection: { db: 5 } }, 'redis.connection.db'],
    [{ commandTimeout: 'soon' }, 'redis.commandTimeout'],
    [{ commandTimeout: 9 }, 'redis.commandTimeout'],
    [{ commandTimeout: '11s' }, 'redis.commandTimeout'],
    [{ prefix: 5 }, 'redis.prefix'],
    [{ prefix: 'shop:{1}' }, 'redis.prefix'],
    [{ connection: { retryStrategy: () => 5 } }, 'redis.connection.retryStrategy'],
    [{ connection: 'tls' }, 'redis.connection']
  ]

  for (const [options, option] of wrong) t.throws(() => resolveRedisPolicy(options as RedisOptions), { code: 'PRISM_ERR_OPTION', message: new RegExp(`^(?:Unknown o|O)ption ${option.replaceAll('.', '\\.')}(?: must be|[.])`) }, option)
})
