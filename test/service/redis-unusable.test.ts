import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../support/ports.ts'
import { processFaults } from '../support/process-faults.ts'
import { startRedis } from '../support/redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { startRig } from '../support/proxied-redis.ts'
import { password, serve, testReports, type Setup } from '../support/unusable-redis.ts'
import { until } from '../support/until.ts'

/** A plain server on loopback. */
async function listen (t: Test, connected: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => connected(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.close() })
  return (server.address() as AddressInfo).port
}

/** A port whose queue of connections is full: the system drops further ones, as a firewall does. */
async function fullBacklog (t: Test): Promise<number> {
  const child = spawn(process.execPath, ['-e', "const s = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port))"])
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(child.stdout, 'data') as [Buffer]
  child.kill('SIGSTOP')
  const port = Number(String(line))
  const waiting = Array.from({ length: 4 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  t.after(() => { for (const socket of waiting) socket.destroy() })
  return port
}

/** A Redis whose version reads as an old one, which is not on every machine. */
async function oldRedis (t: Test): Promise<number> {
  const redis = await startRedis(t)
  return await listen(t, (socket) => {
    const server = connect(redis.port, redis.host).on('error', () => {})
    socket.on('close', () => server.destroy()).pipe(server)
    server.on('close', () => socket.destroy()).on('data', (chunk: Buffer) => socket.write(chunk.toString('latin1').replace(/redis_version:7\.0\.\d\d/, 'redis_version:6.2.14'), 'latin1'))
  })
}

function addressOfThisMachine (): string {
  const found = Object.values(networkInterfaces()).flat().find((each) => each?.family === 'IPv4' && !each.internal)
  if (found === undefined) throw new Error('this machine has no network address but loopback')
  return found.address
}

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
  {
    does: 'has disabled its user',
    start: async (t) => ({ url: `redis://app:${password}@127.0.0.1:${(await startRedis(t, { args: ['--user', 'app', 'off', `>${password}`] })).port}` }),
    code: 'wrong_password',
    alert: 'PrismRedisDown',
    says: /WRONGPASS/
  },
  {
    does: 'gets another password while it runs',
    start: async (t) => {
      const redis = await startRedis(t)
      return {
        url: redis.url,
        breakLater: async () => {
          await redis.client.config('SET', 'requirepass', 'right')
          await redis.client.call('CLIENT', 'KILL', 'SKIPME', 'yes')
        }
      }
    },
    code: 'password_missing',
    alert: 'PrismRedisDown',
    says: /NOAUTH/
  },
  {
    does: 'is in protected mode',
    start: async (t) => {
      const { port } = await startRedis(t, { args: ['--bind', '*', '--protected-mode', 'yes'] })
      return { url: `redis://${addressOfThisMachine()}:${port}` }
    },
    code: 'protected_mode',
    alert: 'PrismRedisDown',
    says: /protected mode/
  },
  { does: 'has an unknown name', start: async () => ({ url: 'redis://redis.invalid:6379' }), code: 'unknown_name', alert: 'PrismRedisDown', says: /ENOTFOUND/ },
  { does: 'is not listening', start: async () => ({ url: `redis://127.0.0.1:${await freePort()}` }), code: 'connection_refused', alert: 'PrismRedisDown', says: /ECONNREFUSED/ },
  {
    does: 'does not accept connections in time',
    start: async (t) => ({ url: `redis://127.0.0.1:${await fullBacklog(t)}` }),
    code: 'connect_timeout',
    alert: 'PrismRedisDown',
    says: /times out/
  },
  { does: 'closes each connection', start: async (t) => ({ url: `redis://127.0.0.1:${await listen(t, (socket) => socket.destroy())}` }), code: 'connection_closed', alert: 'PrismRedisDown', says: /closes the connection/ },
  { does: 'is a server for HTTP', start: async (t) => ({ url: `redis://127.0.0.1:${await listen(t, (socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')))}` }), code: 'not_redis', alert: 'PrismRedisDown', says: /is not Redis/ },
  { does: 'is a server for SSH', start: async (t) => ({ url: `redis://127.0.0.1:${await listen(t, (socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'))}` }), code: 'not_redis', alert: 'PrismRedisDown', says: /is not Redis/ },
  {
    does: 'is a server that replies OK to every command',
    start: async (t) => ({ url: `redis://127.0.0.1:${await listen(t, (socket) => socket.on('data', (chunk) => socket.write('+OK\r\n'.repeat(String(chunk).match(/^\*/gm)?.length ?? 0))))}` }),
    code: 'not_redis',
    alert: 'PrismRedisDown',
    says: /is not Redis/
  },
  { does: 'is too old', start: async (t) => ({ url: `redis://127.0.0.1:${await oldRedis(t)}` }), code: 'version_too_old', alert: 'PrismRedisPermissionDenied', says: /6\.2\.14.* too old/ },
  { does: 'has no socket', start: async () => ({ url: 'unix:///nowhere/redis.sock' }), code: 'socket_missing', alert: 'PrismRedisDown', says: /^The socket (?:of Redis|\/nowhere\/redis.sock) does not exist/ },
  {
    does: 'begins to hang while it runs',
    start: async (t) => {
      const server = await startRedisProcess(t)
      return { url: server.url, breakLater: () => server.signal('SIGSTOP') }
    },
    code: 'no_answer',
    alert: 'PrismRedisDown',
    says: /does not reply within the deadline/
  },
  {
    does: 'runs an endless script',
    start: async (t) => {
      const redis = await startRedis(t, { args: ['--busy-reply-threshold', '50'] })
      t.after(() => redis.kill())
      return { url: redis.url, breakLater: () => { redis.client.eval('while true do end', 0).catch(() => {}) } } // ends with the server
    },
    code: 'busy_script',
    alert: 'PrismRedisDown',
    says: /BUSY/
  },
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
    says: /READONLY/,
    doctorSays: /replica/
  },
  {
    does: 'is a replica that has lost its master',
    start: async (t) => ({ url: (await startRedis(t, { args: ['--replicaof', '127.0.0.1', '1', '--replica-serve-stale-data', 'no'] })).url }),
    code: 'master_down',
    alert: 'PrismRedisDown',
    says: /MASTERDOWN/
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
  }
]

t.setTimeout(480_000)

testReports(setups)

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
  // On a busy machine the server that starts may accept a connection before it can reply.
  t.same(changes.filter((each) => each !== 'no_answer'), ['too_few_replicas', 'connection_refused', 'usable'])
})

t.test('an unusable separate Redis of the sessions is reported by log, readiness and an alert', async (t) => {
  const { app, lines } = await serve(t, { url: (await startRedis(t)).url }, { SESSION_REDIS_URL: `redis://127.0.0.1:${await freePort()}` })

  await until(() => lines.some((line) => line.redis?.reason === 'connection_refused'), { what: 'a log line' })
  await until(() => app.alerts.all.some(({ rule, state }) => rule.name === 'PrismSessionRedisUnusable' && state === 'firing'), { what: 'the alert', deadlineMs: 20_000 })

  t.match((await app.inject('/healthz/ready')).json(), { status: 'degraded', reason: { code: 'connection_refused', holds: 'sessions', remedy: /^Set SESSION_REDIS_URL/ } })
  t.ok(lines.some(({ message }) => message.includes('Set SESSION_REDIS_URL')))
})

t.test('a replica to which the service reconnects again and again is logged once', async (t) => {
  const redis = await startRedis(t)
  const { app, lines } = await serve(t, { url: redis.url })
  await until(() => app.redisPool.reason === undefined, { what: 'Redis is reached' })
  let outages = 0
  app.redisPool.on('outage', (isOut) => { if (isOut) outages += 1 })
  await redis.client.replicaof('127.0.0.1', 1)

  await until(async () => {
    await app.inject('/cities?q=paris')
    return outages > 2
  }, { what: 'some reconnects', deadlineMs: 30_000 })

  const texts = lines.map(({ message }) => message)
  t.equal(texts.filter((text) => /is a replica and rejects every write \(READONLY\)\. Set REDIS_URL/.test(text)).length, 1)
  t.same(texts.filter((text) => /^Redis (?:unavailable|connection restored)/.test(text)), [])
})
