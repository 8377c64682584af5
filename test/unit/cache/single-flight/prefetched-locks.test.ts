import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { FillLocks } from '../../../../src/cache/single-flight/fill-lock.ts'
import { PrefetchedLocks } from '../../../../src/cache/single-flight/prefetched-locks.ts'
import type { PrefetchedLock } from '../../../../src/cache/single-flight/prefetched-locks.ts'
import { CacheStore } from '../../../../src/cache/storage/cache-store.ts'
import { PooledRedis } from '../../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../../src/redis/options.ts'
import { commandTimeout } from '../../../support/deadline.ts'
import { startCluster } from '../../../support/cluster.ts'
import { watchReleases } from '../../../support/lock-releases.ts'
import { reached } from '../../../support/wait-for-redis.ts'
import { startRedis } from '../../../support/redis.ts'
import { until } from '../../../support/until.ts'

const route = 'api:cache:GET:/:'
const keyOf = (id: string) => `${route}{${id}}`
const lockOf = (id: string) => `api:cache:lock:GET:/:{${id}}`

interface Scene { prefetchedLocks: PrefetchedLocks, locks: FillLocks, store: CacheStore, pool: PooledRedis }

/** The prefetched locks of one process; closed with the test. */
async function openProcess (t: Test, url: string): Promise<Scene> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, commandTimeout }))
  t.after(() => pool.disconnect())
  await reached({ redisPool: pool })
  const store = new CacheStore(pool.batch, pool.keyspace, () => pool.server)
  const locks = new FillLocks(pool.batch, pool.keyspace, store)
  const prefetchedLocks = new PrefetchedLocks(locks, store)
  t.after(() => { prefetchedLocks.close(); locks.close() })
  return { prefetchedLocks, locks, store, pool }
}

/** One process, its Redis with a sequence, and the released locks. */
async function start (t: Test) {
  const redis = await startRedis(t)
  const scene = await openProcess(t, redis.url)
  await scene.store.sequenceForFill([])
  return { ...scene, redis, releases: await watchReleases(t, redis.client) }
}

/** The lookup of a request in the same tick, and of a later one that has seen a purge. */
const along = ({ tick }: PrefetchedLock) => ({ tick, minSequence: undefined })
const later = ({ tick }: PrefetchedLock, requiredSequence: number | undefined) => ({ tick: tick + 1, minSequence: requiredSequence })

async function begun ({ prefetchedLocks }: Scene, id: string, tags: string[] = []): Promise<PrefetchedLock> {
  const prefetchedLock = prefetchedLocks.begin(keyOf(id), tags, '/')
  if (prefetchedLock === undefined) throw new Error(`no lock was requested for ${id}`)
  return prefetchedLock
}

/** The result of a prefetched lock for a request of the same tick. */
async function redeemed ({ prefetchedLocks }: Scene, prefetchedLock: PrefetchedLock) {
  await prefetchedLock.reply.settled()
  return prefetchedLocks.validate(prefetchedLock, along(prefetchedLock))
}

t.test('prefetched locks: a claim returns the lock, with the sequence, and sets the versions of its tags', async (t) => {
  const scene = await start(t)
  const { prefetchedLocks, redis: { client } } = scene
  const before = scene.pool.batch.counts.writes

  const prefetchedLock = await begun(scene, 'a', ['one', 'two'])
  t.equal(prefetchedLocks.claim(keyOf('a')), prefetchedLock)
  const taking = await redeemed(scene, prefetchedLock)

  t.equal(scene.pool.batch.counts.writes - before, 1)
  t.match(taking, { status: 'taken', sequence: Number(await client.get('api:cache:seq')) })
  t.equal(await client.get(lockOf('a')), taking?.status === 'taken' && taking.lock.token)
  t.equal(Number(await client.get('api:cache:tag:one')), taking?.sequence)
  t.ok(await client.pttl('api:cache:tag:two') > 0 && await client.pttl(lockOf('a')) > 0)
  prefetchedLocks.release(prefetchedLock)
  await scene.pool.batch.command('PING', [])
  t.ok(await client.exists(lockOf('a')), 'the request that claimed the lock holds it, although the request that prefetched it was rejected')
})

t.test('prefetched locks: concurrent lookups request one lock, and one request claims it', async (t) => {
  const scene = await start(t)
  const { prefetchedLocks } = scene
  const prefetchedLock = await begun(scene, 'a')

  t.equal(prefetchedLocks.begin(keyOf('a'), [], '/'), undefined)
  await prefetchedLock.reply.settled()
  t.equal(prefetchedLocks.begin(keyOf('a'), [], '/'), undefined)

  t.equal(prefetchedLocks.claim(keyOf('a')), prefetchedLock)
  t.equal(prefetchedLocks.claim(keyOf('a')), undefined)
})

t.test('prefetched locks: renewal starts with the claim', async (t) => {
  const scene = await start(t)
  const prefetchedLock = await begun(scene, 'a')
  scene.prefetchedLocks.claim(keyOf('a'))
  await redeemed(scene, prefetchedLock)

  for (let renewals = 0, before = 1000; renewals < 4;) {
    const now = await until(() => scene.redis.client.pttl(lockOf('a')), { what: 'the lock is there' })
    if (now > before) renewals++
    before = now
  }
  t.equal(scene.releases.length, 0, 'and it is not released')
})

t.test('prefetched locks: none is acquired if the entry exists, is locked, or the sequence is unknown', async (t) => {
  const scene = await start(t)
  const { prefetchedLocks, redis: { client } } = scene
  const taken = async (id: string) => {
    const prefetchedLock = await begun(scene, id)
    prefetchedLocks.claim(keyOf(id))
    return await redeemed(scene, prefetchedLock)
  }
  await client.set(keyOf('there'), 'x')
  await client.set(lockOf('held'), '9999999999999999 other')
  await client.set(lockOf('passed'), 'pass')

  t.equal(await taken('there'), undefined)
  t.notOk(await client.exists(lockOf('there')))
  t.equal(await taken('held'), undefined)
  t.equal(await client.get(lockOf('held')), '9999999999999999 other')
  t.match(await taken('passed'), { status: 'pass' })
  await client.del('api:cache:seq')
  t.equal(await taken('unknown'), undefined)
  t.notOk(await client.exists(lockOf('unknown')))
})

t.test('prefetched locks: none is requested if a hit is expected', async (t) => {
  const scene = await start(t)
  const { prefetchedLocks } = scene

  prefetchedLocks.noteHit(keyOf('a'))
  t.equal(prefetchedLocks.begin(keyOf('a'), [], '/'), undefined)
  prefetchedLocks.noteMiss(keyOf('a'))
  t.ok(prefetchedLocks.begin(keyOf('a'), [], '/'))
})

t.test('prefetched locks: a lock older than what the lookup has read is unusable and released', async (t) => {
  const scene = await start(t)
  const { prefetchedLocks, store, redis: { client } } = scene
  const old = async (id: string, look: (prefetchedLock: PrefetchedLock) => Parameters<PrefetchedLocks['validate']>[1]) => {
    const prefetchedLock = await begun(scene, id)
    prefetchedLocks.claim(keyOf(id))
    await prefetchedLock.reply.settled()
    await store.purge(['one'])
    return prefetchedLocks.validate(prefetchedLock, look(prefetchedLock))
  }
  const now = async () => Number(await client.get('api:cache:seq'))

  t.match(await old('a', along), { status: 'taken' })
  const before = await now()
  t.match(await old('b', (prefetchedLock) => later(prefetchedLock, before)), { status: 'taken' })
  t.equal(await old('c', (prefetchedLock) => later(prefetchedLock, Infinity)), undefined)
  t.equal(await old('d', (prefetchedLock) => later(prefetchedLock, undefined)), undefined)
  await until(async () => await client.exists(lockOf('c'), lockOf('d')) === 0, { what: 'they are released' })
  t.equal(await client.exists(lockOf('a'), lockOf('b')), 2)
})

t.test('prefetched locks: unusable while the epoch must be raised', async (t) => {
  const redis = await startRedis(t)
  const scene = await openProcess(t, redis.url)
  await scene.store.sequenceForFill([])
  const prefetchedLock = await begun(scene, 'a')
  await redis.client.del(await redis.client.keys('api:cache:epoch*'))
  await scene.store.look(keyOf('b'), [], () => undefined).settled()

  scene.prefetchedLocks.claim(keyOf('a'))

  t.equal(scene.store.isReady, false)
  t.equal(await redeemed(scene, prefetchedLock), undefined)
})

t.test('prefetched locks: released at once, before or after the reply of Redis', async (t) => {
  for (const isSettled of [false, true]) {
    const scene = await start(t)
    const { prefetchedLocks, redis: { client }, releases } = scene
    const prefetchedLock = await begun(scene, 'a')
    if (isSettled) await prefetchedLock.reply.settled()

    prefetchedLocks.release(prefetchedLock)
    prefetchedLocks.release(prefetchedLock)

    t.equal(prefetchedLocks.claim(keyOf('a')), undefined)
    await until(() => releases.length > 0, { what: 'it is released' })
    t.same(releases, [lockOf('a')])
    t.notOk(await client.exists(lockOf('a')))
  }
})

t.test('prefetched locks: an unused lock does not block other requests', async (t) => {
  const scene = await start(t)
  await begun(scene, 'a')
  await begun(scene, 'b')

  await until(() => scene.releases.length === 2, { what: 'both are released' })

  t.same(scene.releases.sort(), [lockOf('a'), lockOf('b')])
  t.equal(scene.prefetchedLocks.claim(keyOf('a')), undefined)
})

t.test('prefetched locks: repeatedly rejected requests do not prefetch each time', async (t) => {
  const scene = await start(t)
  const { prefetchedLocks } = scene
  const begunAt = performance.now()
  let made = 0

  for (let count = 0; count < 200; count++) {
    const prefetchedLock = prefetchedLocks.begin(keyOf(`${count}`), [], '/')
    if (prefetchedLock !== undefined) {
      made += 1
      prefetchedLocks.release(prefetchedLock)
      await prefetchedLock.reply.settled()
    }
    await turn()
  }

  t.ok(made <= 1 + (performance.now() - begunAt) / 1000, `${made} were made`)
  t.ok(prefetchedLocks.begin(keyOf('other'), [], '/other'), 'another route is not affected')
})

t.test('prefetched locks: unusable when Redis fails, and no promise stays pending', async (t) => {
  const scene = await start(t)
  await scene.redis.kill()

  const prefetchedLock = await begun(scene, 'a')
  scene.prefetchedLocks.claim(keyOf('a'))

  t.equal(await redeemed(scene, prefetchedLock), undefined)
  const next = scene.prefetchedLocks.begin(keyOf('b'), [], '/')
  await next?.reply.settled()
  t.equal(scene.prefetchedLocks.claim(keyOf('b')), undefined)
})

t.test('prefetched locks: none in a Cluster, where sequence and lock are in different slots', async (t) => {
  const { url } = await startCluster(t)
  const scene = await openProcess(t, url)
  await until(() => scene.store.isCluster, { what: 'it knows the cluster' })

  t.equal(scene.prefetchedLocks.begin(keyOf('a'), [], '/'), undefined)
})
