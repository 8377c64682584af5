import t from 'tap'
import { Cluster as ClusterClient } from 'ioredis'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { startCluster } from '../support/cluster.ts'
import { buildLimitedApp } from '../support/limited-app.ts'
import { Load } from '../support/load.ts'
import { buildSessionApp } from '../support/session-app.ts'
import { Browser } from '../support/session-browser.ts'
import { startStack } from '../support/stack.ts'
import type { Stack } from '../support/stack.ts'
import { until } from '../support/until.ts'
import { countWrites } from '../support/writes.ts'

async function hits (stack: Stack, n: number): Promise<boolean> {
  const { status, cache } = await stack.page(n)
  return status === 200 && /^prism; hit/.test(cache)
}

/** Enough pages to have some on every node. */
async function fill (stack: Stack): Promise<number[]> {
  const pages = Array.from({ length: 12 }, (_, index) => index)
  for (const n of pages) await until(() => hits(stack, n), { what: `page ${n} is stored` })
  return pages
}

t.test('in a Cluster', { timeout: 300_000 }, async (t) => {
  const cluster = await startCluster(t)

  await t.test('concurrent operations are one write per node, of commands for one slot each', async (t) => {
    const stack = await startStack(t, { url: cluster.url }, { events: false })
    const pages = await fill(stack)
    const written = countWrites(t, ...cluster.nodes.map(({ server }) => server.port))
    await Promise.all(pages.map((n) => stack.page(n)))
    // Each connection reads the slot map once a second in its own write: measure between two of these.
    await until(async () => {
      written.clear()
      await Promise.all(pages.map((n) => stack.page(n)))
      return !written.commands.has('CLUSTER') && !written.commands.has('CLIENT')
    }, { what: 'the slot map is not read meanwhile' })

    t.ok(written.writes <= 3, `${written.writes} writes`)
    t.equal(written.commands.get('MGET'), undefined)
    t.ok(written.commands.has('GET'))
  })

  await t.test('a pool that knows only one node detects that it belongs to a Cluster', async (t) => {
    const stack = await startStack(t, { url: cluster.masters[1]?.server.url }, { events: false })
    await fill(stack)

    t.equal(await stack.write('changed'), 200)
    t.equal(await stack.read(), 'changed')
    t.ok(stack.app.redisPool.server?.isCluster)
  })

  await t.test('a pool connects beside a Cluster client of the app', async (t) => {
    const client = new ClusterClient(cluster.masters.map(({ server: { host, port } }) => ({ host, port })))
    t.after(() => client.disconnect())
    const stack = await startStack(t, { client }, { events: false })
    await fill(stack)

    t.equal(await stack.read(), 'begun')
    t.equal(client.status, 'ready')
  })

  await t.test('a sign-out succeeds while the slot migrates', async (t) => {
    const browser = new Browser(await buildSessionApp(t, cluster.url))
    await until(async () => (await browser.post('/sign-in/moving')).status === 200, { what: 'the client is signed in' })
    const thief = browser.copy()
    const slot = await cluster.slotOf('session:{moving}')
    const from = await cluster.ownerOf(slot)
    const migration = await cluster.openMigration(slot, cluster.masters.find((master) => master !== from) ?? from)

    t.equal((await browser.post('/sign-out')).status, 200)
    t.equal((await thief.get('/required')).status, 401)
    await migration.moveKeys()
    await migration.close()
    t.equal((await thief.get('/required')).status, 401)
  })

  await t.test('a request acquires an expired concurrency slot while the hash slot migrates', async (t) => {
    const key = 'ratelimit:{ip:127.0.0.1}:GET:/held%23concurrency'
    const app = await buildLimitedApp(t, {
      url: cluster.url,
      limit: { quota: 1000, window: '1m' },
      routes: (app) => { app.get('/held', { config: { rateLimit: { concurrency: 1 } } }, async () => await from.control.zrangebyscore(key, Date.now(), '+inf')) }
    })
    const slot = await cluster.slotOf(key)
    const from = await cluster.ownerOf(slot)
    await from.control.zadd(key, 1, 'ended')
    await from.control.pexpire(key, 60_000)
    const migration = await cluster.openMigration(slot, cluster.masters.find((master) => master !== from) ?? from)

    const places = (await app.inject('/held')).json<string[]>()

    t.equal(places.length, 1, 'the request held a slot in Redis')
    await migration.moveKeys()
    await migration.close()
  })

  await t.test('a dedicated connection in a Cluster watches a key', async (t) => {
    const { app: { redisPool } } = await startStack(t, { url: cluster.url }, { events: false })
    await using lease = await redisPool.lease()

    await lease.client.watch('key')
    await redisPool.set('key', 'from elsewhere')
    const lost = await lease.client.multi().set('key', 'mine').exec()

    t.equal(lost, null)
    t.equal(await redisPool.get('key'), 'from elsewhere')
  })
})

t.test('in a Cluster, every request receives a response while a master fails, and its data is served by its replica', { timeout: 300_000 }, async (t) => {
  const cluster = await startCluster(t, { replicas: 1 })
  const stack = await startStack(t, { url: cluster.url, commandTimeout: defaultDeadlineMs }, { events: false })
  const pages = await fill(stack)
  const keys = (await Promise.all(cluster.masters.map(({ control }) => control.keys('session:*')))).flat()
  const master = await cluster.ownerOf(await cluster.slotOf(keys[0] ?? ''))
  const statuses = new Map<number, number>()
  const load = new Load({
    rate: 100,
    call: async () => {
      const { status } = await stack.page(pages[load.samples.length % pages.length])
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  })
  t.after(() => load.stop())

  await cluster.failover(master)
  const pageOnEveryNode = () => Promise.all(pages.map((n) => hits(stack, n)))
  await until(async () => (await pageOnEveryNode()).every(Boolean), { what: 'every page is from the cache', deadlineMs: 30_000 })
  await until(async () => await stack.read() === 'begun', { what: 'the session is readable again' })
  load.stop()
  await until(() => load.count('waiting') === 0, { what: 'all have a reply' })

  t.equal(await stack.write('after the failover'), 200)
  t.equal(await stack.read(), 'after the failover')
  t.same([...statuses.keys()], [200])
  t.equal(load.count('failed'), 0)
})
