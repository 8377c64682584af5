import { setImmediate as tick } from 'node:timers/promises'
import fc from 'fast-check'
import tap, { test } from 'tap'
import type { Test } from 'tap'
import { RedisUnavailableError } from '../../../src/shared/errors.ts'
import type { Batch } from '../../../src/redis/batch/batch.ts'
import { PooledRedis } from '../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { SessionManager } from '../../../src/session/session-manager.ts'
import { resolveSessionPolicy } from '../../../src/session/options.ts'
import type { SessionToken } from '../../../src/session/session-token.ts'
import { RequestSession } from '../../../src/session/request-session.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'
import { propertyRuns } from '../../support/property-runs.ts'

interface Data { cart: unknown[], theme: string, other: string }
type Step = 'mark' | 'begin' | 'leave'

/** First words of the scripts of a sign-in's steps. */
const scripts: Readonly<Record<Step, RegExp>> = { mark: /Marks a session as moving/, begin: /Creates a session/, leave: /Ends sessions of a user/ }

tap.setTimeout(300_000)

test('a sign-in that copies values', { timeout: 300_000 }, async (t) => {
  const redis = await startRedis(t)
  const [pool, otherPool] = await Promise.all([openPool(t, redis.url), openPool(t, redis.url)])
  const other = managerOf(t, otherPool, otherPool.batch)
  /** A process that runs a function before a step of each of its sign-ins. */
  const managerWith = (work: Partial<Record<Step, (count: number) => Promise<void>>>) => {
    const counts = { mark: 0, begin: 0, leave: 0 }
    const runScript = async (...args: Parameters<Batch['runScript']>): Promise<unknown> => {
      for (const step of ['mark', 'begin', 'leave'] as const) if (scripts[step].test(args[0].lua)) await work[step]?.(counts[step]++)
      return await pool.batch.runScript(...args)
    }
    return managerOf(t, pool, { runScript, enqueueScript: pool.batch.enqueueScript.bind(pool.batch) } as unknown as Batch)
  }
  const begun = async (sessionManager: SessionManager, user?: string) => {
    const requestSession = await arrive(sessionManager)
    if (user !== undefined) await requestSession.signIn(user)
    requestSession.set('cart', ['tea'])
    await requestSession.save()
    return tokenOf(requestSession)
  }
  const push = async (token: SessionToken, thing: unknown, sessionManager = other) => {
    const requestSession = await arrive(sessionManager, token)
    requestSession.update('cart', (cart = []) => [...cart, thing])
    await requestSession.save()
  }
  const lapse = async ({ key, field }: SessionToken) => {
    const value = await redis.client.hget(key, field) ?? ''
    await redis.client.hset(key, field, value.replace(/@\d+ /, '@1 '))
  }
  const cartOf = async (token: SessionToken) => (await arrive(other, token)).get('cart')

  for (const [whose, user] of [['an anonymous session', undefined], ['a session of another user', 'before'], ['a session of the same user', 'ada']] as const) {
    t.test(`from ${whose} copies what was saved between its load and its end, and ends that session`, async (t) => {
      const sessionManager = managerWith({})
      const token = await begun(sessionManager, user)
      const requestSession = await arrive(sessionManager, token)
      requestSession.update('cart', (cart = []) => [...cart, 'mine'])
      await push(token, 'milk')
      const elsewhere = await arrive(other, token)
      elsewhere.set('other', 'x')
      await elsewhere.save()
      await requestSession.signIn('ada', { keep: ['cart'] })

      const fresh = await arrive(other, tokenOf(requestSession))
      t.same([fresh.userId, fresh.get('cart'), fresh.get('other')], ['ada', ['tea', 'milk', 'mine'], undefined])
      t.equal((await arrive(other, token)).isNew, true)
    })
  }

  t.test('rejects a save during the copy, and reports it', async (t) => {
    for (const step of ['begin', 'leave'] as const) {
      let saving: Promise<unknown> = Promise.resolve()
      const token = await begun(other)
      const late = await arrive(other, token)
      late.update('cart', (cart = []) => [...cart, 'late'])
      const sessionManager = managerWith({ [step]: async () => { saving = settled(late.save()) } })
      const requestSession = await arrive(sessionManager, token)
      await requestSession.signIn('ada', { keep: ['cart'] })

      t.match(await saving, { code: 'PRISM_ERR_SESSION_ENDED' }, step)
      t.same(await cartOf(tokenOf(requestSession)), ['tea'])
    }
  })

  t.test('rejects a rotation meanwhile, and finds a session that was rotated before', async (t) => {
    let rotating: Promise<unknown> = Promise.resolve()
    const rotate = async () => { rotating = settled((await arrive(other, token)).rotate()) }
    const sessionManager = managerWith({ leave: rotate })
    const token = await begun(other)
    const requestSession = await arrive(sessionManager, token)
    await requestSession.signIn('ada', { keep: ['cart'] })
    t.match(await rotating, { code: 'PRISM_ERR_SESSION_ENDED' })

    const earlier = await begun(other)
    const slow = await arrive(sessionManager, earlier)
    const tab = await arrive(other, earlier)
    await tab.rotate()
    const rotated = tokenOf(tab)
    await push(rotated, 'milk')
    await slow.signIn('ada', { keep: ['cart'] })
    t.same(await cartOf(tokenOf(slow)), ['tea', 'milk'])
    t.equal((await arrive(other, rotated)).isNew, true)
  })

  t.test('reads again what was saved after its mark had expired, however often', async (t) => {
    const sessionManager = managerWith({
      leave: async (count) => {
        if (count > 2) return
        await lapse(token)
        await push(token, count)
      }
    })
    const token = await begun(other)
    const requestSession = await arrive(sessionManager, token)
    await requestSession.signIn('ada', { keep: ['cart'] })

    t.same(await cartOf(tokenOf(requestSession)), ['tea', 0, 1, 2])
    t.equal((await arrive(other, token)).isNew, true)
  })

  t.test('leaves the session usable if its process dies in the middle: saves wait until the mark expires, at most 2 s', async (t) => {
    const sessionManager = managerWith({ begin: async () => { throw new RedisUnavailableError('this process dies here') } })
    const token = await begun(other)
    const requestSession = await arrive(sessionManager, token)
    await t.rejects(requestSession.signIn('ada', { keep: ['cart'] }), { code: 'PRISM_ERR_REDIS_UNAVAILABLE' })
    const value = await redis.client.hget(token.key, token.field) ?? ''
    const [now = '0'] = await redis.client.time()
    t.ok(Number(/@(\d+) /.exec(value)?.[1]) - Number(now) * 1000 <= 3000, 'the mark expires after 2 s')
    t.same(await cartOf(token), ['tea'], 'it can be read meanwhile')
    await push(token, 'milk')

    t.same(await cartOf(token), ['tea', 'milk'])
    t.equal((await redis.client.hget(token.key, token.field))?.includes('@'), false)
  })

  t.test('copies label, document and version exactly', async (t) => {
    const sessionManager = managerWith({ begin: async () => { throw new RedisUnavailableError('this process dies here') } })
    const first = await arrive(other)
    await first.signIn('labelled', { label: 'a@b 100 % =x' })
    first.set('theme', ' @1 =x ')
    await first.save()
    const token = tokenOf(first)
    const before = await redis.client.hget(token.key, token.field) ?? ''
    await settled((await arrive(sessionManager, token)).signIn('ada', { keep: ['theme'] }))
    const marked = await redis.client.hget(token.key, token.field) ?? ''

    t.equal(marked.replace(/@\d+ /, ' '), before)
    t.match(await other.devices('labelled'), [{ label: 'a@b 100 % =x' }])
    await lapse(token)
    await push(token, 1)
    t.match(await other.devices('labelled'), [{ label: 'a@b 100 % =x' }])
    t.equal((await arrive(other, token)).get('theme'), ' @1 =x ')
  })

  t.test('is a conflict if both sessions set a copied value, and the previous session continues', async (t) => {
    const token = await begun(other)
    const requestSession = await arrive(managerWith({}), token)
    requestSession.set('theme', 'mine')
    requestSession.set('other', 'mine')
    const tab = await arrive(other, token)
    tab.set('theme', 'theirs')
    tab.set('other', 'theirs')
    await tab.save()

    await t.rejects(requestSession.signIn('ada', { keep: ['theme'] }), { code: 'PRISM_ERR_SESSION_CONFLICT' })
    t.equal((await arrive(other, token)).get('theme'), 'theirs')
    await (await arrive(managerWith({}), token)).signIn('ada', { keep: ['cart'] })
  })

  t.test('copies what was read from a session that has ended meanwhile, and does not restore that session', async (t) => {
    const token = await begun(other)
    const requestSession = await arrive(managerWith({}), token)
    await (await arrive(other, token)).signOut()
    await requestSession.signIn('ada', { keep: ['cart'] })

    t.same(await cartOf(tokenOf(requestSession)), ['tea'])
    t.equal((await arrive(other, token)).isNew, true)
    t.equal(await redis.client.hexists(token.key, token.field), 0)
  })

  t.test('ends the session that it has created if it fails after that', async (t) => {
    const sessionManager = managerWith({
      leave: async (count) => {
        if (count > 0) return
        await lapse(token)
        const tab = await arrive(other, token)
        tab.set('theme', 'theirs')
        await tab.save()
      }
    })
    const token = await begun(other)
    const requestSession = await arrive(sessionManager, token)
    requestSession.set('theme', 'mine')
    await t.rejects(requestSession.signIn('fails', { keep: ['theme'] }), { code: 'PRISM_ERR_SESSION_CONFLICT' })

    t.equal((await arrive(other, token)).get('theme'), 'theirs')
    await until(async () => (await other.devices('fails')).length === 0, { what: 'the session is ended' })
  })

  t.test('loses no confirmed save, whatever other requests of two processes save meanwhile', async (t) => {
    const plan = fc.record({
      from: fc.constantFrom(undefined, 'same', 'another'),
      pushes: fc.array(fc.record({ process: fc.nat(1), pauses: fc.tuple(fc.nat(6), fc.nat(6)) }), { minLength: 1, maxLength: 5 }),
      signIns: fc.array(fc.record({ process: fc.nat(1), pauses: fc.tuple(fc.nat(6), fc.nat(6)) }), { minLength: 1, maxLength: 1 })
    })
    const houses = [managerOf(t, pool, pool.batch), other]
    let runs = 0
    await fc.assert(fc.asyncProperty(plan, async ({ from, pushes, signIns }) => {
      const user = `user-${runs++}`
      const token = await begun(other, from === undefined ? undefined : from === 'same' ? user : `${user}-before`)
      const act = async ({ process, pauses: [before, after] }: { process: number, pauses: [number, number] }, work: (requestSession: RequestSession<Data>) => Promise<void>) => {
        for (let count = 0; count < before; count++) await tick()
        const requestSession = await arrive(houses[process] ?? other, token)
        for (let count = 0; count < after; count++) await tick()
        if (requestSession.isNew) return undefined
        const error = await settled(work(requestSession))
        if (error !== undefined && error.code !== 'PRISM_ERR_SESSION_ENDED') fc.pre(error.statusCode !== 503)
        return error === undefined ? requestSession : undefined
      }
      const pushing = pushes.map(async (how, index) => await act(how, async (requestSession) => {
        requestSession.update('cart', (cart = []) => [...cart, index])
        await requestSession.save()
      }) && index)
      const [signedIn] = await Promise.all(signIns.map(async (how) => await act(how, async (requestSession) => { await requestSession.signIn(user, { keep: ['cart'] }) })))
      const confirmed = (await Promise.all(pushing)).filter((index) => index !== undefined)
      const cart = await cartOf(signedIn === undefined ? token : tokenOf(signedIn)) as unknown[]
      const lost = confirmed.filter((index) => !cart.includes(index))
      if (lost.length > 0 || !cart.includes('tea')) throw new Error(`${lost} of ${confirmed} are not in ${cart}`)
    }), { numRuns: propertyRuns(60) })
    t.ok(runs >= 60)
  })

  t.test('in two tabs at once loses no value of either', async (t) => {
    for (let round = 0; round < 20; round++) {
      const token = await begun(other)
      const [one, two] = await Promise.all([arrive(managerWith({}), token), arrive(other, token)])
      await push(token, 'milk', managerWith({}))
      await Promise.all([one.signIn('twice', { keep: ['cart'] }), two.signIn('twice', { keep: ['cart'] })])
      const carts = await Promise.all([one, two].map((requestSession) => cartOf(tokenOf(requestSession))))

      t.ok(carts.every((cart) => (cart as unknown[]).includes('tea')) && carts.some((cart) => (cart as unknown[]).includes('milk')), JSON.stringify(carts))
      t.equal((await arrive(other, token)).isNew, true)
    }
  })
})

async function arrive (sessionManager: SessionManager, token?: SessionToken): Promise<RequestSession<Data>> {
  const requestSession = new RequestSession<Data>(sessionManager, { token, hasCookie: token !== undefined })
  requestSession.load()
  await requestSession.pendingLoad?.settled()
  return requestSession
}

async function settled (work: Promise<unknown>): Promise<(Error & { code?: string, statusCode?: number }) | undefined> {
  return await work.then(() => undefined, (error: Error) => error)
}

function tokenOf (requestSession: RequestSession<Data>): SessionToken {
  const cookie = requestSession.takeCookie()
  if (cookie === undefined || cookie === 'clear') throw new Error('no token was set')
  return cookie.token
}

async function openPool (t: Test, url: string): Promise<PooledRedis> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 1, commandTimeout }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  return pool
}

function managerOf (t: Test, pool: PooledRedis, batch: Batch): SessionManager {
  const sessionManager = new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), batch, pool.keyspace)
  t.after(() => { sessionManager.tombstones.close() })
  return sessionManager
}
