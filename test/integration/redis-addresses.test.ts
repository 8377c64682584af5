import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { PooledRedis } from '../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../src/redis/options.ts'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { aclUser, noDefaultUser } from '../support/acl.ts'
import { Load } from '../support/load.ts'
import { freePort } from '../support/ports.ts'
import { disconnectTimeout, startRedisProcess } from '../support/redis-process.ts'
import { startSentinel } from '../support/sentinel.ts'
import { startService } from '../support/service.ts'
import { startStack } from '../support/stack.ts'
import type { Stack } from '../support/stack.ts'
import { startTls } from '../support/tls.ts'
import { until } from '../support/until.ts'

/** What a client does on any Redis: session, cache, purge, quota, in one write per hit. */
async function checkFeatures (t: Test, stack: Stack): Promise<void> {
  const isHit = async () => /^prism; hit/.test((await stack.page()).cache)
  await until(isHit, { what: 'a stored page' })
  const { writes } = stack.app.redisPool.batch.counts
  t.ok(await isHit())
  t.equal(stack.app.redisPool.batch.counts.writes, writes + 1)
  await stack.purge()
  t.match((await stack.page()).cache, /fwd=(miss|stale)/)
  t.equal(await stack.read(), 'begun')
  t.equal(await stack.write('changed'), 200)
  t.equal(await stack.read(), 'changed')
  t.same([await stack.few(), await stack.few(), await stack.few()], [200, 200, 429])
}

t.test('over TLS, a server certificate of an unknown authority or another name is rejected', async (t) => {
  const { url, ca, port } = await startTls(t)
  const attempt = async (url: string, tls: { ca?: string, servername?: string }) => {
    const pool = new PooledRedis(resolveRedisPolicy({ url, connection: { tls } }))
    t.after(() => pool.quit())
    return await pool.start(5000)
  }
  // If all first attempts time out on a busy machine, the app starts in degraded mode.
  const reach = async (url: string) => await until(() => attempt(url, { ca }), { what: 'the server is reached' })

  t.equal(await reach(url), true)
  t.equal(await reach(`rediss://localhost:${port}`), true)
  t.equal(await attempt(url, {}), false)
  t.equal(await attempt(url, { ca, servername: 'other.example' }), false)
})

t.test('over TLS, closing a pool during the handshake with an untrusted server does not crash the process', async (t) => {
  const { url, ca } = await startTls(t)
  const giveUp = async (seeds: string, waitMs: number) => {
    const pool = new PooledRedis(resolveRedisPolicy({ url: seeds, connection: { tls: { ca, servername: 'other.example' } } }))
    const isReady = await pool.start(waitMs)
    await pool.quit()
    return isReady
  }

  const started = await Promise.all(Array.from({ length: 40 }, (_, index) => giveUp(index % 4 === 0 ? `${url},${url}` : url, 10 * index)))

  t.same(new Set(started), new Set([false]))
})

t.test('over TLS, a Cluster works as without', async (t) => {
  const { url, ca, port } = await startTls(t, { args: ['--cluster-enabled', 'yes', '--tls-cluster', 'yes', '--cluster-port', String(await freePort()), '--cluster-announce-ip', '127.0.0.1'] })
  const operator = new Redis({ port, tls: { ca }, disconnectTimeout })
  t.after(() => operator.disconnect())
  await operator.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await until(async () => String(await operator.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), { what: 'the Cluster is ready' })
  const pool = new PooledRedis(resolveRedisPolicy({ url: `${url},${url}`, connection: { tls: { ca } } }))
  t.after(() => pool.quit())

  await until(() => pool.batch.command('SET', ['k', 'v']), { what: 'a command has a reply' })
  t.equal(String(await until(() => pool.batch.command('GET', ['k']), { what: 'another command has a reply' })), 'v')
})

t.test('over TLS, the pool recovers after a restart', async (t) => {
  const { url, ca, server } = await startTls(t)
  const stack = await startStack(t, { url, connection: { tls: { ca } } }, { events: false })

  await server.restart()

  await until(async () => /^prism; hit/.test((await stack.page()).cache), { what: 'a page from the cache of the new server' })
  t.equal(stack.app.redisPool.state, 'ready')
})

t.test('over TLS, the service reads authority, certificate and key from its environment', { timeout: 300_000 }, async (t) => {
  const { url, paths } = await startTls(t, { authClients: true })

  const service = await startService(t, { REDIS_URL: url, REDIS_TLS_CA: paths.ca, REDIS_TLS_CERT: paths.cert, REDIS_TLS_KEY: readFileSync(paths.key, 'utf8') })

  const isReady = async () => (await (await fetch(`${service.url}/healthz/ready`)).json() as { redis: string }).redis === 'ready'

  t.ok(await until(isReady, { what: 'the service reaches its Redis over TLS' }))
})

t.test('over a unix socket everything works as over TCP', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prism-socket-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'redis.sock')
  await startRedisProcess(t, { args: ['--unixsocket', path] })

  await checkFeatures(t, await startStack(t, { url: `unix://${path}?db=1` }, { events: false }))
})

t.test('with its own user, password, minimal rights and database everything works', async (t) => {
  const rules = ['~*', '&*', '+@all', '-@admin', '-@dangerous', '+info', '-keys']
  const { port } = await startRedisProcess(t, { args: [...noDefaultUser(), ...aclUser({ name: 'app', password: 's@:/cret', rules })] })

  await checkFeatures(t, await startStack(t, { url: `redis://app:${encodeURIComponent('s@:/cret')}@127.0.0.1:${port}/5` }, { events: false }))
})

t.test('a password changed at run time degrades the app, which recovers when the password is right again', async (t) => {
  const redis = await startRedisProcess(t, { args: ['--requirepass', 'secret', ...aclUser({ name: 'operator', password: 'operator' })] })
  const operator = new PooledRedis(resolveRedisPolicy({ url: `redis://operator:operator@127.0.0.1:${redis.port}`, min: 1 }))
  t.after(() => operator.quit())
  await operator.start(5000)
  const stack = await startStack(t, { url: `redis://:secret@127.0.0.1:${redis.port}` }, { events: false })

  await operator.call('CONFIG', 'SET', 'requirepass', 'changed')
  await operator.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(async () => /bypass/.test((await stack.page()).cache), { what: 'a page without Redis' })
  await until(() => operator.call('CONFIG', 'SET', 'requirepass', 'secret'), { what: 'the old password' })

  await until(async () => /^prism; hit/.test((await stack.page()).cache), { what: 'a page from the cache' })
  t.equal(stack.app.redisPool.state, 'ready')
})

t.test('behind Sentinels, every request receives a response during a failover, and the new master is found', { timeout: 300_000 }, async (t) => {
  const group = await startSentinel(t)
  const url = `redis+sentinel://${group.sentinels.map(({ host, port }) => `${host}:${port}`).join()}/${group.name}`
  const stack = await startStack(t, { url, commandTimeout: defaultDeadlineMs }, { events: false })
  await checkFeatures(t, stack)
  const statuses = new Set<number>()
  const load = new Load({ rate: 100, call: async () => { statuses.add((await stack.page(2)).status) } })
  t.after(() => load.stop())

  await group.failover()
  await until(async () => /^prism; hit/.test((await stack.page(2)).cache), { what: 'a page from the new master', deadlineMs: 30_000 })
  load.stop()
  await until(() => load.count('waiting') === 0, { what: 'all have a reply' })

  t.same([...statuses], [200])
  t.equal(load.count('failed'), 0)
  t.equal(await stack.read(), 'changed')
})
