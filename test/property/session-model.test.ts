import { setImmediate as tick } from 'node:timers/promises'
import fc from 'fast-check'
import tap, { test } from 'tap'
import type { Test } from 'tap'
import { PooledRedis } from '../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../src/redis/options.ts'
import { SessionManager } from '../../src/session/session-manager.ts'
import { resolveSessionPolicy } from '../../src/session/options.ts'
import type { SessionToken } from '../../src/session/session-token.ts'
import { RequestSession } from '../../src/session/request-session.ts'
import { commandTimeout } from '../support/deadline.ts'
import { reached } from '../support/wait-for-redis.ts'
import { startRedis } from '../support/redis.ts'
import { propertyRuns } from '../support/property-runs.ts'

type Act = 'signIn' | 'signOut' | 'push' | 'rotate' | 'revokeOthers' | 'revokeAll' | 'read'
interface Step { act: Act, ticket: number, process: number, pauses: readonly [number, number] }
interface Outcome extends Step { number: number, isDone: boolean }
interface Live { current: number, list: number[] }

/** The model of sessions: each has one valid token and a list. Tokens are numbered in the order of their requests; `births` maps each to its session. */
class Model {
  readonly sessions: Map<number, Live>
  readonly births: Map<number, number>

  constructor ({ sessions, births }: { sessions: Map<number, Live>, births: Map<number, number> } = { sessions: new Map(), births: new Map() }) {
    this.sessions = structuredClone(sessions)
    this.births = new Map(births)
  }

  do ({ act, ticket, number }: Outcome): boolean {
    const birth = this.births.get(ticket) ?? -1
    const session = this.sessions.get(birth)
    const isLive = session?.current === ticket
    if (act === 'signIn') this.begin(number, birth)
    if (act === 'signOut') this.sessions.delete(birth)
    if (act === 'revokeAll') this.sessions.clear()
    if (act === 'push' && isLive) session.list.push(number)
    if (act === 'rotate' && isLive) this.births.set(session.current = number, birth)
    if (act === 'revokeOthers' && isLive) for (const other of [...this.sessions.keys()]) if (other !== birth) this.sessions.delete(other)
    return isLive || ['signIn', 'signOut', 'revokeAll'].includes(act)
  }

  begin (number: number, replaced: number): void {
    this.sessions.delete(replaced)
    this.births.set(number, number)
    this.sessions.set(number, { current: number, list: [] })
  }
}

const step = fc.record<Step>({
  act: fc.oneof(
    { weight: 2, arbitrary: fc.constant<Act>('signIn') },
    { weight: 4, arbitrary: fc.constantFrom<Act>('push', 'rotate') },
    { weight: 2, arbitrary: fc.constantFrom<Act>('signOut', 'revokeOthers', 'read') },
    { weight: 1, arbitrary: fc.constant<Act>('revokeAll') }
  ),
  ticket: fc.nat(),
  process: fc.nat(1),
  pauses: fc.tuple(fc.nat(3), fc.nat(3))
})

tap.setTimeout(300_000)

test('sessions match their model in any order of concurrent operations in two processes', { timeout: 300_000 }, async (t) => {
  const { url } = await startRedis(t)
  const managers = await Promise.all([0, 1].map(() => openManager(t, url)))
  let runs = 0

  await fc.assert(fc.asyncProperty(fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 7 }), async (groups) => {
    const world = new World(managers, `user-${runs++}`)
    let model = new Model()
    for (const group of [[{ act: 'signIn', ticket: 0, process: 0, pauses: [0, 0] } satisfies Step], ...groups]) {
      const outcomes = await world.act(group)
      const seen = await world.look()
      const explained = permutations(outcomes).map((order) => explain(new Model(model), order, seen)).find((found) => found !== undefined)
      if (explained === undefined) throw new Error(`no order explains ${JSON.stringify(outcomes)}: ${JSON.stringify([...seen])}`)
      model = explained
    }
  }), { numRuns: propertyRuns(75) })
  t.equal(runs >= 75, true)
})

/** All tokens that were given to one user, and the operations on them. */
class World {
  readonly #managers: SessionManager[]
  readonly #user: string
  readonly #tokens = new Map<number, SessionToken>()
  #count = 0

  constructor (managers: SessionManager[], user: string) {
    this.#managers = managers
    this.#user = user
  }

  /** Runs all operations concurrently, each with an existing token. */
  async act (group: readonly Step[]): Promise<Outcome[]> {
    const numbers = [...this.#tokens.keys()]
    return await Promise.all(group.map(async (each) => {
      const outcome = { ...each, ticket: numbers[each.ticket % numbers.length] ?? -1, number: this.#count++, isDone: true }
      await this.#do(outcome).catch((error) => {
        fc.pre(error.statusCode !== 503) // A Redis timeout leaves the result unknown: discard the run.
        if (error.statusCode !== 401) throw error
        outcome.isDone = false
      })
      return outcome
    }))
  }

  /** The valid tokens, and the contents of their lists, in any order. */
  async look (): Promise<Map<number, number[]>> {
    const lists = await Promise.all([...this.#tokens].map(async ([number, token]) => {
      const requestSession = await this.#load({ ticket: number, process: number % 2, pauses: [0, 0] }, token)
      fc.pre(requestSession.state !== 'unavailable')
      return requestSession.userId === undefined ? [] : [[number, [...requestSession.get('list') ?? []].sort()] as const]
    }))
    return new Map(lists.flat())
  }

  async #do ({ act, number, ...how }: Outcome): Promise<void> {
    const sessionManager = this.#managers[how.process]
    if (act === 'revokeAll') {
      await sessionManager?.revokeAll(this.#user)
      return
    }
    const requestSession = await this.#load(how, this.#tokens.get(how.ticket))
    if (act === 'signIn') await requestSession.signIn(this.#user)
    else if (act === 'signOut') await requestSession.signOut()
    else requestSession.requireUser()
    if (act === 'rotate') await requestSession.rotate()
    if (act === 'revokeOthers') await requestSession.revokeOthers()
    if (act === 'push') requestSession.update('list', (list = []) => [...list, number])
    await requestSession.save()
    const cookie = requestSession.takeCookie()
    if (cookie !== undefined && cookie !== 'clear') this.#tokens.set(number, cookie.token)
  }

  async #load ({ process, pauses: [before, after] }: Pick<Step, 'process' | 'pauses' | 'ticket'>, token: SessionToken | undefined): Promise<RequestSession<{ list: number[] }>> {
    for (let count = 0; count < before; count++) await tick()
    const sessionManager = this.#managers[process]
    if (sessionManager === undefined) throw new Error('no such process')
    const requestSession = new RequestSession<{ list: number[] }>(sessionManager, { token, hasCookie: true })
    requestSession.load()
    await requestSession.pendingLoad?.settled()
    for (let count = 0; count < after; count++) await tick()
    return requestSession
  }
}

/** The model after this order, if it explains all observations. */
function explain (model: Model, order: readonly Outcome[], seen: ReadonlyMap<number, number[]>): Model | undefined {
  if (!order.every((outcome) => model.do(outcome) === outcome.isDone)) return undefined
  const told = new Map([...model.sessions.values()].map(({ current, list }) => [current, [...list].sort()]))
  const isSame = told.size === seen.size && [...told].every(([ticket, list]) => JSON.stringify(seen.get(ticket)) === JSON.stringify(list))
  return isSame ? model : undefined
}

function permutations<Thing> (things: readonly Thing[]): Thing[][] {
  if (things.length < 2) return [[...things]]
  return things.flatMap((thing, index) => permutations(things.toSpliced(index, 1)).map((rest) => [thing, ...rest]))
}

async function openManager (t: Test, url: string): Promise<SessionManager> {
  const pool = new PooledRedis(resolveRedisPolicy({ url, min: 1, commandTimeout }))
  t.after(() => { pool.disconnect() })
  await reached({ redisPool: pool })
  return new SessionManager(resolveSessionPolicy({ secrets: ['a secret of the tests, 32 or more'] }), pool.batch, pool.keyspace)
}
