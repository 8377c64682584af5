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
import { commandTimeout } from '../../support/deadline.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const beginning = { idleMs: 3_600_000, absoluteMs: 3_600_000, label: undefined, document: '{}' }

test('session manager', async (t) => {
  const redis = await startRedis(t)
  const [sessionManager, other] = [await openManager(t, redis.url), await openManager(t, redis.url)]
  const begin = async (user: string) => await sessionManager.create(userSubject(user), beginning)

  t.test('rejects a session that ended here and that the server restores, and revokes it again', async (t) => {
    const { token, value } = await begin('ada')
    await sessionManager.end(token)
    await redis.client.hset(token.key, token.field, value)

    t.equal(await liveIn(sessionManager, token), undefined)
    t.ok(await liveIn(other, token), 'another process does not know')
    await sessionManager.tombstones.republish()
    t.equal(await liveIn(other, token), undefined)
  })

  t.test('adds a tombstone for each way in which a session ends', async (t) => {
    const [out, named, others, all, rotated] = [await begin('a'), await begin('b'), await begin('b'), await begin('c'), await begin('d')]
    await sessionManager.end(out.token)
    const [device = { id: '' }] = (await sessionManager.devices('b')).filter(({ createdAt }) => createdAt === named.token.createdAt)
    t.equal(await sessionManager.endDevice(others.token, device.id), true)
    await sessionManager.endOthers((await begin('b')).token)
    await sessionManager.revokeAll('c')
    await sessionManager.rotate(rotated.token, { ...rotated.token, field: 'x'.repeat(22) })

    for (const { token } of [out, named, others, all, rotated]) t.equal(sessionManager.tombstones.has(token), true)
  })

  t.test('reports every session that ended early to listeners, by user and device ID', async (t) => {
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

  t.test('ends a session with an unknown creation result, and the session that a sign-in replaced, once Redis responds', async (t) => {
    const pool = new PooledRedis(resolveRedisPolicy({ url: redis.url, min: 1, commandTimeout }))
    t.after(() => { pool.disconnect() })
    await reached({ redisPool: pool })
    let [losesReplies, isAway] = [false, false]
    const batch = {
      runScript: async (...args: Parameters<Batch['runScript']>) => {
        if (isAway) throw new RedisUnavailableError('no connection')
        const reply = await pool.batch.runScript(...args)
        if (losesReplies) throw new RedisUnavailableError('the reply was lost')
        return reply
      }
    } as unknown as Batch
    const failing = new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), batch, pool.keyspace)
    t.after(() => { failing.tombstones.close() })
    const { token } = await begin('left')
    const moved = { ...token, field: 'm'.repeat(22) }
    losesReplies = true
    await t.rejects(failing.create(userSubject('begun'), beginning), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
    t.equal(await redis.client.exists('session:{begun}'), 1, 'the session was created')
    losesReplies = false

    await until(async () => await redis.client.exists('session:{begun}') === 0, { what: 'the session is ended' })
    await other.rotate(token, moved)
    isAway = true
    await failing.endReplaced(token)
    t.equal(failing.acceptLoad(token, { value: '', touchedAt: undefined, isEarlier: false }), undefined)
    isAway = false
    await until(async () => await redis.client.exists(token.key) === 0, { what: 'the replaced session is ended, also under its new ID' })
  })

  t.test('rejects ending other devices from a session that has ended', async (t) => {
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

async function openManager (t: Test, url: string): Promise<SessionManager> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 1, commandTimeout }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  return new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
}
