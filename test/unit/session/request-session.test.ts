import { test } from 'tap'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { SessionManager } from '../../../src/session/session-manager.ts'
import { resolveSessionPolicy } from '../../../src/session/options.ts'
import { newToken, userSubject } from '../../../src/session/session-token.ts'
import type { SessionToken } from '../../../src/session/session-token.ts'
import { RequestSession } from '../../../src/session/request-session.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

interface Data { count: number, list: string[], name: string }

const raise = (count = 0) => count + 1

test('a visit', async (t) => {
  const redis = await startRedis(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url: redis.url }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  const sessionManager = new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
  const arrive = async (token?: SessionToken, isOld = false) => {
    const requestSession = new RequestSession<Data>(sessionManager, { token, isSealedWithOldKey: isOld, hasCookie: token !== undefined })
    requestSession.load()
    await requestSession.pendingLoad?.settled()
    return requestSession
  }
  const signedIn = async (user: string) => {
    const requestSession = await arrive()
    await requestSession.signIn(user)
    return tokenOf(requestSession)
  }

  t.test('saves a change once, however often and however impatiently it is told to', async (t) => {
    const token = await signedIn('ada')
    const requestSession = await arrive(token)
    requestSession.update('count', raise)
    const impatient = [requestSession.save(), requestSession.save()]
    await requestSession.save()
    await Promise.all(impatient)

    t.equal((await arrive(token)).get('count'), 1)
    t.equal(requestSession.get('count'), 1)
  })

  t.test('keeps what is changed while a save is on its way for the next save', async (t) => {
    const token = await signedIn('ada')
    const [requestSession, other] = [await arrive(token), await arrive(token)]
    requestSession.set('name', 'first')
    const saving = requestSession.save()
    requestSession.set('name', 'second')
    requestSession.update('count', raise)
    other.update('count', raise)
    await other.save()
    await saving
    await requestSession.save()

    const seen = await arrive(token)
    t.same([seen.get('name'), seen.get('count')], ['second', 2])
  })

  t.test('does one thing after the other, though nobody waits', async (t) => {
    const token = await signedIn('turns')
    const requestSession = await arrive(token)
    requestSession.set('name', 'kept')
    await Promise.all([requestSession.save(), requestSession.rotate(), requestSession.signOut()])

    t.equal(requestSession.state, 'anonymous')
    t.equal(requestSession.takeCookie(), 'clear')
    // For some milliseconds the key says which birth came last.
    await until(async () => await redis.client.exists(token.key) === 0, { what: 'the key is gone' })
  })

  t.test('forgets unsaved changes with the session that they were for', async (t) => {
    const token = await signedIn('grace')
    const requestSession = await arrive(token)
    requestSession.set('name', 'lost')
    requestSession.set('list', ['carried'])
    await requestSession.signIn('grace', { keep: ['list'] })
    t.same([requestSession.get('name'), requestSession.get('list'), requestSession.isNew], [undefined, ['carried'], false])
    requestSession.set('name', 'lost too')
    await requestSession.signOut()
    await requestSession.save()

    // For some milliseconds the key says which birth came last.
    await until(async () => await redis.client.exists(token.key) === 0, { what: 'the key is gone' })
  })

  t.test('clears a cookie only where one came, and only for a sign-out', async (t) => {
    const stranger = await arrive()
    await stranger.signOut()
    t.equal(stranger.takeCookie(), undefined)
    const ended = await arrive(newToken(sessionManager.keys, userSubject('nobody')))
    t.equal(ended.takeCookie(), undefined, 'a cookie of a session that has ended is left alone')
    await ended.signOut()
    t.equal(ended.takeCookie(), 'clear')
    t.equal(ended.takeCookie(), undefined, 'once')
  })

  t.test('seals anew what an old secret sealed, with a save, and not with a read', async (t) => {
    const token = await signedIn('hedy')
    const [reader, writer] = [await arrive(token, true), await arrive(token, true)]
    await reader.save()
    writer.set('name', 'x')
    await writer.save()

    t.equal(reader.takeCookie(), undefined)
    t.match(writer.takeCookie(), { token: { field: token.field } })
  })

  t.test('finds a session of which nobody knows whether it was rotated, and settles for what it finds', async (t) => {
    const before = await signedIn('kay')
    const after = newToken(sessionManager.keys, userSubject('kay'), before.createdAt)
    const uncertain = { ...after, previousId: before }
    const earlier = await arrive(uncertain)
    earlier.set('name', 'x')
    await earlier.save()
    await sessionManager.rotate(before, after)
    const later = await arrive(uncertain)
    later.set('name', 'y')
    await later.save()

    t.equal(earlier.takeCookie(), undefined, 'the rotation may still come')
    t.match(later.takeCookie(), { token: { field: after.field, previousId: undefined } })
    const leaving = await arrive({ ...newToken(sessionManager.keys, userSubject('kay'), before.createdAt), previousId: after })
    await leaving.signOut()
    t.equal((await arrive(after)).userId, undefined)
  })

  t.test('has nothing to wait for unless it asked, and nothing to settle unless it changed', async (t) => {
    const stranger = new RequestSession<Data>(sessionManager, { hasCookie: true })
    stranger.load()
    const reader = await arrive(await signedIn('reads'))
    reader.get('name')
    const writer = await arrive(await signedIn('writes'))
    writer.set('name', 'x')

    t.same([stranger.pendingLoad, stranger.isSettled, reader.isSettled, writer.isSettled], [undefined, true, true, false])
  })

  t.test('that was refused before its session was loaded neither writes over its cookie nor calls it a stranger\'s', async (t) => {
    const token = await signedIn('refused')
    const refused = new RequestSession<Data>(sessionManager, { token, hasCookie: true })
    refused.load()

    t.equal(refused.state, 'unavailable')
    t.throws(() => { refused.set('name', 'x') }, { code: 'PRISM_ERR_SESSION_UNAVAILABLE' })
    await t.rejects(refused.rotate(), { code: 'PRISM_ERR_SESSION_UNAVAILABLE' })
    await refused.save()
    t.equal(refused.takeCookie(), undefined)
    await refused.signOut()
    t.same([refused.state, refused.takeCookie()], ['anonymous', 'clear'])
  })

  t.test('rotates and ends all others in one breath, though nobody waits', async (t) => {
    const [token, other] = [await signedIn('password'), await signedIn('password')]
    const requestSession = await arrive(token)
    const [, count] = await Promise.all([requestSession.rotate(), requestSession.revokeOthers()])

    t.equal(count, 1)
    t.equal((await arrive(other)).userId, undefined)
    t.equal((await arrive(tokenOf(requestSession))).userId, 'password')
  })

  t.test('that has no session at all reads as empty, and refuses to change', async (t) => {
    const requestSession = new RequestSession<Data>(sessionManager, { isSessionDisabled: true })

    t.same([requestSession.state, requestSession.userId, requestSession.id, requestSession.isNew, requestSession.get('name')], ['anonymous', undefined, undefined, true, undefined])
    t.throws(() => { requestSession.set('name', 'x') }, { code: 'PRISM_ERR_SESSION_DISABLED', message: /set\(\)/ })
    for (const call of [requestSession.signIn('ada'), requestSession.signOut(), requestSession.rotate(), requestSession.devices(), requestSession.revoke('x'), requestSession.revokeOthers()]) await t.rejects(async () => { await call }, { code: 'PRISM_ERR_SESSION_DISABLED' })
    await requestSession.save()
  })

  t.test('of a stranger may write, and may not do what takes a user', async (t) => {
    const requestSession = await arrive()
    requestSession.set('name', 'x')
    await requestSession.save()

    t.match(requestSession.takeCookie(), { token: { userId: undefined, key: /^session:\{a:[\w-]{16}\}$/ } })
    for (const call of [requestSession.devices(), requestSession.revoke('x'), requestSession.revokeOthers()]) await t.rejects(async () => { await call }, { code: 'PRISM_ERR_SESSION_REQUIRED', statusCode: 401 })
    await requestSession.rotate()
    const cookie = requestSession.takeCookie()
    t.equal(cookie !== 'clear' && cookie !== undefined && (await arrive(cookie.token)).get('name'), 'x')
  })
})

function tokenOf (requestSession: RequestSession<Data>): SessionToken {
  const cookie = requestSession.takeCookie()
  if (cookie === undefined || cookie === 'clear') throw new Error('no token was set')
  return cookie.token
}
