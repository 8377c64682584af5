import tap, { test } from 'tap'
import type { Batch } from '../../../src/redis/batch/batch.ts'
import { Keys } from '../../../src/redis/keys.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { SessionData } from '../../../src/session/session-data.ts'
import { SaveQueue } from '../../../src/session/save-queue.ts'
import { SessionStore } from '../../../src/session/session-store.ts'
import { readSessionRecord } from '../../../src/session/session-record.ts'
import { newToken, userSubject } from '../../../src/session/session-token.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { startRig, faults } from '../../support/faults.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { until } from '../../support/until.ts'

tap.setTimeout(300_000)

test('save queue', { timeout: 300_000 }, async (t) => {
  const rig = await startRig(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url: rig.url, commandTimeout }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  let scriptCalls = 0
  const counting = {
    runScript: (...args: Parameters<Batch['runScript']>) => { scriptCalls += 1; return pool.batch.runScript(...args) },
    enqueueScript: (...args: Parameters<Batch['enqueueScript']>) => pool.batch.enqueueScript(...args)
  } as unknown as Batch
  const store = new SessionStore(counting)
  const begin = async (user: string) => {
    const token = newToken(new Keys(), userSubject(user))
    const { value } = await store.create(token, { idleMs: 3_600_000, absoluteMs: 3_600_000, label: undefined, document: '{}' })
    scriptCalls = 0
    return { token, value }
  }
  const writing = (key: string, value: unknown, text = '{}') => {
    const data = new SessionData(text)
    data.set(key, value)
    return data
  }

  t.test('saves a hundred concurrent writers of one device in one round trip each', async (t) => {
    const { token, value } = await begin('queue')
    const saveQueue = new SaveQueue(store, new Map())
    await Promise.all(Array.from({ length: 100 }, (_, index) => saveQueue.save(token, value, writing(`k${index}`, index))))

    t.equal(scriptCalls, 100)
    t.equal(Object.keys(JSON.parse(readSessionRecord((await store.load(token).promise())?.value ?? '').document)).length, 100)
  })

  t.test('merges with the session record of the conflict reply, without a read', async (t) => {
    const { token, value } = await begin('merge')
    await new SaveQueue(store, new Map()).save(token, value, writing('theirs', 1))
    scriptCalls = 0
    const saved = await new SaveQueue(store, new Map()).save(token, value, writing('mine', 2))

    t.equal(readSessionRecord(saved).document, '{"theirs":1,"mine":2}')
    t.equal(scriptCalls, 2)
  })

  t.test('does not fail the writer after a conflict', async (t) => {
    const { token, value } = await begin('conflict')
    const saveQueue = new SaveQueue(store, new Map())
    const outcomes = await Promise.allSettled([1, 2, 3].map((number) => {
      const data = new SessionData('{}')
      const key = number === 3 ? 'other' : 'same'
      data.get(key)
      data.set(key, number)
      return saveQueue.save(token, value, data)
    }))

    t.same(outcomes.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled'])
    t.match(outcomes[1], { reason: { code: 'PRISM_ERR_SESSION_CONFLICT' } })
  })

  t.test('does not restore an ended session', async (t) => {
    const { token, value } = await begin('gone')
    await store.revoke(token.key, { which: 'these', names: [token.field] })

    await t.rejects(new SaveQueue(store, new Map()).save(token, value, writing('a', 1)), { code: 'PRISM_ERR_SESSION_ENDED', statusCode: 401 })
    // For some milliseconds the key holds the last creation.
    await until(async () => await rig.control.exists(token.key) === 0, { what: 'the key is gone' })
  })

  t.test('fails all queued saves when Redis does not respond', async (t) => {
    const { token, value } = await begin('hung')
    const saveQueue = new SaveQueue(store, new Map())
    await faults.hung.inject(rig)
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, index) => saveQueue.save(token, value, writing(`k${index}`, index))))
    await faults.hung.heal(rig)

    t.ok(outcomes.every((outcome) => outcome.status === 'rejected' && outcome.reason.code === 'PRISM_ERR_REDIS_UNAVAILABLE'))
    t.equal(scriptCalls, 1, 'only the first was sent')
    await until(() => saveQueue.save(token, value, writing('after', 1)), { what: 'a save succeeds' })
  })
})
