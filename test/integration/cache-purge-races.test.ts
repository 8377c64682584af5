import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { cachingApp } from '../support/caching.ts'
import { startRedisProcess } from '../support/redis-process.ts'

const rounds = 500

/** Waits for up to this many turns of the event loop, or a few milliseconds. */
async function aWhile (): Promise<void> {
  if (Math.random() < 0.3) await new Promise((resolve) => setTimeout(resolve, Math.random() * 4))
  for (let count = Math.floor(Math.random() * 4); count > 0; count--) await turn()
}

t.test('cache serves no response that is older than an acknowledged purge, in any interleaving, also when Redis loses keys', async (t) => {
  const { url } = await startRedisProcess(t)
  const apps = await Promise.all([cachingApp(t, { url }), cachingApp(t, { url }), cachingApp(t, { url })])
  const values = [0, 0, 0]
  const purged = [0, 0, 0]
  let stale = 0
  for (const app of apps) {
    app.get('/:id', { config: { cache: { tags: ['all'] } } }, async (request, reply) => {
      const id = Number((request.params as { id: string }).id)
      const seen = values[id]
      await aWhile()
      reply.tag(`item:${id}`)
      await aWhile()
      return { seen }
    })
  }
  const any = () => apps[Math.floor(Math.random() * apps.length)] as FastifyInstance
  const read = async (id: number) => {
    const atLeast = purged[id] ?? 0
    const reply = await any().inject(`/${id}`)
    if (reply.json().seen < atLeast) stale++
  }
  const write = async (id: number) => {
    const value = (values[id] ?? 0) + 1
    values[id] = value
    await aWhile()
    await any().cache.purge(Math.random() < 0.8 ? `item:${id}` : 'all')
    purged[id] = Math.max(purged[id] ?? 0, value)
  }
  const forget = async (id: number) => {
    const keys = ['api:cache:seq', 'api:cache:tag:all', `api:cache:tag:item%3A${id}`]
    await any().redis.unlink(keys[Math.floor(Math.random() * keys.length)] ?? '')
  }

  for (let round = 0; round < rounds; round++) {
    const id = round % values.length
    const acts = Array.from({ length: 2 + Math.floor(Math.random() * 6) }, async () => {
      await aWhile()
      const chance = Math.random()
      await (chance < 0.6 ? read(id) : chance < 0.85 ? write(id) : forget(id))
    })
    await Promise.all(acts)
    if (round % 3 === 0) await read(id)
  }

  const hits = apps.reduce((sum, app) => sum + app.cache.counts.hit, 0)
  t.equal(stale, 0)
  t.ok(hits > 0, `${hits} hits among them`)
})
