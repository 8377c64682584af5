import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { cachingApp } from '../helpers/caching.ts'
import { startCluster } from '../helpers/cluster.ts'
import { until } from '../helpers/until.ts'

async function isHit (app: FastifyInstance, url = '/a'): Promise<boolean> {
  return String((await app.inject(url)).headers['cache-status']).includes('; hit')
}

t.test('cache purges, softly too, in a Cluster, and leaves no key without an end', { timeout: 60_000 }, async (t) => {
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
  t.equal(await seen(app), 2, 'stale, in the place of an error')
  await app.cache.purge('all')
  t.equal(await seen(other), undefined, 'gone after all')

  const keys = (await Promise.all(cluster.masters.map(({ control }) => control.keys('*').then((names) => names.map((name) => ({ control, name })))))).flat()
  t.ok(keys.length > 3)
  for (const { control, name } of keys) t.not(await control.pttl(name), -1, name)
})

t.test('a master of a Cluster that has lost its markers brings no purged answer back', { timeout: 60_000 }, async (t) => {
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

  const answers = await Promise.all(urls.map(async (url) => (await app.inject(url)).json<{ seen: number }>().seen))
  t.ok(answers.every((seen) => seen === 2))
})
