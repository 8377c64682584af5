import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { cachingApp, isHit } from '../support/caching.ts'
import { startCluster } from '../support/cluster.ts'
import type { Cluster } from '../support/cluster.ts'
import type { ClusterNode } from '../support/cluster-node.ts'
import { until } from '../support/until.ts'

t.test('cache purges and soft-purges in a Cluster, and every key that it writes expires', { timeout: 300_000 }, async (t) => {
  const cluster = await startCluster(t)
  const [app, other] = [await cachingApp(t, { url: cluster.url }), await cachingApp(t, { url: cluster.url })]
  let version = 1
  for (const each of [app, other]) {
    each.get('/a', { config: { cache: { tags: ['all', 'a'], staleIfError: '1m' } } }, async () => {
      if (version < 0) throw new Error('broken')
      return { seen: version }
    })
  }
  const seen = async (of: FastifyInstance) => (await of.inject('/a')).json<{ seen?: number }>().seen
  await until(async () => await isHit(app) && await isHit(other), { what: 'it is stored' })

  version = 2
  await app.cache.purge('a')
  t.equal(await seen(other), 2, 'gone')
  await until(() => isHit(app), { what: 'it is stored again' })

  version = -1
  await other.cache.purge('all', { soft: true })
  t.equal(await seen(app), 2, 'stale, instead of an error')
  await app.cache.purge('all')
  t.equal(await seen(other), undefined, 'removed')

  const keys = (await Promise.all(cluster.masters.map(({ control }) => control.keys('*').then((names) => names.map((name) => ({ control, name })))))).flat()
  t.ok(keys.length > 3)
  for (const { control, name } of keys) t.not(await control.pttl(name), -1, name)
})

t.test('a Cluster master that has lost its tag versions serves no purged response', { timeout: 300_000 }, async (t) => {
  const cluster = await startCluster(t)
  const app = await cachingApp(t, { url: cluster.url })
  let version = 1
  app.get('/:id', { config: { cache: { tags: ['all'] } } }, async () => ({ seen: version }))
  const urls = Array.from({ length: 12 }, (_, index) => `/${index}`)
  await until(async () => (await Promise.all(urls.map((url) => isHit(app, url)))).every(Boolean), { what: 'all are stored', deadlineMs: 30_000 })
  version = 2
  await app.cache.purge('all')

  const lost = await cluster.ownerOf(await cluster.slotOf('api:cache:tag:all'))
  await lost.control.flushall()

  const responses = await Promise.all(urls.map(async (url) => (await app.inject(url)).json<{ seen: number }>().seen))
  t.ok(responses.every((seen) => seen === 2))
})

type Die = (node: ClusterNode) => Promise<void> | void

const ways: Record<string, { die: Die, comeBack?: Die }> = {
  dies: { die: (node) => node.server.kill() },
  hangs: { die: (node) => node.server.signal('SIGSTOP'), comeBack: (node) => node.server.signal('SIGCONT') }
}

async function ownerOfKey (cluster: Cluster, pattern: string): Promise<ClusterNode | undefined> {
  const found = await Promise.all(cluster.masters.map(async (node) => (await node.control.keys(pattern)).length > 0))
  return cluster.masters[found.indexOf(true)]
}

/** How often a node received CLUSTER SLOTS. */
async function lookUps ({ control }: ClusterNode): Promise<number> {
  return Number(/cmdstat_cluster\|slots:calls=(\d+)/.exec(await control.info('commandstats'))?.[1] ?? 0)
}

for (const [name, { die, comeBack }] of Object.entries(ways)) {
  for (const hasEpoch of [true, false]) {
    t.test(`a Cluster master that ${name} causes no misses on the other masters, ${hasEpoch ? 'if it has the server epoch' : 'if another master has the server epoch'}`, { timeout: 300_000 }, async (t) => {
      const cluster = await startCluster(t, { args: ['--cluster-require-full-coverage', 'no'] })
      const app = await cachingApp(t, { url: cluster.url, commandTimeout: defaultDeadlineMs })
      const urls = Array.from({ length: 24 }, (_, index) => `/page-${index + 10}`)
      for (const url of urls) app.get(url, { config: { cache: { ttl: '10m' } } }, async () => ({}))
      await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
      for (const url of urls) await until(() => isHit(app, url), { what: 'it is stored' })
      const epochOwner = await ownerOfKey(cluster, 'api:cache:epoch:*')
      const dead = cluster.masters.find((node) => (node === epochOwner) === hasEpoch) as ClusterNode
      const living = cluster.masters.find((node) => node !== dead) as ClusterNode
      const owners = await Promise.all(urls.map((url) => ownerOfKey(cluster, `api:cache:GET:*${url.slice(1)}:*`)))
      const others = urls.filter((_, index) => owners[index] !== dead)
      t.ok(others.length > 0 && others.length < urls.length)
      let servers = 0
      let misses = 0
      app.redisPool.on('server', () => { servers += 1 })
      const isOver = async (condition: () => boolean | Promise<boolean>) => {
        for (const url of urls) if (!await isHit(app, url) && others.includes(url)) misses += 1
        return await condition()
      }

      await die(dead)
      await until(() => isOver(() => app.redisPool.isCircuitOpen), { what: 'the outage is detected' })
      const before = await lookUps(living)
      await until(() => isOver(async () => await lookUps(living) > before + 20), { what: 'every connection has read the slots' })
      await comeBack?.(dead)
      if (comeBack !== undefined) await until(() => isOver(() => app.redisPool.state === 'ready'), { what: 'the node is back' })

      t.equal(misses, 0)
      t.equal(servers, 0, 'no other server was seen')
    })
  }
}

t.test('a process that starts during the outage of one Cluster master causes no misses when that master returns', { timeout: 300_000 }, async (t) => {
  const cluster = await startCluster(t, { args: ['--cluster-require-full-coverage', 'no'] })
  const urls = Array.from({ length: 24 }, (_, index) => `/page-${index + 10}`)
  const start = async () => {
    const app = await cachingApp(t, { url: cluster.url, commandTimeout: defaultDeadlineMs })
    for (const url of urls) app.get(url, { config: { cache: { ttl: '10m' } } }, async () => ({}))
    return app
  }
  const app = await start()
  await until(() => app.redisPool.load.ready === app.redisPool.load.connections, { what: 'all connections are ready' })
  for (const url of urls) await until(() => isHit(app, url), { what: 'it is stored' })
  const epochOwner = await ownerOfKey(cluster, 'api:cache:epoch:*')
  const dead = cluster.masters.find((node) => node !== epochOwner) as ClusterNode
  dead.server.signal('SIGSTOP')
  await until(async () => {
    for (const url of urls) await isHit(app, url)
    return app.redisPool.isCircuitOpen
  }, { what: 'the outage is detected' })

  const late = await start()
  const runIds = new Set<string>()
  late.redisPool.on('server', ({ runId }: { runId: string }) => runIds.add(runId))
  const owners = await Promise.all(urls.map(async (url) => await ownerOfLiving(cluster, dead, `api:cache:GET:*${url.slice(1)}:*`)))
  const others = urls.filter((_, index) => owners[index] !== undefined)
  t.ok(others.length > 0 && others.length < urls.length)
  for (const url of others) await isHit(late, url)
  dead.server.signal('SIGCONT')
  await until(() => runIds.size > 0 && [app, late].every(({ redisPool }) => redisPool.state === 'ready'), { what: 'both processes have reconnected' })

  for (const each of [app, late]) t.same(await Promise.all(others.map((url) => isHit(each, url))), others.map(() => true))
})

async function ownerOfLiving ({ masters }: Cluster, dead: ClusterNode, pattern: string): Promise<ClusterNode | undefined> {
  for (const node of masters) if (node !== dead && (await node.control.keys(pattern)).length > 0) return node
  return undefined
}
