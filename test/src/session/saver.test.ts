import tap, { test } from 'tap'
import type { Batch } from '../../../src/redis/batch.ts'
import { Keys } from '../../../src/redis/keys.ts'
import { Pool } from '../../../src/redis/pool.ts'
import { resolveRedisPolicy } from '../../../src/redis/policy.ts'
import { Document } from '../../../src/session/document.ts'
import { Saver } from '../../../src/session/saver.ts'
import { SessionStore } from '../../../src/session/store.ts'
import { readStored } from '../../../src/session/stored.ts'
import { newTicket, userBearer } from '../../../src/session/ticket.ts'
import { startRig, faults } from '../../helpers/faults.ts'
import { reached } from '../../helpers/reached.ts'
import { until } from '../../helpers/until.ts'

tap.setTimeout(120_000)

test('the saver', { timeout: 120_000 }, async (t) => {
  const rig = await startRig(t)
  const pool = new Pool(resolveRedisPolicy({ url: rig.url }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  let asks = 0
  const counting = {
    ask: (...args: Parameters<Batch['ask']>) => { asks += 1; return pool.batch.ask(...args) },
    asking: (...args: Parameters<Batch['asking']>) => pool.batch.asking(...args)
  } as unknown as Batch
  const store = new SessionStore(counting)
  const begin = async (user: string) => {
    const ticket = newTicket(new Keys(), userBearer(user))
    const { value } = await store.create(ticket, { idleMs: 3_600_000, absoluteMs: 3_600_000, label: undefined, document: '{}' })
    asks = 0
    return { ticket, value }
  }
  const writing = (key: string, value: unknown, text = '{}') => {
    const document = new Document(text)
    document.set(key, value)
    return document
  }

  t.test('lets a hundred writers of one device in one process cost a round trip each', async (t) => {
    const { ticket, value } = await begin('queue')
    const saver = new Saver(store, new Map())
    await Promise.all(Array.from({ length: 100 }, (_, index) => saver.save(ticket, value, writing(`k${index}`, index))))

    t.equal(asks, 100)
    t.equal(Object.keys(JSON.parse(readStored((await store.load(ticket).promise())?.value ?? '').document)).length, 100)
  })

  t.test('merges what another process saved with what came back, without reading', async (t) => {
    const { ticket, value } = await begin('merge')
    await new Saver(store, new Map()).save(ticket, value, writing('theirs', 1))
    asks = 0
    const saved = await new Saver(store, new Map()).save(ticket, value, writing('mine', 2))

    t.equal(readStored(saved).document, '{"theirs":1,"mine":2}')
    t.equal(asks, 2)
  })

  t.test('does not let one writer\'s conflict fail the next', async (t) => {
    const { ticket, value } = await begin('conflict')
    const saver = new Saver(store, new Map())
    const outcomes = await Promise.allSettled([1, 2, 3].map((number) => {
      const document = new Document('{}')
      const key = number === 3 ? 'other' : 'same'
      document.get(key)
      document.set(key, number)
      return saver.save(ticket, value, document)
    }))

    t.same(outcomes.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled'])
    t.match(outcomes[1], { reason: { code: 'PRISM_ERR_SESSION_CONFLICT' } })
  })

  t.test('never makes a session of one that is gone', async (t) => {
    const { ticket, value } = await begin('gone')
    await store.revoke(ticket.key, { which: 'these', names: [ticket.field] })

    await t.rejects(new Saver(store, new Map()).save(ticket, value, writing('a', 1)), { code: 'PRISM_ERR_SESSION_GONE', statusCode: 401 })
    // For some milliseconds the key says which birth came last.
    await until(async () => await rig.control.exists(ticket.key) === 0, { what: 'the key is gone' })
  })

  t.test('lets nobody wait behind a Redis that does not answer', async (t) => {
    const { ticket, value } = await begin('hung')
    const saver = new Saver(store, new Map())
    await faults.hung.inject(rig)
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, index) => saver.save(ticket, value, writing(`k${index}`, index))))
    await faults.hung.heal(rig)

    t.ok(outcomes.every((outcome) => outcome.status === 'rejected' && outcome.reason.code === 'PRISM_ERR_REDIS_UNAVAILABLE'))
    t.equal(asks, 1, 'only the first has asked')
    await until(() => saver.save(ticket, value, writing('after', 1)), { what: 'it saves again' })
  })
})
