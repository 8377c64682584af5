import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { aclUser } from '../support/acl.ts'
import { neededRights } from '../../src/redis/health/error-class.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { password, serve, testReports, type Place, type Setup } from '../support/unusable-redis.ts'

/** A Redis with a user of these rights. */
async function withRights (t: Test, rules: string[], database = ''): Promise<Place> {
  const { port } = await startRedis(t, { args: aclUser({ name: 'app', password, rules }) })
  return { url: `redis://app:${password}@127.0.0.1:${port}${database}` }
}

const everything = ['~*', '&*', '+@all']

/** A user without one command, whose name each report contains. */
function without (command: string): Setup {
  return { does: `denies its user ${command.toUpperCase()}`, start: async (t) => await withRights(t, [...everything, `-${command}`]), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: new RegExp(`the command ${command} \\(NOPERM\\)`) }
}

/** A server without one command, as after `rename-command` or behind a proxy. */
function lacking (command: string, alert = 'PrismRedisPermissionDenied'): Setup {
  return { does: `does not have ${command.toUpperCase()}`, start: async (t) => ({ url: (await startRedis(t, { args: ['--rename-command', command, ''] })).url }), code: 'command_missing', alert, says: new RegExp(`does not have the command ${command} `) }
}

const setups: readonly Setup[] = [
  { does: 'allows its user to read only', start: async (t) => await withRights(t, [...everything, '-@write']), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: /NOPERM/ },
  { does: 'allows its user only PING', start: async (t) => await withRights(t, ['~*', '&*', '+ping']), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: /NOPERM/ },
  ...['evalsha', 'mget', 'info', 'time', 'subscribe', 'xadd', 'zremrangebyscore', 'hgetall'].map(without),
  { does: 'denies its user SELECT', start: async (t) => await withRights(t, [...everything, '-select'], '/1'), code: 'permission_denied', alert: 'PrismRedisDown', says: /the command select/ },
  { does: 'denies its user the keys', start: async (t) => await withRights(t, ['~other:*', '&*', '+@all']), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: /denies its user a key/ },
  { does: 'allows its user to read keys only', start: async (t) => await withRights(t, ['%R~*', '&*', '+@all']), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: /denies its user a key/ },
  { does: 'denies its user the channels', start: async (t) => await withRights(t, ['~*', 'resetchannels', '+@all']), code: 'permission_denied', alert: 'PrismRedisPermissionDenied', says: /denies its user a channel/ },
  lacking('evalsha'),
  lacking('eval'),
  lacking('publish'),
  lacking('info', 'PrismRedisDown')
]

t.setTimeout(480_000)

t.test('the check of rights covers each command that a script of the package calls', async (t) => {
  const root = join(import.meta.dirname, '../../src')
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.lua') && !name.startsWith('redis/memory'))
  const called = files.flatMap((name) => [...readFileSync(join(root, name), 'utf8').matchAll(/redis\.p?call\('(\w+)'/gi)].map(([, command = '']) => command.toLowerCase()))
  const checked = new Set([...readFileSync(join(root, 'redis/health/write-check.ts'), 'utf8').matchAll(/\{'(\w+)'/g)].map(([, command]) => command))

  t.ok(called.length > 50)
  t.same([...new Set(called)].filter((command) => !checked.has(command)), [])
})

t.test('a user with the documented permissions is not reported', async (t) => {
  const place = await withRights(t, ['~*', '&*', ...neededRights.split(',')[0]?.split(' ') ?? []])
  const { app, lines } = await serve(t, place)

  await until(() => app.metrics.collector.sample?.nodes[0]?.slowLog === 'denied', { what: 'Redis\'s figures' })
  t.match((await app.inject('/healthz/ready')).json(), { status: 'ready', reason: undefined })
  t.same(lines.filter(({ message }) => /denies/.test(message)), [])
})

testReports(setups)
