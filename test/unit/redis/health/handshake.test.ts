import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { connectionFactory } from '../../../../src/redis/connect.ts'
import { PooledRedis } from '../../../../src/redis/client.ts'
import { resolveRedisPolicy } from '../../../../src/redis/options.ts'
import type { RedisOptions } from '../../../../src/redis/options.ts'
import { aclUser } from '../../../support/acl.ts'
import { startCluster } from '../../../support/cluster.ts'
import { startProxiedCluster } from '../../../support/proxied-cluster.ts'
import { startRig } from '../../../support/proxied-redis.ts'
import { until } from '../../../support/until.ts'

const unavailable = { code: 'PRISM_ERR_REDIS_UNAVAILABLE' }
const username = 'app'
const password = 'secret'
const args = aclUser({ name: username, password, rules: ['~*', '&*', '+@all', '-select', '-client|setname'] })

function open (t: Test, options: RedisOptions): PooledRedis {
  const pool = new PooledRedis(resolveRedisPolicy(options))
  t.after(() => pool.quit())
  return pool
}

/** The first failure that a connection with these options reports. */
async function firstError (t: Test, options: RedisOptions): Promise<Error> {
  const { from, connection } = resolveRedisPolicy(options)
  const client = connectionFactory(from, connection)('commands')
  t.after(() => client.disconnect())
  return await new Promise((resolve) => client.once('error', resolve))
}

t.test('a handshake step that the server rejects is an outage with its reason, and nothing is written to any database', async (t) => {
  const rig = await startRig(t, args)
  const own = new Redis(rig.redis.port, rig.redis.host, { db: 20, lazyConnect: true })
  const { host, port } = rig.redis
  const cases: Record<string, [options: RedisOptions, reason: RegExp]> = {
    'a database in the address that the server does not have': [{ url: `${rig.url}/20` }, /SELECT 20.*out of range/],
    'one in the options': [{ url: rig.url, connection: { db: 16 } }, /SELECT 16.*out of range/],
    'one of a client of the app': [{ client: own }, /SELECT 20.*out of range/],
    'a user without the right to SELECT': [{ url: `redis://${username}:${password}@${host}:${port}/3` }, /SELECT 3.*NOPERM/],
    'a user without the right to name its connection': [{ url: rig.url, connection: { username, password, connectionName: 'shop' } }, /CLIENT SETNAME.*NOPERM/],
    'a wrong password': [{ url: rig.url, connection: { username, password: 'wrong' } }, /WRONGPASS/]
  }
  for (const [name, [options, reason]] of Object.entries(cases)) {
    const pool = open(t, options)

    t.equal(await pool.start(), false, name)
    t.equal(pool.state, 'degraded', name)
    await t.rejects(pool.set('key', 'value'), unavailable, name)
    await t.rejects(pool.batch.command('SET', ['key', 'value']), unavailable, name)
    await t.rejects(pool.lease(), unavailable, name)
    t.match((await firstError(t, options)).message, reason, name)
    pool.disconnect()
  }
  t.notMatch(await rig.control.info('keyspace'), /db\d/)
})

t.test('a duplicate and a subscriber never continue in another database when SELECT is rejected', async (t) => {
  const rig = await startRig(t)
  const pool = open(t, { url: rig.url })
  t.ok(await pool.start())

  const accepted = pool.duplicate()
  const again = accepted.duplicate()
  t.after(() => { accepted.disconnect(); again.disconnect() })
  const refused: Redis[] = [pool, accepted, again].map((client) => client.duplicate({ db: 20 }))
  for (const client of [...refused]) refused.push(client.duplicate())
  for (const client of refused) {
    client.on('error', () => {})
    t.after(() => client.disconnect())
    await t.rejects(client.set('key', 'value'))
    await t.rejects(client.subscribe('channel'))

    t.equal(await rig.control.dbsize(), 0)
    t.not(client.status, 'ready')
  }
})

t.test('a pool with a rejected handshake is ready once the server accepts it, in the configured database', async (t) => {
  const rig = await startRig(t, args)
  const pool = open(t, { url: `${rig.url}/3`, connection: { username, password } })
  t.equal(await pool.start(), false)

  await rig.control.acl('SETUSER', username, '+select')
  await until(() => pool.state === 'ready', { what: 'the pool is ready' })
  await pool.set('key', 'value')

  t.equal(await rig.control.dbsize(), 0)
  await rig.control.select(3)
  t.equal(await rig.control.get('key'), 'value')
})

t.test('a caller whose own SELECT or CLIENT is rejected receives the error, and its connection stays open', async (t) => {
  const rig = await startRig(t)
  const pool = open(t, { url: rig.url })
  t.ok(await pool.start())
  await using lease = await pool.lease()
  const client = lease.client as Redis

  await t.rejects(client.select(20), /out of range/)
  await t.rejects(client.client('SETNAME' as never, 'with space'), /names cannot contain spaces/)

  t.equal(await client.ping(), 'PONG')
})

t.test('a node of a Cluster is not used as database 0 if another was configured', async (t) => {
  const cluster = await startCluster(t)
  const [node] = cluster.masters
  const pool = open(t, { url: `${node?.server.url}/5` })

  t.equal(await pool.start(), false)
  t.equal(pool.state, 'degraded')
  t.throws(() => resolveRedisPolicy({ url: cluster.url, connection: { db: 5 } }), /redis\.connection\.db/)
})

t.test('the INFO of a Cluster master that is late is read again, because the master may be another process', async (t) => {
  const { url, cluster, proxies } = await startProxiedCluster(t)
  const [slow, other] = cluster.masters
  const proxy = slow && proxies.get(slow)
  if (proxy === undefined) throw new Error('no master')
  const reads = () => proxy.commands.get('INFO') ?? 0
  const pool = open(t, { url, min: 1, max: 1 })
  await pool.start()
  await until(() => pool.server?.isComplete === true && !pool.server.runId.includes('?'), { what: 'every INFO is read' })

  await proxy.fault('latency', { delayMs: 400, jitterMs: 0 })
  await other?.control.call('CLIENT', 'KILL', 'TYPE', 'normal') // a node that reconnects may be another process: every INFO is read
  await until(() => pool.server?.isComplete === false, { what: 'an INFO is late' })
  const before = reads()
  await until(() => reads() > before + 3, { what: 'the INFO is read again and again' })
  await proxy.heal()

  await until(() => pool.server?.isComplete === true, { what: 'every INFO is read in time' })
  t.equal(pool.server?.runId.split(',').length, 3)
})
