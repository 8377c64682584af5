import { test } from 'tap'
import type { Test } from 'tap'
import { RedisUnavailableError } from '../../../src/errors.ts'
import type { Batch } from '../../../src/redis/batch.ts'
import { Pool } from '../../../src/redis/pool.ts'
import { resolveRedisPolicy } from '../../../src/redis/policy.ts'
import { House } from '../../../src/session/house.ts'
import type { Revocation } from '../../../src/session/house.ts'
import { resolveSessionPolicy } from '../../../src/session/policy.ts'
import { userBearer } from '../../../src/session/ticket.ts'
import type { Ticket } from '../../../src/session/ticket.ts'
import { reached } from '../../helpers/reached.ts'
import { startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

const beginning = { idleMs: 3_600_000, absoluteMs: 3_600_000, label: undefined, document: '{}' }

test('the house', async (t) => {
  const redis = await startRedis(t)
  const [house, other] = [await openHouse(t, redis.url), await openHouse(t, redis.url)]
  const begin = async (user: string) => await house.begin(userBearer(user), beginning)

  t.test('does not believe a server that brings back what was ended here, and tells it', async (t) => {
    const { ticket, value } = await begin('ada')
    await house.leave(ticket)
    await redis.client.hset(ticket.key, ticket.field, value)

    t.equal(await liveIn(house, ticket), undefined)
    t.ok(await liveIn(other, ticket), 'another process cannot know')
    await house.graves.retell()
    t.equal(await liveIn(other, ticket), undefined)
  })

  t.test('remembers each way in which a session ends', async (t) => {
    const [out, named, others, all, rotated] = [await begin('a'), await begin('b'), await begin('b'), await begin('c'), await begin('d')]
    await house.leave(out.ticket)
    const [device = { id: '' }] = (await house.devices('b')).filter(({ createdAt }) => createdAt === named.ticket.bornAt)
    t.equal(await house.endDevice(others.ticket, device.id), true)
    await house.endOthers((await begin('b')).ticket)
    await house.revokeAll('c')
    await house.rotate(rotated.ticket, { ...rotated.ticket, field: 'x'.repeat(22) })

    for (const { ticket } of [out, named, others, all, rotated]) t.equal(house.graves.has(ticket), true)
  })

  t.test('tells who listens of every session that ended before its time, by user and public name', async (t) => {
    const heard: Revocation[] = []
    const stop = house.onRevoked((revocation) => heard.push(revocation))
    const { ticket } = await begin('hedy')
    const [device] = await house.devices('hedy')
    await house.leave(ticket)
    await house.leave(ticket)
    stop()
    await begin('hedy')
    await house.revokeAll('hedy')

    t.same(heard, [{ userId: 'hedy', devices: [device?.id] }])
  })

  t.test('ends what it may have begun, and what a sign-in has left behind, once Redis answers', async (t) => {
    const pool = new Pool(resolveRedisPolicy({ url: redis.url, min: 1 }))
    t.after(() => { pool.disconnect() })
    await reached({ redisPool: pool })
    let [isDeaf, isAway] = [false, false]
    const batch = {
      ask: async (...args: Parameters<Batch['ask']>) => {
        if (isAway) throw new RedisUnavailableError('no connection')
        const answer = await pool.batch.ask(...args)
        if (isDeaf) throw new RedisUnavailableError('the answer was lost')
        return answer
      }
    } as unknown as Batch
    const deaf = new House(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), batch, pool.keyspace)
    t.after(() => { deaf.graves.close() })
    const { ticket } = await begin('left')
    const moved = { ...ticket, field: 'm'.repeat(22) }
    isDeaf = true
    await t.rejects(deaf.begin(userBearer('begun'), beginning), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
    t.equal(await redis.client.exists('session:{begun}'), 1, 'it had begun')
    isDeaf = false

    await until(async () => await redis.client.exists('session:{begun}') === 0, { what: 'it is ended' })
    await other.rotate(ticket, moved)
    isAway = true
    await deaf.leaveBehind(ticket)
    t.equal(deaf.admit(ticket, { value: '', touchedAt: undefined, isEarlier: false }), undefined)
    isAway = false
    await until(async () => await redis.client.exists(ticket.key) === 0, { what: 'so is what was left behind, though it has another id now' })
  })

  t.test('lets a device that was ended end no other', async (t) => {
    const [first, second] = [await begin('kay'), await begin('kay')]
    const [mine, theirs] = [first, second].map(({ ticket }) => ticket)
    await house.leave(first.ticket)

    await t.rejects(house.endOthers(mine ?? first.ticket), { code: 'PRISM_ERR_SESSION_GONE' })
    t.ok(await liveIn(other, theirs ?? second.ticket))
  })
})

async function liveIn (house: House, ticket: Ticket): Promise<unknown> {
  return house.admit(ticket, await house.load(ticket).promise())
}

async function openHouse (t: Test, url: string): Promise<House> {
  const pool = new Pool(resolveRedisPolicy({ url, min: 1 }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  return new House(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
}
