import t from 'tap'
import { CacheStore } from '../../../../src/cache/storage/cache-store.ts'
import { PooledRedis } from '../../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../../src/redis/options.ts'
import { commandTimeout } from '../../../support/deadline.ts'
import { reached } from '../../../support/wait-for-redis.ts'
import { startRedis } from '../../../support/redis.ts'

const minute = 60_000
const day = 86_400_000
const marker = 'api:cache:tag:a'

t.test('store extends the lifetime of sequence and tag versions beyond that of entries, at most once per interval', async (t) => {
  const { url, client } = await startRedis(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url, commandTimeout }))
  t.after(() => pool.disconnect())
  await reached({ redisPool: pool })
  const store = new CacheStore(pool.batch, pool.keyspace, () => pool.server)
  const sequence = await store.sequenceForFill(['a'])
  const keep = (lifetimeMs: number, tags = ['a']) => store.write('api:cache:GET:/:{x}', { tags, sequence }, 'x', lifetimeMs)
  const left = async () => Math.round(await client.pttl(marker) / minute)
  await client.pexpire(marker, minute)
  await client.pexpire('api:cache:seq', minute)

  t.equal(await keep(minute), true)
  t.equal(await left(), day / minute)
  t.equal(Math.round(await client.pttl('api:cache:seq') / minute), day / minute)

  await client.pexpire(marker, minute)
  t.equal(await keep(minute), true)
  t.equal(await left(), 1, 'it was extended a moment ago')
  t.equal(await keep(minute, ['a', 'b']), true)
  t.equal(await left(), day / minute, 'with a tag that was not extended yet')

  t.equal(await keep(2 * day), true)
  t.equal(await left(), 4 * day / minute)
  await client.pexpire(marker, minute)
  t.equal(await keep(2 * day), true)
  t.equal(await left(), 4 * day / minute, 'each time, if a purge would shorten it')
})
