import { test } from 'tap'
import type { Test } from 'tap'
import { RedisUnavailableError } from '../../../src/shared/errors.ts'
import type { Batch } from '../../../src/redis/batch/batch.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { SessionManager } from '../../../src/session/session-manager.ts'
import type { Revocation } from '../../../src/session/session-manager.ts'
import { resolveSessionPolicy } from '../../../src/session/options.ts'
import { userSubject } from '../../../src/session/session-token.ts'
import type { SessionToken } from '../../../src/session/session-token.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const beginning = { idleMs: 3_600_000, absoluteMs: 3_600_000, label: undefined, document: '{}' }

test('the house', async (t) => {
  const redis = await startRedis(t)
  const [sessionManager, other] = [await openHouse(t, redis.url), await openHouse(t, redis.url)]
  const begin = async (user: string) => await sessionManager.create(userSubject(user), beginning)

  t.test('does not believe a server that brings back what was ended here, and tells it', async (t) => {
    const { token, value } = await begin('ada')
    await sessionManager.end(token)
    await redis.client.hset(token.key, token.field, value)

    t.equal(await liveIn(sessionManager, token), undefined)
    t.ok(await liveIn(other, token), 'another process cannot know')
    await sessionManager.tombstones.republish()
    t.equal(await liveIn(other, token), undefined)
  })

  t.test('remembers each way in which a session ends', async (t) => {
    const [out, named, others, all, rotated] = [await begin('a'), await begin('b'), await begin('b'), await begin('c'), await begin('d')]
    await sessionManager.end(out.token)
    const [device = { id: '' }] = (await sessionManager.devices('b')).filter(({ createdAt }) => createdAt === named.token.createdAt)
    t.equal(await sessionManager.endDevice(others.token, device.id), true)
    await sessionManager.endOthers((await begin('b')).token)
    await sessionManager.revokeAll('c')
    await sessionManager.rotate(rotated.token, { ...rotated.token, field: 'x'.repeat(22) })

    for (const { token } of [out, named, others, all, rotated]) t.equal(sessionManager.tombstones.has(token), true)
  })

  t.test('tells who listens of every session that ended before its time, by user and public name', async (t) => {
    const heard: Revocation[] = []
    const stop = sessionManager.onRevoked((revocation) => heard.push(revocation))
    const { token } = await begin('hedy')
    const [device] = await sessionManager.devices('hedy')
    await sessionManager.end(token)
    await sessionManager.end(token)
    stop()
    await begin('hedy')
    await sessionManager.revokeAll('hedy')

    t.same(heard, [{ userId: 'hedy', devices: [device?.id] }])
  })

  t.test('ends what it may have begun, and what a sign-in has left behind, once Redis answers', async (t) => {
    const pool = new PooledRedis(resolveRedisPolicy({ url: redis.url, min: 1 }))
    t.after(() => { pool.disconnect() })
    await reached({ redisPool: pool })
    let [isDeaf, isAway] = [false, false]
    const batch = {
      runScript: async (...args: Parameters<Batch['runScript']>) => {
        if (isAway) throw new RedisUnavailableError('no connection')
        const answer = await pool.batch.runScript(...args)
        if (isDeaf) throw new RedisUnavailableError('the answer was lost')
        return answer
      }
    } as unknown as Batch
    const deaf = new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), batch, pool.keyspace)
    t.after(() => { deaf.tombstones.close() })
    const { token } = await begin('left')
    const moved = { ...token, field: 'm'.repeat(22) }
    isDeaf = true
    await t.rejects(deaf.create(userSubject('begun'), beginning), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
    t.equal(await redis.client.exists('session:{begun}'), 1, 'it had begun')
    isDeaf = false

    await until(async () => await redis.client.exists('session:{begun}') === 0, { what: 'it is ended' })
    await other.rotate(token, moved)
    isAway = true
    await deaf.endReplaced(token)
    t.equal(deaf.acceptLoad(token, { value: '', touchedAt: undefined, isEarlier: false }), undefined)
    isAway = false
    await until(async () => await redis.client.exists(token.key) === 0, { what: 'so is what was left behind, though it has another id now' })
  })

  t.test('lets a device that was ended end no other', async (t) => {
    const [first, second] = [await begin('kay'), await begin('kay')]
    const [mine, theirs] = [first, second].map(({ token }) => token)
    await sessionManager.end(first.token)

    await t.rejects(sessionManager.endOthers(mine ?? first.token), { code: 'PRISM_ERR_SESSION_ENDED' })
    t.ok(await liveIn(other, theirs ?? second.token))
  })
})

async function liveIn (sessionManager: SessionManager, token: SessionToken): Promise<unknown> {
  return sessionManager.acceptLoad(token, await sessionManager.load(token).promise())
}

async function openHouse (t: Test, url: string): Promise<SessionManager> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 1 }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  return new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
}
