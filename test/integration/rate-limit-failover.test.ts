import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import tap, { test } from 'tap'
import { buildLimitedApp } from '../support/limited-app.ts'
import { disconnectTimeout } from '../support/redis-process.ts'
import { startSentinel } from '../support/sentinel.ts'
import { until } from '../support/until.ts'

tap.setTimeout(120_000)

const quota = 1_000_000

test('rate-limit answers through a failover in flight, refuses nobody for it, and tells the new master what is under way', { timeout: 120_000 }, async (t) => {
  const group = await startSentinel(t)
  const [master, replica] = group.servers
  if (master === undefined || replica === undefined) throw new Error('a master and a replica')
  const held: (() => void)[] = []
  const app = await buildLimitedApp(t, {
    url: `redis+sentinel://${group.sentinels.map(({ host, port }) => `${host}:${port}`).join()}/${group.name}`,
    limit: { quota, window: '10m' },
    routes: (app) => {
      app.get('/', async () => 'fine')
      app.get('/held', { config: { rateLimit: { concurrency: 1 } } }, async () => await new Promise((resolve) => { held.push(() => resolve('fine')) }))
    }
  })
  let sent = 0
  const send = async () => {
    sent += 1
    return await app.inject('/')
  }
  const counter = 'ratelimit:{ip:127.0.0.1}:all'
  const places = 'ratelimit:{ip:127.0.0.1}:GET:/held%23places'
  await until(async () => (await send()).headers.ratelimit !== undefined && app.redisPool.state === 'ready', { what: 'the master is found' })
  const operator = new Redis(master.url, { disconnectTimeout })
  t.after(() => { operator.disconnect() })
  process.kill(replica.pid, 'SIGSTOP')
  await operator.call('CLIENT', 'KILL', 'TYPE', 'replica')
  const long = app.inject('/held')
  await until(() => held.length === 1, { what: 'one is under way, and the replica was not told' })

  const statuses = new Map<number, number>()
  const flood = { isOver: false }
  const senders = Array.from({ length: 10 }, async () => {
    while (!flood.isOver) {
      const { statusCode } = await send()
      statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1)
      await sleep(5) // a load, not a wait: the Sentinels need the processor too
    }
  })
  operator.disconnect()
  await master.kill()
  process.kill(replica.pid, 'SIGCONT')
  const promoted = new Redis(replica.url, { disconnectTimeout })
  t.after(() => { promoted.disconnect() })
  await until(async () => {
    const before = await promoted.getBuffer(counter)
    await send()
    return before?.equals(await promoted.getBuffer(counter) ?? Buffer.of()) === false
  }, { what: 'the new master counts', deadlineMs: 60_000 })
  await until(async () => await promoted.zcard(places) === 1, { what: 'the new master knows what is under way' })
  flood.isOver = true
  await Promise.all(senders)

  t.same([...statuses.keys()], [200], 'nobody was refused')
  const left = Number(/;r=(\d+)/.exec(String((await send()).headers.ratelimit))?.[1])
  t.ok(quota - left <= sent + 1, 'nothing was counted twice, the one under way included')
  // Whoever asks while Redis does not answer in time is counted in the process, which knows of no place: such a request is let go at once.
  const letGo = setInterval(() => { while (held.length > 1) held.pop()?.() }, 10)
  t.after(() => { clearInterval(letGo) })
  const full = await until(async () => {
    const reply = await app.inject('/held')
    return reply.statusCode === 429 && reply
  }, { what: 'the place is taken' })
  t.same(full.json()['violated-policies'], ['places'], 'the place is taken')
  held[0]?.()
  t.equal((await long).statusCode, 200)
  await until(async () => await promoted.exists(places) === 0, { what: 'its place is free' })
  for (const key of await promoted.keys('ratelimit:*')) t.ok(await promoted.pttl(key) > 0, 'it has an end')
})
