import { test } from 'tap'
import { Pool } from '../../../src/redis/pool.ts'
import { resolveRedisPolicy } from '../../../src/redis/policy.ts'
import { House } from '../../../src/session/house.ts'
import { resolveSessionPolicy } from '../../../src/session/policy.ts'
import { newTicket, userBearer } from '../../../src/session/ticket.ts'
import type { Ticket } from '../../../src/session/ticket.ts'
import { Visit } from '../../../src/session/visit.ts'
import { reached } from '../../helpers/reached.ts'
import { startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

interface Data { count: number, list: string[], name: string }

const raise = (count = 0) => count + 1

test('a visit', async (t) => {
  const redis = await startRedis(t)
  const pool = new Pool(resolveRedisPolicy({ url: redis.url }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  const house = new House(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
  const arrive = async (ticket?: Ticket, isOld = false) => {
    const visit = new Visit<Data>(house, { ticket, isOld, hasCookie: ticket !== undefined })
    visit.ask()
    await visit.answer()?.settled()
    return visit
  }
  const signedIn = async (user: string) => {
    const visit = await arrive()
    await visit.signIn(user)
    return ticketOf(visit)
  }

  t.test('saves a change once, however often and however impatiently it is told to', async (t) => {
    const ticket = await signedIn('ada')
    const visit = await arrive(ticket)
    visit.update('count', raise)
    const impatient = [visit.save(), visit.save()]
    await visit.save()
    await Promise.all(impatient)

    t.equal((await arrive(ticket)).get('count'), 1)
    t.equal(visit.get('count'), 1)
  })

  t.test('keeps what is changed while a save is on its way for the next save', async (t) => {
    const ticket = await signedIn('ada')
    const [visit, other] = [await arrive(ticket), await arrive(ticket)]
    visit.set('name', 'first')
    const saving = visit.save()
    visit.set('name', 'second')
    visit.update('count', raise)
    other.update('count', raise)
    await other.save()
    await saving
    await visit.save()

    const seen = await arrive(ticket)
    t.same([seen.get('name'), seen.get('count')], ['second', 2])
  })

  t.test('does one thing after the other, though nobody waits', async (t) => {
    const ticket = await signedIn('turns')
    const visit = await arrive(ticket)
    visit.set('name', 'kept')
    await Promise.all([visit.save(), visit.rotate(), visit.signOut()])

    t.equal(visit.state, 'anonymous')
    t.equal(visit.takeCookie(), 'clear')
    // For some milliseconds the key says which birth came last.
    await until(async () => await redis.client.exists(ticket.key) === 0, { what: 'the key is gone' })
  })

  t.test('forgets unsaved changes with the session that they were for', async (t) => {
    const ticket = await signedIn('grace')
    const visit = await arrive(ticket)
    visit.set('name', 'lost')
    visit.set('list', ['carried'])
    await visit.signIn('grace', { carry: ['list'] })
    t.same([visit.get('name'), visit.get('list'), visit.isNew], [undefined, ['carried'], false])
    visit.set('name', 'lost too')
    await visit.signOut()
    await visit.save()

    // For some milliseconds the key says which birth came last.
    await until(async () => await redis.client.exists(ticket.key) === 0, { what: 'the key is gone' })
  })

  t.test('clears a cookie only where one came, and only for a sign-out', async (t) => {
    const stranger = await arrive()
    await stranger.signOut()
    t.equal(stranger.takeCookie(), undefined)
    const ended = await arrive(newTicket(house.keys, userBearer('nobody')))
    t.equal(ended.takeCookie(), undefined, 'a cookie of a session that has ended is left alone')
    await ended.signOut()
    t.equal(ended.takeCookie(), 'clear')
    t.equal(ended.takeCookie(), undefined, 'once')
  })

  t.test('seals anew what an old secret sealed, with a save, and not with a read', async (t) => {
    const ticket = await signedIn('hedy')
    const [reader, writer] = [await arrive(ticket, true), await arrive(ticket, true)]
    await reader.save()
    writer.set('name', 'x')
    await writer.save()

    t.equal(reader.takeCookie(), undefined)
    t.match(writer.takeCookie(), { ticket: { field: ticket.field } })
  })

  t.test('finds a session of which nobody knows whether it was rotated, and settles for what it finds', async (t) => {
    const before = await signedIn('kay')
    const after = newTicket(house.keys, userBearer('kay'), before.bornAt)
    const uncertain = { ...after, earlier: before }
    const earlier = await arrive(uncertain)
    earlier.set('name', 'x')
    await earlier.save()
    await house.rotate(before, after)
    const later = await arrive(uncertain)
    later.set('name', 'y')
    await later.save()

    t.equal(earlier.takeCookie(), undefined, 'the rotation may still come')
    t.match(later.takeCookie(), { ticket: { field: after.field, earlier: undefined } })
    const leaving = await arrive({ ...newTicket(house.keys, userBearer('kay'), before.bornAt), earlier: after })
    await leaving.signOut()
    t.equal((await arrive(after)).userId, undefined)
  })

  t.test('has nothing to wait for unless it asked, and nothing to settle unless it changed', async (t) => {
    const stranger = new Visit<Data>(house, { hasCookie: true })
    stranger.ask()
    const reader = await arrive(await signedIn('reads'))
    reader.get('name')
    const writer = await arrive(await signedIn('writes'))
    writer.set('name', 'x')

    t.same([stranger.answer(), stranger.isSettled, reader.isSettled, writer.isSettled], [undefined, true, true, false])
  })

  t.test('that was refused before its session was loaded neither writes over its cookie nor calls it a stranger\'s', async (t) => {
    const ticket = await signedIn('refused')
    const refused = new Visit<Data>(house, { ticket, hasCookie: true })
    refused.ask()

    t.equal(refused.state, 'unavailable')
    t.throws(() => { refused.set('name', 'x') }, { code: 'PRISM_ERR_SESSION_UNAVAILABLE' })
    await t.rejects(refused.rotate(), { code: 'PRISM_ERR_SESSION_UNAVAILABLE' })
    await refused.save()
    t.equal(refused.takeCookie(), undefined)
    await refused.signOut()
    t.same([refused.state, refused.takeCookie()], ['anonymous', 'clear'])
  })

  t.test('rotates and ends all others in one breath, though nobody waits', async (t) => {
    const [ticket, other] = [await signedIn('password'), await signedIn('password')]
    const visit = await arrive(ticket)
    const [, count] = await Promise.all([visit.rotate(), visit.revokeOthers()])

    t.equal(count, 1)
    t.equal((await arrive(other)).userId, undefined)
    t.equal((await arrive(ticketOf(visit))).userId, 'password')
  })

  t.test('that has no session at all reads as empty, and refuses to change', async (t) => {
    const visit = new Visit<Data>(house, { isOff: true })

    t.same([visit.state, visit.userId, visit.id, visit.isNew, visit.get('name')], ['anonymous', undefined, undefined, true, undefined])
    t.throws(() => { visit.set('name', 'x') }, { code: 'PRISM_ERR_SESSION_OFF', message: /set\(\)/ })
    for (const call of [visit.signIn('ada'), visit.signOut(), visit.rotate(), visit.devices(), visit.revoke('x'), visit.revokeOthers()]) await t.rejects(async () => { await call }, { code: 'PRISM_ERR_SESSION_OFF' })
    await visit.save()
  })

  t.test('of a stranger may write, and may not do what takes a user', async (t) => {
    const visit = await arrive()
    visit.set('name', 'x')
    await visit.save()

    t.match(visit.takeCookie(), { ticket: { userId: undefined, key: /^session:\{a:[\w-]{16}\}$/ } })
    for (const call of [visit.devices(), visit.revoke('x'), visit.revokeOthers()]) await t.rejects(async () => { await call }, { code: 'PRISM_ERR_SESSION_REQUIRED', statusCode: 401 })
    await visit.rotate()
    const cookie = visit.takeCookie()
    t.equal(cookie !== 'clear' && cookie !== undefined && (await arrive(cookie.ticket)).get('name'), 'x')
  })
})

function ticketOf (visit: Visit<Data>): Ticket {
  const cookie = visit.takeCookie()
  if (cookie === undefined || cookie === 'clear') throw new Error('no ticket was given')
  return cookie.ticket
}
