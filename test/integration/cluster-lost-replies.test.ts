import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import prism from '../../plugins/index.ts'
import { testSecret } from '../support/app.ts'
import { startProxiedCluster } from '../support/proxied-cluster.ts'
import { until } from '../support/until.ts'
import { commandTimeout } from '../support/deadline.ts'
import { SignedInClient } from '../support/signed-in-client.ts'

const tries = 20
/** A lost reply may be that of another script, on the connection that the write was about to use: such a write is not executed, and its 503 is right. */
const fewestExecuted = tries / 2
/** Not EVAL, which probes of nodes send. */
const scripts = ['EVALSHA']

interface World {
  app: FastifyInstance
  /** whether the next write of a handler loses its reply, and its connection */
  isArmed: boolean
  /** cancels a loss that has not happened */
  heal: () => Promise<void>
  /** number of lost replies */
  losses: number
  /** handler runs by page */
  runs: Map<string, number>
}

/** Requests whose handlers lose, on demand, the reply to their next write. */
async function start (t: Test): Promise<World> {
  const cluster = await startProxiedCluster(t)
  const app = fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url: cluster.url, commandTimeout }, session: { secrets: [testSecret] }, rateLimit: { quota: 1_000_000, window: '1m' } })
  const world: World = { app, isArmed: false, heal: cluster.heal, losses: 0, runs: new Map() }
  const lose = async () => {
    if (!world.isArmed) return
    await cluster.loseReply(scripts, () => { world.losses += 1 })
  }
  app.post('/sign-in', async ({ session }) => { await session.signIn('alice'); return {} })
  app.post('/update', async ({ session }) => {
    await lose()
    session.update('test-count', (count: unknown) => Number(count ?? 0) + 1)
    return {}
  })
  app.post('/rotate', async ({ session }) => {
    await lose()
    await session.rotate()
    return {}
  })
  app.post<{ Body: { n: number } }>('/publish', async ({ body }) => {
    await lose()
    return { id: await app.events.publish('events', { type: 'told', data: body }) }
  })
  app.get('/me', async ({ session }) => ({ userId: session.userId, count: session.get('test-count') ?? 0 }))
  app.get<{ Params: { n: string } }>('/page/:n', { config: { cache: { ttl: '5m' } } }, async ({ params }) => {
    world.runs.set(params.n, (world.runs.get(params.n) ?? 0) + 1)
    return {}
  })
  app.post<{ Body: { n: string } }>('/page-with-a-loss', async ({ body }) => {
    await lose()
    return { status: (await app.inject(`/page/${body.n}`)).statusCode }
  })
  await app.ready()
  await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
  return world
}

/** Sends requests until one has lost a reply, and waits for the connections. @returns its status */
async function losing (world: World, send: () => Promise<{ statusCode: number }>): Promise<number> {
  const { losses } = world
  world.isArmed = true
  const statusCode = await until(async () => {
    await world.heal()
    const reply = await send()
    // On a busy machine the session read can time out; the handler then never reaches the write whose reply is to be lost.
    return world.losses > losses && reply.statusCode
  }, { what: 'a reply is lost' })
  world.isArmed = false
  await well(world)
  return statusCode
}

async function well ({ app }: World): Promise<void> {
  await until(() => app.redisPool.state === 'ready' && app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
}

async function signedIn (world: World): Promise<SignedInClient> {
  const client = new SignedInClient(world.app)
  await until(async () => (await client.send('POST', '/sign-in')).statusCode === 200, { what: 'a session' })
  return client
}

t.setTimeout(300_000)

t.test('in a Cluster a session update whose reply is lost is rejected with 503 and applied once', async (t) => {
  const world = await start(t)
  const client = await signedIn(world)
  await client.send('POST', '/update')
  const statuses: number[] = []
  let updates = 1

  for (let index = 0; index < tries; index++) {
    statuses.push(await losing(world, () => {
      updates += 1
      return client.send('POST', '/update')
    }))
  }

  const count = await until(async () => (await client.send('GET', '/me')).json<{ count: number }>().count, { what: 'the session' })
  t.same(statuses, statuses.map(() => 503))
  t.ok(count <= updates, `no update is applied twice: ${count} of ${updates}`)
  t.ok(count > fewestExecuted, `most updates are applied: ${count}`)
})

t.test('in a Cluster a rotation whose reply is lost ends no session', async (t) => {
  const world = await start(t)
  const client = await signedIn(world)
  await client.send('POST', '/rotate')
  const statuses: number[] = []
  const users: unknown[] = []

  for (let index = 0; index < tries; index++) {
    statuses.push(await losing(world, () => client.send('POST', '/rotate')))
    // A session that could not be read in time is anonymous for one request only; an ended session never returns.
    users.push(await until(async () => (await client.send('GET', '/me')).json<{ userId?: string }>().userId, { what: 'the client is signed in' }))
  }

  t.same(statuses, statuses.map(() => 503))
  t.same(users, users.map(() => 'alice'))
})

t.test('in a Cluster an event whose publication loses its reply is delivered once, and the publisher receives 503', async (t) => {
  const world = await start(t)
  const received: unknown[] = []
  using subscription = world.app.events.subscribe('events', ({ data }) => { received.push((data as { n: number }).n) })
  await subscription.ready
  const publish = async (n: number) => await world.app.inject({ method: 'POST', url: '/publish', payload: { n } })
  await publish(0)
  const statuses: number[] = []
  let last = 0

  for (let index = 0; index < tries; index++) statuses.push(await losing(world, () => publish(++last)))
  await until(async () => (await publish(++last)).statusCode === 200, { what: 'the last one is published' })
  await until(() => received.includes(last), { what: 'the last one is received' })

  t.same(statuses, statuses.map(() => 503))
  t.same(received, [...new Set(received)], 'no event is delivered twice')
  t.same(received, received.toSorted((one, other) => Number(one) - Number(other)), 'events are delivered in order')
  t.ok(received.length > fewestExecuted, `most events are delivered: ${received.length}`)
})

t.test('in a Cluster a cached miss whose fill loses a reply runs its handler once, and receives a response', async (t) => {
  const world = await start(t)
  const page = async (n: string) => await world.app.inject({ method: 'POST', url: '/page-with-a-loss', payload: { n } })
  for (let index = 0; index < 30; index++) await page(`warm-${index}`)
  const responses: number[] = []
  let pages = 0

  for (let index = 0; index < tries; index++) {
    await losing(world, async () => {
      const reply = await page(String(++pages))
      responses.push(reply.json<{ status: number }>().status)
      return reply
    })
  }

  t.same(responses, responses.map(() => 200))
  t.same(Array.from({ length: pages }, (_, index) => world.runs.get(String(index + 1))), Array.from({ length: pages }, () => 1))
})
