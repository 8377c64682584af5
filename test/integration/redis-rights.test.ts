import fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import events from '../../plugins/events.ts'
import redis from '../../plugins/redis.ts'
import { neededRights } from '../../src/redis/health/error-class.ts'
import { aclUser } from '../support/acl.ts'
import { startCluster } from '../support/cluster.ts'
import { startRig } from '../support/proxied-redis.ts'
import { startStack } from '../support/stack.ts'
import type { Stack } from '../support/stack.ts'
import { until } from '../support/until.ts'

const username = 'app'
const password = 'secret'
const [plainRights = [], clusterRights = [], databaseRights = [], nameRights = []] = neededRights.split(', ').map((part) => part.match(/\+[@\w|]+/g) ?? [])
const rights = [...plainRights, ...clusterRights]

/** Runs every feature. @returns the commands and channels that Redis has denied */
async function work (stack: Stack): Promise<string[]> {
  const denied: string[] = []
  stack.app.redisPool.on('denied', (what: string) => denied.push(what))
  let received = 0
  using subscription = stack.app.events.subscribe('events', () => { received++ })
  await subscription.ready

  await until(async () => (await stack.page()).cache.includes('hit'), { what: 'a page is stored' })
  await stack.purge()
  await stack.write('written')
  for (const status of [200, 200, 429]) if (await stack.few() !== status) throw new Error('the limit counts elsewhere')
  await stack.app.events.publish('events', { type: 'told' })
  await until(() => received > 0, { what: 'an event is received' })
  return await stack.read() === 'written' ? denied : ['a session']
}

async function startDenied (t: Test, command: string) {
  const rig = await startRig(t, aclUser({ name: username, password, rules: ['~*', '&*', '+@all', `-${command}`] }))
  const lines: string[] = []
  const app = fastify({ logger: { level: 'warn', stream: { write: (line) => { lines.push(line) } } } })
  t.after(() => app.close())
  await app.register(redis, { url: rig.url, connection: { username, password } })
  const warnings = () => lines.filter((line) => line.includes(`"denied":"the command ${command}"`))
  return { ...rig, app, warnings }
}

t.setTimeout(300_000)

t.test('the documented rights are sufficient for every feature', async (t) => {
  const { url } = await startRig(t, aclUser({ name: username, password, rules: ['~*', '&*', ...plainRights] }))

  t.same(await work(await startStack(t, { url, connection: { username, password } })), [])
})

t.test('the documented rights under a prefix are limited to keys and channels with that prefix', async (t) => {
  const { url } = await startRig(t, aclUser({ name: username, password, rules: ['~shop:*', '&shop:*', ...plainRights] }))

  t.same(await work(await startStack(t, { url, connection: { username, password }, prefix: 'shop:' })), [])
})

t.test('the documented rights are sufficient for a database other than 0, and for a named connection', async (t) => {
  const { url } = await startRig(t, aclUser({ name: username, password, rules: ['~*', '&*', ...plainRights, ...databaseRights, ...nameRights] }))

  t.same(await work(await startStack(t, { url: `${url}/3`, connection: { username, password, connectionName: 'shop' } })), [])
})

t.test('the documented rights are sufficient in a Cluster', async (t) => {
  const cluster = await startCluster(t, { args: aclUser({ name: username, password, rules: ['~*', '&*', ...rights] }) })

  t.same(await work(await startStack(t, { url: cluster.url, connection: { username, password } })), [])
})

t.test('a command that Redis denies is logged once by name', async (t) => {
  const { app, warnings } = await startDenied(t, 'mget')

  for (const key of ['one', 'two']) await app.redisPool.batch.get(key).catch(() => {})

  t.equal(warnings().length, 1)
  t.notMatch(warnings().join(), /"(?:one|two)"|127\.0\.0\.1/)
})

t.test('a channel that Redis denies is logged', async (t) => {
  const { app, warnings } = await startDenied(t, 'subscribe')
  await app.register(events, {})
  await app.ready()

  using subscription = app.events.subscribe('events', () => {})
  await until(() => warnings().length === 1, { what: 'the warning is logged' })

  t.ok(subscription)
})

t.test('the pool reconnects after an outage although PING is denied', async (t) => {
  const { app, redis } = await startDenied(t, 'ping')

  await redis.kill()
  await until(() => app.redisPool.batch.get('key').then(() => false, () => app.redisPool.isCircuitOpen), { what: 'the outage is detected' })
  await redis.start()

  t.ok(await until(() => app.redisPool.batch.get('key').then(() => true, () => false), { what: 'a reply' }))
})
