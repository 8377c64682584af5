import fastify from 'fastify'
import t from 'tap'
import redis from '../../plugins/redis.ts'
import { startRig } from '../support/faults.ts'
import { freePort } from '../support/ports.ts'
import { until } from '../support/until.ts'

t.test('the app starts in degraded mode without Redis, and logs that and the later connection', async (t) => {
  const rig = await startRig(t)
  await rig.proxy.fault('down')
  const lines: string[] = []
  const app = fastify({ logger: { stream: { write: (line) => { lines.push(line) } } } })
  t.after(() => app.close())

  await app.register(redis, { url: rig.url })
  await app.ready()
  const stateAtStart = app.redisPool.state
  await rig.proxy.heal()
  await until(() => app.redisPool.state === 'ready', { what: 'the pool has reconnected' })

  t.equal(stateAtStart, 'degraded')
  t.match(lines.join(''), /Redis not reachable, starting in degraded mode/)
  t.match(lines.join(''), /"redis":\{"version":"\d[^}]*"maxmemoryPolicy":"noeviction"\},"msg":"Connected to Redis"/)
})

t.test('the start and the end of an outage are logged once each', async (t) => {
  const rig = await startRig(t)
  const lines: string[] = []
  const app = fastify({ logger: { stream: { write: (line) => { lines.push(line) } } } })
  t.after(() => app.close())
  await app.register(redis, { url: rig.url })

  await rig.proxy.fault('blackHole')
  await until(() => app.redis.get('key').then(() => false, () => /Redis unavailable/.test(lines.join(''))), { what: 'the outage is logged' })
  await rig.proxy.heal()
  await until(() => /Redis connection restored/.test(lines.join('')), { what: 'its end is logged' })

  t.equal(lines.filter((line) => /Redis unavailable/.test(line)).length, 1)
})

t.test('while the server executes no writes, as after CLIENT PAUSE … WRITE, the outage does not end, although it replies to PING and reads', async (t) => {
  const rig = await startRig(t)
  const lines: string[] = []
  const app = fastify({ logger: { stream: { write: (line) => { lines.push(line) } } } })
  t.after(() => app.close())
  await app.register(redis, { url: rig.url })
  const count = (text: string) => lines.filter((line) => line.includes(text)).length
  const write = () => app.redisPool.batch.command('SET', ['key', '1']).catch(() => {})
  let isPaused = true

  await rig.control.call('CLIENT', 'PAUSE', 60_000, 'WRITE')
  await until(async () => { await write(); return count('Redis unavailable') === 1 }, { what: 'the outage is logged' })
  const pausedUntil = performance.now() + 3000
  while (performance.now() < pausedUntil) {
    await write()
    t.equal(await rig.control.ping(), 'PONG')
    if (app.redisPool.state === 'ready') isPaused = false
    await new Promise((resolve) => { setTimeout(resolve, 20) })
  }
  t.equal(count('Redis connection restored'), 0)
  t.equal(count('Redis unavailable'), 1)
  t.ok(isPaused)

  await rig.control.call('CLIENT', 'UNPAUSE')
  await until(() => count('Redis connection restored') === 1, { what: 'its end is logged' })
  await until(async () => { await write(); return await rig.control.get('key') === '1' }, { what: 'writes arrive' })
})

t.test('an invalid url is rejected without showing its password', async (t) => {
  const app = fastify()
  t.after(() => app.close())

  await t.rejects(async () => { await app.register(redis, { url: 'http://:secret@host' }) }, { code: 'PRISM_ERR_OPTION', message: /^(?!.*secret)/ })
})

t.test('the app closes although Redis was never reachable', async (t) => {
  const app = fastify()
  await app.register(redis, { url: `redis://127.0.0.1:${await freePort()}` })

  await t.resolves(app.close())
})
