import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import t from 'tap'
import { testDatabase, testSecret } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { startRig } from '../support/faults.ts'
import { readiness, startListening, startService } from '../support/service.ts'
import type { Service } from '../support/service.ts'
import { Browser } from '../support/session-browser.ts'
import { until } from '../support/until.ts'

// The procedures of docs/procedures.md, with real processes.
t.setTimeout(300_000)

const [oldSecret, newSecret] = [testSecret, 'another secret of the tests: 32 or more']
const ada = { name: 'Ada', password: 'correct horse' }

/** Signs in at a service; the account exists after the first call. */
async function signIn (service: Service): Promise<Browser> {
  const browser = new Browser(service.url)
  await browser.post('/users', ada)
  const { status } = await browser.post('/session', ada)
  if (status !== 200) throw new Error(`signing in responds with ${status}`)
  return browser
}

async function statusAt (service: Service, browser: Browser): Promise<number> {
  return (await browser.copy(service.url).get('/session')).status
}

/** Requests the session until it is stopped. @returns the number of responses by status */
function poll (service: () => Service, browser: Browser): () => Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const over = new AbortController()
  const done = (async () => {
    while (!over.signal.aborted) {
      const status = await statusAt(service(), browser).catch(() => 'no response')
      counts[status] = (counts[status] ?? 0) + 1
      await pause(50)
    }
  })()
  return async () => {
    over.abort()
    await done
    return counts
  }
}

t.test('a secret is rotated in two steps without a sign-out, and the new one first signs users out of instances that lack it', async (t) => {
  const shared = { REDIS_URL: (await startRedis(t)).url, DATABASE_PATH: testDatabase(t) }
  const start = async (secrets: string) => await startService(t, { ...shared, SESSION_SECRET: secrets })
  const before = await start(oldSecret)
  const user = await signIn(before)

  // The wrong order.
  const newFirst = await start(`${newSecret},${oldSecret}`)
  t.equal(await statusAt(newFirst, user), 200)
  t.equal(await statusAt(before, await signIn(newFirst)), 401, 'a cookie of the new secret is unknown to the old instance')
  await newFirst.stop()

  // Step 1: every instance accepts both, and still issues cookies of the old one.
  const first = await start(`${oldSecret},${newSecret}`)
  const duringFirst = await signIn(first)
  for (const service of [before, first]) for (const browser of [user, duringFirst]) t.equal(await statusAt(service, browser), 200)
  await before.stop()

  // Step 2: instances issue cookies of the new one, which those of step 1 accept.
  const second = await start(`${newSecret},${oldSecret}`)
  const duringSecond = await signIn(second)
  for (const service of [first, second]) for (const browser of [user, duringFirst, duringSecond]) t.equal(await statusAt(service, browser), 200)
  await first.stop()

  // Step 3: without the old secret only its cookies end.
  const last = await start(newSecret)
  t.equal(await statusAt(last, duringSecond), 200)
  t.equal(await statusAt(last, user), 401)
})

t.test('the password of Redis is rotated while both are valid, and no request fails', async (t) => {
  const redis = await startRedis(t, { args: ['--user', 'app', 'on', '>old', '~*', '&*', '+@all'] })
  const url = (password: string) => `redis://app:${password}@127.0.0.1:${redis.port}`
  const shared = { DATABASE_PATH: testDatabase(t) }
  const acl = async (...words: string[]) => await redis.client.call('ACL', 'SETUSER', 'app', ...words)
  const before = await startService(t, { ...shared, REDIS_URL: url('old') })
  const user = await signIn(before)
  const stop = poll(() => before, user)

  await acl('>new')
  const after = await startService(t, { ...shared, REDIS_URL: url('new') })
  t.equal(await statusAt(after, user), 200)
  await acl('<old')
  t.equal(await statusAt(before, user), 200, 'connections that are open stay authenticated')
  t.same(Object.keys(await stop()), ['200'])
  await before.stop()
  t.equal(await redis.client.call('CLIENT', 'KILL', 'USER', 'app') as number > 0, true)
  t.equal(await until(async () => await statusAt(after, user) === 200, { what: 'the new instance has reconnected with the new password' }), true)

  // An instance that still has the old password cannot connect, and says why.
  const late = await startListening(t, { ...shared, REDIS_URL: url('old') })
  await until(async () => /wrong_password/.test(JSON.stringify(await readiness(late))), { what: 'the reason is wrong_password' })
})

t.test('a move to another Redis preserves the sessions, and instances of the new one become ready when it is promoted', async (t) => {
  const [from, to] = [await startRedis(t), await startRedis(t)]
  const shared = { DATABASE_PATH: testDatabase(t), READY_REQUIRES_REDIS: 'true' }
  const before = await startService(t, { ...shared, REDIS_URL: from.url })
  const user = await signIn(before)

  await to.client.replicaof('127.0.0.1', from.port)
  await until(async () => /master_link_status:up/.test(await to.client.info('replication')), { what: 'the new Redis is in sync' })
  const after = await startListening(t, { ...shared, REDIS_URL: to.url })
  await until(async () => /read_only/.test(JSON.stringify(await readiness(after))), { what: 'the new instance waits for the promotion' })
  t.equal((await fetch(`${after.url}/healthz/ready`)).status, 503)

  const pausedAt = performance.now()
  await from.client.call('CLIENT', 'PAUSE', '60000', 'WRITE')
  await until(async () => await offsetOf(from.client, 'master_repl_offset') === await offsetOf(to.client, 'slave_repl_offset'), { what: 'the new Redis has every write' })
  await to.client.call('REPLICAOF', 'NO', 'ONE')
  await until(async () => (await fetch(`${after.url}/healthz/ready`)).status === 200, { what: 'the new instance is ready' })
  t.comment(`from the pause to a ready instance: ${Math.round(performance.now() - pausedAt)} ms`)

  t.equal(await statusAt(before, user), 503, 'an instance of the old Redis cannot read the session during the pause')
  t.equal(await statusAt(after, user), 200)

  // No write reaches the old one after the pause.
  await from.client.call('REPLICAOF', '127.0.0.1', String(to.port))
  await from.client.call('CLIENT', 'UNPAUSE')
  await until(async () => /read_only/.test(JSON.stringify(await readiness(before))), { what: 'the old instance reports read_only' })
  t.comment(`at an instance of the old Redis afterwards: session ${await statusAt(before, user)}, sign-in ${(await new Browser(before.url).post('/session', ada)).status}`)
  t.equal((await user.copy(after.url).delete('/session')).status, 204, 'the new Redis accepts writes')
})

async function offsetOf (client: Redis, field: string): Promise<number> {
  return Number(new RegExp(`${field}:(\\d+)`).exec(await client.info('replication'))?.[1])
}

t.test('an instance more or less shares sessions, cache and limits at once', async (t) => {
  const redis = await startRedis(t)
  const shared = { REDIS_URL: redis.url, DATABASE_PATH: testDatabase(t) }
  const clients = async () => Number(/connected_clients:(\d+)/.exec(await redis.client.info('clients'))?.[1])
  const one = await startService(t, shared)
  const user = await signIn(one)
  const stop = poll(() => one, user)
  await until(async () => /hit/.test((await fetch(`${one.url}/cities/2988507`)).headers.get('cache-status') ?? ''), { what: 'the response is stored' })
  const before = await clients()

  const others = [await startService(t, shared), await startService(t, shared)]
  t.comment(`connections to Redis: ${before} with one instance, ${await clients()} with three`)
  for (const service of others) {
    t.equal(await statusAt(service, user), 200)
    t.match((await fetch(`${service.url}/cities/2988507`)).headers.get('cache-status'), /; *hit/)
  }
  const left = async (service: Service) => Number(/"default";r=(\d+)/.exec((await fetch(`${service.url}/cities/2988507`)).headers.get('ratelimit') ?? '')?.[1])
  t.ok(await left(others[0] as Service) > await left(others[1] as Service), 'the limit counts requests of all instances')
  for (const service of others) t.match(await service.stop(), { code: 0 })
  t.same(Object.keys(await stop()), ['200'])
})

t.test('a Redis that is full responds to reads, rejects writes with the reason, and recovers when memory is raised', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '12mb', '--maxmemory-policy', 'noeviction'] })
  const service = await startService(t, { REDIS_URL: redis.url })
  const user = await signIn(service)
  await until(async () => {
    await fill(redis.client) // again: Redis frees buffers of idle clients, and a small write fits
    return /out_of_memory/.test(JSON.stringify(await readiness(service)))
  }, { what: 'the reason is out_of_memory', deadlineMs: 60_000 })

  t.comment(`while full: session ${await statusAt(service, user)}, cities ${(await fetch(`${service.url}/cities/2988507`)).status}, sign-in ${(await new Browser(service.url).post('/session', ada)).status}, sign-out ${(await user.copy(service.url).delete('/session')).status}`)
  await redis.client.config('SET', 'maxmemory', '64mb')
  await until(async () => (await readiness(service)).status === 'ready', { what: 'the service is ready', deadlineMs: 30_000 })
  t.equal((await new Browser(service.url).post('/session', ada)).status, 200)
})

t.test('with a Redis slower than the deadline sessions are 503 and cached routes 200, and an instance with a longer deadline waits for it', async (t) => {
  const rig = await startRig(t)
  const shared = { REDIS_URL: rig.url, DATABASE_PATH: testDatabase(t) }
  const service = await startService(t, shared)
  const patient = await startService(t, { ...shared, REDIS_COMMAND_TIMEOUT: '5s' })
  const user = await signIn(service)

  await rig.proxy.fault('latency', { delayMs: 300 })
  await until(async () => /no_answer/.test(JSON.stringify(await readiness(service))), { what: 'the reason is no_answer', deadlineMs: 30_000 })
  t.equal(await statusAt(service, user), 503)
  t.equal((await fetch(`${service.url}/cities/2988507`)).status, 200)
  t.equal(await statusAt(patient, user), 200)
  t.equal((await readiness(patient)).status, 'ready')

  await rig.proxy.heal()
  await until(async () => (await readiness(service)).status === 'ready', { what: 'the service is ready', deadlineMs: 30_000 })
  t.equal(await statusAt(service, user), 200)
})

t.test('a stampede on one URL at two instances costs few handler runs', async (t) => {
  const redis = await startRedis(t)
  const shared = { REDIS_URL: redis.url, DATABASE_PATH: testDatabase(t) }
  const services = [await startService(t, shared), await startService(t, shared)]
  const fills = async () => {
    const texts = await Promise.all(services.map(async ({ url }) => await (await fetch(`${url}/metrics`)).text()))
    return texts.reduce((sum, text) => sum + Number(/^prism_cache_events_total\{[^}]*event="fill"[^}]*\} (\d+)/m.exec(text)?.[1] ?? NaN), 0)
  }
  const before = await fills()

  const statuses = await Promise.all(Array.from({ length: 200 }, async (_, index) => (await fetch(`${services[index % 2]?.url}/cities/2950159`)).status))

  const runs = await fills() - before
  t.comment(`${runs} handler runs for 200 requests`)
  t.same([...new Set(statuses)], [200])
  t.ok(runs >= 1 && runs <= 10, `${runs} runs`)
})

let filled = 0

/** Fills a Redis with data of another app until it rejects the smallest write. */
async function fill (client: Redis): Promise<void> {
  for (const size of [100_000, 1000, 10]) {
    while (await client.set(`other:${filled++}`, 'x'.repeat(size)).catch(() => 'full') !== 'full');
  }
}
