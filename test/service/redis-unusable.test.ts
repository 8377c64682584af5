import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp } from '../../service/app.ts'
import { rules } from '../../service/alerts/rules.ts'
import { readConfig } from '../../service/config.ts'
import type { RedisTls } from '../../src/redis/tls.ts'
import { hasty } from '../support/alerts.ts'
import { aclUser } from '../support/acl.ts'
import { testDatabase, testSecret } from '../support/app.ts'
import { run } from '../support/cli.ts'
import { freePort } from '../support/ports.ts'
import { processFaults } from '../support/process-faults.ts'
import { startRedis } from '../support/redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { startRig } from '../support/proxied-redis.ts'
import { startTls } from '../support/tls.ts'
import { until } from '../support/until.ts'

/** The service's configured Redis addresses. */
interface Place { url: string, tls?: RedisTls }

/** A Redis that is unusable, and what is reported to an operator. */
interface Setup {
  does: string
  start: (t: Test) => Promise<Place>
  code: string
  alert: string
  /** in the sentence, for a text search */
  says: RegExp
}

const password = 'tr0mb0ne'

const setups: readonly Setup[] = [
  {
    does: 'rejects the password',
    start: async (t) => ({ url: `redis://default:${password}@127.0.0.1:${(await startRedis(t, { args: ['--requirepass', 'right'] })).port}` }),
    code: 'wrong_password',
    alert: 'PrismRedisDown',
    says: /WRONGPASS/
  },
  {
    does: 'requires a password that is missing',
    start: async (t) => ({ url: `redis://127.0.0.1:${(await startRedis(t, { args: ['--requirepass', 'right'] })).port}` }),
    code: 'password_missing',
    alert: 'PrismRedisDown',
    says: /NOAUTH/
  },
  { does: 'does not have the database', start: async (t) => ({ url: `${(await startRedis(t)).url}/99` }), code: 'wrong_database', alert: 'PrismRedisDown', says: /does not have the database/ },
  { does: 'has an unknown name', start: async () => ({ url: 'redis://redis.invalid:6379' }), code: 'unknown_name', alert: 'PrismRedisDown', says: /ENOTFOUND/ },
  { does: 'is not listening', start: async () => ({ url: `redis://127.0.0.1:${await freePort()}` }), code: 'connection_refused', alert: 'PrismRedisDown', says: /ECONNREFUSED/ },
  {
    does: 'hangs',
    start: async (t) => {
      const server = await startRedisProcess(t)
      server.signal('SIGSTOP')
      return { url: server.url }
    },
    code: 'no_answer',
    alert: 'PrismRedisDown',
    says: /does not reply within the deadline/
  },
  {
    does: 'has a certificate of an unknown authority',
    start: async (t) => ({ url: (await startTls(t)).url }),
    code: 'certificate_untrusted',
    alert: 'PrismRedisDown',
    says: /authority that this machine does not trust/
  },
  {
    does: 'has a certificate for another name',
    start: async (t) => {
      const { port, ca } = await startTls(t, { args: ['--bind', '127.0.0.1', '127.0.0.2'] })
      return { url: `rediss://127.0.0.2:${port}`, tls: { ca } }
    },
    code: 'certificate_wrong_name',
    alert: 'PrismRedisDown',
    says: /another name/
  },
  {
    does: 'requires a client certificate',
    start: async (t) => {
      const { url, ca } = await startTls(t, { authClients: true })
      return { url, tls: { ca } }
    },
    code: 'client_certificate_wanted',
    alert: 'PrismRedisDown',
    says: /client certificate/
  },
  { does: 'speaks plain TCP instead of TLS', start: async (t) => ({ url: (await startRedis(t)).url.replace('redis:', 'rediss:') }), code: 'server_speaks_plain', alert: 'PrismRedisDown', says: /does not use TLS/ },
  { does: 'speaks TLS instead of plain TCP', start: async (t) => ({ url: (await startTls(t)).url.replace('rediss:', 'redis:') }), code: 'server_speaks_tls', alert: 'PrismRedisDown', says: /accepts only TLS/ },
  {
    does: 'has no connection left',
    start: async (t) => {
      const redis = await startRedis(t, { args: ['--maxclients', '1'] })
      await redis.client.ping()
      return { url: redis.url }
    },
    code: 'too_many_clients',
    alert: 'PrismRedisDown',
    says: /maxclients/
  },
  {
    does: 'is loading its data',
    start: async (t) => {
      const rig = await startRig(t)
      await processFaults.loading.inject(rig)
      return { url: rig.redis.url }
    },
    code: 'loading',
    alert: 'PrismRedisDown',
    says: /LOADING/
  },
  {
    does: 'is a replica',
    start: async (t) => {
      const redis = await startRedis(t)
      await redis.client.replicaof('127.0.0.1', 1)
      return { url: redis.url }
    },
    code: 'read_only',
    alert: 'PrismRedisReadOnly',
    says: /READONLY/
  },
  {
    does: 'is full and evicts nothing',
    start: async (t) => {
      const redis = await startRedis(t, { args: ['--maxmemory', '6mb', '--maxmemory-policy', 'noeviction'] })
      const write = async (index: number) => await redis.client.set(`fill:${index}`, 'x'.repeat(200_000)).then(() => true, () => false)
      for (let index = 0; await write(index);) index += 1
      await redis.client.config('SET', 'maxmemory', '5mb') // the smallest write is rejected too
      return { url: redis.url }
    },
    code: 'out_of_memory',
    alert: 'PrismRedisWritesRefused',
    says: /OOM/
  },
  {
    does: 'cannot write to disk',
    start: async (t) => {
      const redis = await startRedis(t)
      const [, folder = ''] = await redis.client.config('GET', 'dir') as string[]
      // A snapshot cannot replace a folder.
      await mkdir(join(folder, 'dump.rdb', 'full'), { recursive: true })
      await redis.client.config('SET', 'save', '3600 1')
      await redis.client.set('key', 'value')
      await redis.client.bgsave()
      await until(async () => await redis.client.set('key', 'value').then(() => false, (error: Error) => error.message.startsWith('MISCONF')), { what: 'writes are rejected' })
      return { url: redis.url }
    },
    code: 'disk_write_failed',
    alert: 'PrismRedisWritesRefused',
    says: /MISCONF/
  },
  {
    does: 'has too few replicas',
    start: async (t) => ({ url: (await startRedis(t, { args: ['--min-replicas-to-write', '1'] })).url }),
    code: 'too_few_replicas',
    alert: 'PrismRedisWritesRefused',
    says: /NOREPLICAS/
  },
  {
    does: 'allows its user to read only',
    start: async (t) => ({ url: `redis://app:${password}@127.0.0.1:${(await startRedis(t, { args: aclUser({ name: 'app', password, rules: ['~*', '&*', '+@all', '-@write'] }) })).port}` }),
    code: 'permission_denied',
    alert: 'PrismRedisPermissionDenied',
    says: /NOPERM/
  },
  {
    does: 'allows its user only PING',
    start: async (t) => ({ url: `redis://app:${password}@127.0.0.1:${(await startRedis(t, { args: aclUser({ name: 'app', password, rules: ['~*', '&*', '+ping'] }) })).port}` }),
    code: 'permission_denied',
    alert: 'PrismRedisPermissionDenied',
    says: /NOPERM/
  }
]

interface Line { message: string, redis?: { reason?: string } }

/** The service with such a Redis, and its log. */
async function serve (t: Test, { url, tls }: Place, environment: Record<string, string> = {}): Promise<{ app: FastifyInstance, lines: Line[] }> {
  const lines: Line[] = []
  const config = { ...readConfig({ SESSION_SECRET: testSecret, ...environment }), databasePath: testDatabase(t), redisTls: tls }
  const app = await buildApp(config, { redisUrl: url, log: { write: (line) => { lines.push(JSON.parse(line)) } }, metricsEvery: '100ms', alerting: { rules: rules.map(({ name }) => hasty(name)) } })
  t.after(() => app.close())
  await app.ready()
  return { app, lines }
}

t.setTimeout(240_000)

for (const { does, start, code, alert, says } of setups) {
  t.test(`a Redis that ${does} is reported with the reason by log, readiness, alert and doctor`, async (t) => {
    const place = await start(t)
    const { app, lines } = await serve(t, place)
    const ready = async () => await app.inject('/healthz/ready')

    const line = await until(() => lines.find(({ redis }) => redis?.reason === code && redis.reason !== undefined), { what: 'a log line', deadlineMs: 20_000 })
    await until(async () => (await ready()).json().reason?.code === code, { what: 'readiness', deadlineMs: 20_000 })
    const { statusCode, body } = await ready()
    const firing = await until(() => app.alerts.all.find(({ rule, state, cause, reason }) => rule.name === alert && state === 'firing' && cause === undefined && reason?.code === code), { what: alert, deadlineMs: 20_000 })
    const doctor = await run(['doctor', '--json', '--url', place.url], environmentOf(place))

    await until(() => lines.some(({ message, redis }) => redis?.reason === code && says.test(message)), { what: 'the sentence', deadlineMs: 20_000 })
    t.ok(line)
    t.equal(statusCode, 200)
    t.match(JSON.parse(body), { status: 'degraded', redis: 'degraded', reason: { code, sentence: says, remedy: /.+/ } })
    t.notMatch(body, /127\.0\.0|redis\.invalid/, 'readiness is public and contains no address')
    t.match(firing.reason, { sentence: says, remedy: /.+/ })
    t.equal(doctor.code, 1)
    t.match(JSON.parse(doctor.out).findings.find((each: { reason?: string }) => each.reason === code), { state: 'wrong', says: code === 'read_only' ? /replica/ : says, change: /.+/ })
    t.notMatch(`${JSON.stringify(lines)}${body}${doctor.out}`, password)
  })
}

function environmentOf ({ tls }: Place): Record<string, string> {
  return tls?.ca === undefined ? {} : { REDIS_TLS_CA: tls.ca }
}

t.test('readiness is 503 with the reason if READY_REQUIRES_REDIS is true, and 200 when Redis is reachable again', async (t) => {
  const redis = await startRedisProcess(t)
  await redis.kill()
  const { app } = await serve(t, { url: redis.url }, { READY_REQUIRES_REDIS: 'true' })

  await until(async () => (await app.inject('/healthz/ready')).json().reason?.code === 'connection_refused', { what: 'the reason' })
  t.equal((await app.inject('/healthz/ready')).statusCode, 503)
  await redis.start()
  await until(async () => (await app.inject('/healthz/ready')).statusCode === 200, { what: 'ready' })
})

t.test('the log reports each change of the reason once, and the recovery', async (t) => {
  const redis = await startRedis(t)
  const { app, lines } = await serve(t, { url: redis.url })
  const reported = () => lines.flatMap(({ redis: facts, message }) => /starting without/.test(message) ? [] : facts?.reason ?? (message === 'Redis can be used again' ? 'usable' : []))

  await until(() => app.redisPool.reason === undefined, { what: 'Redis is reached' })
  await redis.client.config('SET', 'min-replicas-to-write', '1')
  await until(() => reported().includes('too_few_replicas'), { what: 'writes are rejected' })
  await redis.kill()
  await until(() => reported().includes('connection_refused'), { what: 'the outage is logged' })
  await redis.restart()
  await until(() => reported().includes('usable'), { what: 'the recovery is logged' })

  const changes = reported()
  t.same(changes.filter((each, index) => each === changes[index - 1]), [], 'no reason is reported twice in a row')
  // On a busy machine the server that starts may accept a connection before it can answer.
  t.same(changes.filter((each) => each !== 'no_answer'), ['too_few_replicas', 'connection_refused', 'usable'])
})

t.test('an unusable separate Redis of the sessions is reported by log, readiness and an alert', async (t) => {
  const { app, lines } = await serve(t, { url: (await startRedis(t)).url }, { SESSION_REDIS_URL: `redis://127.0.0.1:${await freePort()}` })

  await until(() => lines.some((line) => line.redis?.reason === 'connection_refused'), { what: 'a log line' })
  await until(() => app.alerts.all.some(({ rule, state }) => rule.name === 'PrismSessionRedisUnusable' && state === 'firing'), { what: 'the alert', deadlineMs: 20_000 })

  t.match((await app.inject('/healthz/ready')).json(), { status: 'degraded', reason: { code: 'connection_refused', holds: 'sessions' } })
})
