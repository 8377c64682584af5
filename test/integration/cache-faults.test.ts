import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import { startCluster } from '../support/cluster.ts'
import { faults, startRig } from '../support/faults.ts'
import { until } from '../support/until.ts'

/** A route whose response contains the number of its handler run. */
function addRoute (app: FastifyInstance): void {
  let runs = 0
  app.get('/:id', { config: { cache: { tags: ['all'] } } }, async (request, reply) => {
    reply.tag(`item:${(request.params as { id: string }).id}`)
    return { run: ++runs, id: (request.params as { id: string }).id, pad: 'x'.repeat(2000) }
  })
}

for (const [name, fault] of Object.entries(faults)) {
  t.test(`cache serves correct responses during Redis faults: ${name}`, async (t) => {
    const rig = await startRig(t)
    const app = await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs })
    addRoute(app)
    await app.inject('/kept')
    await stored(app)

    await fault.inject(rig)
    const replies = []
    for (let count = 0; count < 4; count++) replies.push(await app.inject('/kept'), await app.inject(`/new${count}`))
    const together = await Promise.all(Array.from({ length: 10 }, () => app.inject('/together')))

    for (const reply of [...replies, ...together]) {
      t.equal(reply.statusCode, 200)
      t.equal(reply.json().pad.length, 2000)
      t.match(reply.headers['cache-status'], /^prism; (hit|fwd=(miss|bypass))/)
    }
    await fault.heal(rig)
    await until(async () => {
      const reply = await app.inject('/after')
      return /hit/.test(String(reply.headers['cache-status']))
    }, { what: 'the cache hits again' })
  })
}

t.test('RFC 9111 section 5.2.1.7: cache runs no handler for only-if-cached, with and without Redis', async (t) => {
  const rig = await startRig(t)
  const app = await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs })
  app.get('/', { config: { cache: { ttl: 'response' } } }, async () => { throw new Error('the handler ran') })
  const only = { url: '/', headers: { 'cache-control': 'only-if-cached' } }

  t.equal((await app.inject(only)).statusCode, 504)
  await faults.down.inject(rig)
  t.equal((await app.inject(only)).statusCode, 504)
})

t.test('cache treats a malformed entry as a miss and replaces it', async (t) => {
  const app = await cachingApp(t)
  addRoute(app)
  await app.inject('/1')
  await stored(app)
  const [key = ''] = await app.redis.keys('api:cache:GET:*')
  const entry = await app.redis.getBuffer(key) ?? Buffer.alloc(0)
  const changed = (at: number, to: number) => { const copy = Buffer.from(entry); copy[at] = to; return copy }
  const wrong: Record<string, Buffer | string> = {
    'an empty string': '',
    'a text': 'hello',
    'an entry of an earlier version': changed(0, 1),
    'an entry of a future version': changed(0, 3),
    'an unknown coding': changed(1, 3),
    'unknown flags': changed(1, 255),
    'an entry cut short': entry.subarray(0, -1),
    'an entry cut in its head': entry.subarray(0, 20),
    'an entry with trailing bytes': Buffer.concat([entry, Buffer.from('x')]),
    'an entry of another key': Buffer.from(entry.toString('latin1').replace('/1\n', '/2\n'), 'latin1'),
    'an entry whose text is too long': changed(7, 255),
    'a Vary record of another key': 'vary:{"key":"x","vary":["a"],"names":[]}',
    'a malformed Vary record': 'vary:{',
    'a body that cannot be read': Buffer.concat([entry.subarray(0, -100), Buffer.alloc(100, 7)])
  }

  let run = 1
  for (const [name, value] of Object.entries(wrong)) {
    await app.redis.set(key, value, 'PX', 60_000)
    const reply = await app.inject('/1')
    await stored(app)
    t.same([reply.statusCode, reply.json().run], [200, ++run], name)
    if (name !== 'a body that cannot be read') t.equal((await app.inject('/1')).json().run, run, `${name}: replaced`)
  }
  await app.redis.del(key)
  await app.redis.lpush(key, 'a list')
  t.same((await app.inject('/1')).json().run, run + 1)
})

t.test('cache accepts arbitrary bytes as an entry without an exception', async (t) => {
  const app = await cachingApp(t)
  addRoute(app)
  await app.inject('/1')
  await stored(app)
  const [key = ''] = await app.redis.keys('api:cache:GET:*')
  const entry = await app.redis.getBuffer(key) ?? Buffer.alloc(0)

  for (let count = 0; count < 300; count++) {
    const broken = Buffer.from(entry)
    for (let hits = 0; hits < 1 + count % 4; hits++) broken[Math.floor(Math.random() * 200)] = Math.floor(Math.random() * 256)
    await app.redis.set(key, broken, 'PX', 60_000)
    const reply = await app.inject('/1')
    if (reply.statusCode >= 500) t.fail(`a broken entry was served with ${reply.statusCode}: ${broken.subarray(0, 200).toString('hex')}`)
  }

  t.pass('300 broken entries')
})

t.test('cache stores and purges in a Cluster as on a single server', async (t) => {
  const cluster = await startCluster(t)
  const [one, other] = [await cachingApp(t, { url: cluster.url }), await cachingApp(t, { url: cluster.url })]
  await until(() => one.redisPool.server?.isCluster && other.redisPool.server?.isCluster, { what: 'both know the cluster' })
  addRoute(one)
  addRoute(other)
  const isHit = async (app: FastifyInstance, path: string) => /hit/.test(String((await app.inject(path)).headers['cache-status']))

  for (const path of ['/1', '/2', '/3', '/4']) await until(() => isHit(one, path), { what: `${path} is stored` })
  t.same(await Promise.all(['/1', '/2', '/3', '/4'].map((path) => isHit(other, path))), [true, true, true, true])
  await other.cache.purge('item:1', 'item:3')
  t.same(await Promise.all(['/1', '/2', '/3', '/4'].map((path) => isHit(one, path))), [false, true, false, true])
  await one.cache.purge('all')
  t.same(await Promise.all(['/1', '/2', '/3', '/4'].map((path) => isHit(other, path))), [false, false, false, false])
})
