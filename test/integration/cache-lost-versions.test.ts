import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { cachingApp, stored } from '../support/caching.ts'
import { startCluster } from '../support/cluster.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { until } from '../support/until.ts'

// A purge is acknowledged; then its tag version is evicted, and the purge sequence is restored to a lower one. Whatever creates the version next must not
// make the entries from before the purge usable.

interface World {
  readonly apps: readonly [FastifyInstance, FastifyInstance]
  /** what handlers return from now on */
  data: string
  /** ends the handlers of `/held` */
  release: () => void
  /** loses the tag version and sets the sequence back */
  lose: () => Promise<void>
}

async function startApp (t: Test, url: string, world: Pick<World, 'data'>, gate: Promise<void>): Promise<FastifyInstance> {
  const app = await cachingApp(t, { url, commandTimeout: 2000 })
  for (const path of ['/page/:id', '/held/:id']) {
    app.get(path, { config: { cache: { ttl: '1h', tags: ['all'] } } }, async () => {
      const { data } = world
      if (path.startsWith('/held')) await gate
      return { data }
    })
  }
  return app
}

async function startWorld (t: Test, url: string, control: (key: string) => Redis | Promise<Redis>): Promise<World> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const world = {
    data: 'old',
    release: resolve,
    lose: async () => {
      await (await control('api:cache:tag:all')).unlink('api:cache:tag:all')
      await (await control('api:cache:seq')).set('api:cache:seq', '5', 'PX', 600_000)
    }
  }
  const apps = [await startApp(t, url, world, promise), await startApp(t, url, world, promise)] as const
  return Object.assign(world, { apps })
}

async function dataOf (app: FastifyInstance, path: string): Promise<string> {
  const { data } = (await app.inject(path)).json<{ data: string }>()
  await stored(app)
  return data
}

/** What happens between the loss and the request. */
const next: Record<string, (world: World, app: FastifyInstance) => Promise<void>> = {
  'the same URL is requested': async () => {},
  'another URL is requested first': async (_world, app) => { await dataOf(app, '/page/2') },
  'a fill that began before the purge ends': async (world) => { world.release() },
  'the other process requests both': async ({ apps: [one] }) => { await dataOf(one, '/page/2'); await dataOf(one, '/page/1') }
}

async function assertNotUndone (t: Test, world: World, happen: (world: World, app: FastifyInstance) => Promise<void>): Promise<void> {
  const [one, other] = world.apps
  t.equal(await dataOf(one, '/page/1'), 'old')
  await until(async () => await dataOf(other, '/page/1') === 'old', { what: 'both have the entry' })
  const held = one.inject('/held/1')
  await new Promise((resolve) => { setTimeout(resolve, 50) }) // the handler runs
  world.data = 'new'
  await one.cache.purge('all')
  await world.lose()

  await happen(world, other)
  for (const app of [other, one, other]) t.equal(await dataOf(app, '/page/1'), 'new')

  world.release()
  await held
  await stored(one)
  for (const app of [one, other]) {
    t.equal(await dataOf(app, '/page/1'), 'new')
    t.equal(await dataOf(app, '/held/1'), 'new')
  }
}

for (const [name, happen] of Object.entries(next)) {
  t.test(`a purge is not undone by the loss of its tag version and a sequence that is set back, when ${name}`, async (t) => {
    const { url } = await startRedisProcess(t)
    const control = new Redis(url)
    t.after(() => { control.disconnect() })
    await assertNotUndone(t, await startWorld(t, url, () => control), happen)
  })
}

t.test('in a Cluster a purge is not undone by the loss of its tag version and a sequence that is set back', async (t) => {
  const cluster = await startCluster(t)
  const control = async (key: string) => (await cluster.ownerOf(await cluster.slotOf(key))).control
  await assertNotUndone(t, await startWorld(t, cluster.url, control), async () => {})
})
