import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import tap, { test } from 'tap'
import { buildLimitedApp } from '../support/limited-app.ts'
import { disconnectTimeout } from '../support/redis-process.ts'
import { startSentinel } from '../support/sentinel.ts'
import { until } from '../support/until.ts'

tap.setTimeout(300_000)

const quota = 1_000_000

test('rate-limit serves requests through a failover, rejects none, and registers requests in progress at the new master', { timeout: 300_000 }, async (t) => {
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
  const slots = 'ratelimit:{ip:127.0.0.1}:GET:/held%23concurrency'
  await until(async () => (await send()).headers.ratelimit !== undefined && app.redisPool.state === 'ready', { what: 'the master is found' })
  const operator = new Redis(master.url, { disconnectTimeout })
  t.after(() => { operator.disconnect() })
  process.kill(replica.pid, 'SIGSTOP')
  await operator.call('CLIENT', 'KILL', 'TYPE', 'replica')
  const long = app.inject('/held')
  await until(() => held.length === 1, { what: 'one request is in progress, and the replica does not know it' })

  const statuses = new Map<number, number>()
  const flood = { isOver: false }
  const senders = Array.from({ length: 10 }, async () => {
    while (!flood.isOver) {
      const { statusCode } = await send()
      statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1)
      await sleep(5) // Load, not a wait: the Sentinels need CPU time too.
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
  await until(async () => await promoted.zcard(slots) === 1, { what: 'the new master has the request in progress' })
  flood.isOver = true
  await Promise.all(senders)

  t.same([...statuses.keys()], [200], 'no request was rejected')
  const left = Number(/;r=(\d+)/.exec(String((await send()).headers.ratelimit))?.[1])
  t.ok(quota - left <= sent + 1, 'nothing was counted twice, including the request in progress')
  // Requests for which Redis sends no reply in time are counted by the process without the slot: these are released at once.
  const release = setInterval(() => { while (held.length > 1) held.pop()?.() }, 10)
  t.after(() => { clearInterval(release) })
  const full = await until(async () => {
    const reply = await app.inject('/held')
    return reply.statusCode === 429 && reply
  }, { what: 'the slot is held' })
  t.same(full.json()['violated-policies'], ['concurrency'], 'the slot is held')
  held[0]?.()
  t.equal((await long).statusCode, 200)
  await until(async () => await promoted.exists(slots) === 0, { what: 'its slot is free' })
  for (const key of await promoted.keys('ratelimit:*')) t.ok(await promoted.pttl(key) > 0, 'the key expires')
})
