import { test } from 'tap'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { SessionManager } from '../../../src/session/session-manager.ts'
import { resolveSessionPolicy } from '../../../src/session/options.ts'
import { newToken, userSubject } from '../../../src/session/session-token.ts'
import type { SessionToken } from '../../../src/session/session-token.ts'
import { RequestSession } from '../../../src/session/request-session.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

interface Data { count: number, list: string[], name: string }

const raise = (count = 0) => count + 1

test('request session', async (t) => {
  const redis = await startRedis(t)
  const pool = new PooledRedis(resolveRedisPolicy({ url: redis.url, commandTimeout }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  const sessionManager = new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
  const open = async (token?: SessionToken, isOld = false) => {
    const requestSession = new RequestSession<Data>(sessionManager, { token, isSealedWithOldKey: isOld, hasCookie: token !== undefined })
    requestSession.load()
    await requestSession.pendingLoad?.settled()
    return requestSession
  }
  const signedIn = async (user: string) => {
    const requestSession = await open()
    await requestSession.signIn(user)
    return tokenOf(requestSession)
  }

  t.test('saves a change once, however many saves are requested at once', async (t) => {
    const token = await signedIn('ada')
    const requestSession = await open(token)
    requestSession.update('count', raise)
    const impatient = [requestSession.save(), requestSession.save()]
    await requestSession.save()
    await Promise.all(impatient)

    t.equal((await open(token)).get('count'), 1)
    t.equal(requestSession.get('count'), 1)
  })

  t.test('saves a change that is made during a save with the next one', async (t) => {
    const token = await signedIn('ada')
    const [requestSession, other] = [await open(token), await open(token)]
    requestSession.set('name', 'first')
    const saving = requestSession.save()
    requestSession.set('name', 'second')
    requestSession.update('count', raise)
    other.update('count', raise)
    await other.save()
    await saving
    await requestSession.save()

    const seen = await open(token)
    t.same([seen.get('name'), seen.get('count')], ['second', 2])
  })

  t.test('runs operations one after the other, also without await', async (t) => {
    const token = await signedIn('turns')
    const requestSession = await open(token)
    requestSession.set('name', 'kept')
    await Promise.all([requestSession.save(), requestSession.rotate(), requestSession.signOut()])

    t.equal(requestSession.state, 'anonymous')
    t.equal(requestSession.takeCookie(), 'clear')
    // For some milliseconds the key holds the last creation.
    await until(async () => await redis.client.exists(token.key) === 0, { what: 'the key is gone' })
  })

  t.test('discards unsaved changes when their session ends', async (t) => {
    const token = await signedIn('grace')
    const requestSession = await open(token)
    requestSession.set('name', 'lost')
    requestSession.set('list', ['carried'])
    await requestSession.signIn('grace', { keep: ['list'] })
    t.same([requestSession.get('name'), requestSession.get('list'), requestSession.isNew], [undefined, ['carried'], false])
    requestSession.set('name', 'lost too')
    await requestSession.signOut()
    await requestSession.save()

    // For some milliseconds the key holds the last creation.
    await until(async () => await redis.client.exists(token.key) === 0, { what: 'the key is gone' })
  })

  t.test('clears a cookie only if the request has one, and only on sign-out', async (t) => {
    const anonymous = await open()
    await anonymous.signOut()
    t.equal(anonymous.takeCookie(), undefined)
    const ended = await open(newToken(sessionManager.keys, userSubject('unknown')))
    t.equal(ended.takeCookie(), undefined, 'the cookie of an ended session is not changed')
    await ended.signOut()
    t.equal(ended.takeCookie(), 'clear')
    t.equal(ended.takeCookie(), undefined, 'once')
  })

  t.test('encrypts a token of an old secret again with a save, and not with a read', async (t) => {
    const token = await signedIn('hedy')
    const [reader, writer] = [await open(token, true), await open(token, true)]
    await reader.save()
    writer.set('name', 'x')
    await writer.save()

    t.equal(reader.takeCookie(), undefined)
    t.match(writer.takeCookie(), { token: { field: token.field } })
  })

  t.test('finds a session whose rotation has an unknown result, and continues with the ID that it finds', async (t) => {
    const before = await signedIn('kay')
    const after = newToken(sessionManager.keys, userSubject('kay'), before.createdAt)
    const uncertain = { ...after, previousId: before }
    const earlier = await open(uncertain)
    earlier.set('name', 'x')
    await earlier.save()
    await sessionManager.rotate(before, after)
    const later = await open(uncertain)
    later.set('name', 'y')
    await later.save()

    t.equal(earlier.takeCookie(), undefined, 'the rotation can still be executed')
    t.match(later.takeCookie(), { token: { field: after.field, previousId: undefined } })
    const leaving = await open({ ...newToken(sessionManager.keys, userSubject('kay'), before.createdAt), previousId: after })
    await leaving.signOut()
    t.equal((await open(after)).userId, undefined)
  })

  t.test('is pending only after a load was requested, and unsettled only after a change', async (t) => {
    const anonymous = new RequestSession<Data>(sessionManager, { hasCookie: true })
    anonymous.load()
    const reader = await open(await signedIn('reads'))
    reader.get('name')
    const writer = await open(await signedIn('writes'))
    writer.set('name', 'x')

    t.same([anonymous.pendingLoad, anonymous.isSettled, reader.isSettled, writer.isSettled], [undefined, true, true, false])
  })

  t.test('rejected before its load neither changes the cookie nor looks anonymous', async (t) => {
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

  t.test('rotates and ends all others concurrently', async (t) => {
    const [token, other] = [await signedIn('password'), await signedIn('password')]
    const requestSession = await open(token)
    const [, count] = await Promise.all([requestSession.rotate(), requestSession.revokeOthers()])

    t.equal(count, 1)
    t.equal((await open(other)).userId, undefined)
    t.equal((await open(tokenOf(requestSession))).userId, 'password')
  })

  t.test('reads as empty and rejects changes if sessions are disabled', async (t) => {
    const requestSession = new RequestSession<Data>(sessionManager, { isSessionDisabled: true })

    t.same([requestSession.state, requestSession.userId, requestSession.id, requestSession.isNew, requestSession.get('name')], ['anonymous', undefined, undefined, true, undefined])
    t.throws(() => { requestSession.set('name', 'x') }, { code: 'PRISM_ERR_SESSION_DISABLED', message: /set\(\)/ })
    for (const call of [requestSession.signIn('ada'), requestSession.signOut(), requestSession.rotate(), requestSession.devices(), requestSession.revoke('x'), requestSession.revokeOthers()]) await t.rejects(async () => { await call }, { code: 'PRISM_ERR_SESSION_DISABLED' })
    await requestSession.save()
  })

  t.test('of an anonymous client can write, and rejects operations that need a user', async (t) => {
    const requestSession = await open()
    requestSession.set('name', 'x')
    await requestSession.save()

    t.match(requestSession.takeCookie(), { token: { userId: undefined, key: /^session:\{a:[\w-]{16}\}$/ } })
    for (const call of [requestSession.devices(), requestSession.revoke('x'), requestSession.revokeOthers()]) await t.rejects(async () => { await call }, { code: 'PRISM_ERR_SESSION_REQUIRED', statusCode: 401 })
    await requestSession.rotate()
    const cookie = requestSession.takeCookie()
    t.equal(cookie !== 'clear' && cookie !== undefined && (await open(cookie.token)).get('name'), 'x')
  })
})

function tokenOf (requestSession: RequestSession<Data>): SessionToken {
  const cookie = requestSession.takeCookie()
  if (cookie === undefined || cookie === 'clear') throw new Error('no token was set')
  return cookie.token
}
