import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { main } from '../../../src/cli/main.ts'
import { readConfig } from '../../../src/config.ts'
import { buildTestApp, testSecret } from '../../helpers/app.ts'
import { startRedis } from '../../helpers/redis.ts'
import { startTls } from '../../helpers/tls.ts'
import { Visitor } from '../../helpers/visitor.ts'

const well = ['--maxmemory', '100mb', '--maxmemory-policy', 'volatile-ttl']

interface Ran { code: number, out: string, err: string }

/** Runs one command, as a process would that is not on a terminal. */
async function run (args: readonly string[], environment: Record<string, string> = {}): Promise<Ran> {
  const [out, err]: [string[], string[]] = [[], []]
  const code = await main(args, { SESSION_SECRET: testSecret, ...environment }, {
    readService: readConfig,
    out: { write: (text) => out.push(text) },
    err: { write: (text) => err.push(text) }
  })
  return { code, out: out.join(''), err: err.join('') }
}

/** What doctor says of one check. */
async function finding (url: string, check: string): Promise<{ code: number, state: string, says: string, change?: string }> {
  const { code, out } = await run(['doctor', '--json', '--url', url])
  return { code, ...JSON.parse(out).findings.find((each: { check: string }) => each.check === check) }
}

t.test('doctor finds nothing wrong with a Redis that is well', async (t) => {
  const { url } = await startRedis(t, { args: well })

  const { code, out } = await run(['doctor', '--url', url])

  t.equal(code, 0, out)
  t.match(out, 'All is well.')
  t.notMatch(out, '\x1b') // no terminal, no colours
})

t.test('doctor says that there is no Redis', async (t) => {
  t.match(await finding('redis://127.0.0.1:1', 'connection'), { code: 1, state: 'wrong', says: 'Nothing listens at 127.0.0.1:1.', change: /start Redis/ })
})

t.test('doctor says that no address was given, and ends with 2', async (t) => {
  const { code, err } = await run(['doctor'])

  t.equal(code, 2)
  t.match(err, 'REDIS_URL is unset')
})

t.test('doctor says that a password is wrong, or missing, without showing it', async (t) => {
  const { port } = await startRedis(t, { args: [...well, '--requirepass', 'right'] })

  t.match(await finding(`redis://default:hidden@127.0.0.1:${port}`, 'connection'), { code: 1, state: 'wrong', says: /refuses the password/ })
  t.match(await finding(`redis://127.0.0.1:${port}`, 'connection'), { code: 1, state: 'wrong', says: /wants a password/ })
  t.notMatch((await run(['doctor', '--url', `redis://default:hidden@127.0.0.1:${port}`])).out, 'hidden')
})

t.test('doctor says that a certificate is foreign', async (t) => {
  const { url } = await startTls(t)

  t.match(await finding(url, 'connection'), { code: 1, state: 'wrong', says: /authority that this machine does not know/, change: /NODE_EXTRA_CA_CERTS/ })
})

t.test('doctor says that a replica was asked', async (t) => {
  const redis = await startRedis(t, { args: well })
  await redis.client.replicaof('127.0.0.1', 1)

  t.match(await finding(redis.url, 'role'), { code: 1, state: 'wrong', says: /replica of 127.0.0.1:1/, change: /master/ })
})

t.test('doctor says that there is no memory limit', async (t) => {
  const { url } = await startRedis(t)

  t.match(await finding(url, 'memory'), { code: 0, state: 'warning', says: /No maxmemory/, change: /CONFIG SET maxmemory/ })
})

t.test('doctor says that a policy refuses writes, or may evict sessions', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '100mb'] })

  t.match(await finding(redis.url, 'policy'), { code: 1, state: 'wrong', says: /noeviction/ })
  await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  t.match(await finding(redis.url, 'policy'), { code: 0, state: 'warning', says: /may evict sessions/ })
})

t.test('doctor says that a Redis is too old', async (t) => {
  const port = await oldServer(t)

  t.match(await finding(`redis://127.0.0.1:${port}`, 'version'), { code: 1, state: 'wrong', says: /Redis 6.2.14 is too old/, change: /7.2/ })
})

t.test('doctor tells every fault of the service\'s environment', async (t) => {
  const { url } = await startRedis(t, { args: well })

  const { code, out } = await run(['doctor', '--url', url], { PORT: 'many', SESSION_SECRET: 'short and hidden' })

  t.equal(code, 1)
  t.match(out, /PORT is "many"/)
  t.match(out, /SESSION_SECRET must be/)
  t.notMatch(out, 'hidden')
})

t.test('keys shows each namespace, the biggest keys and those without an end', async (t) => {
  const redis = await startRedis(t)
  for (let index = 0; index < 20; index++) await redis.client.set(`session:{u${index}}`, 'x', 'EX', 1800)
  await redis.client.set('api:cache:GET:/big:{1}', 'y'.repeat(50_000), 'EX', 300)
  await redis.client.set('foreign', '1')

  const { namespaces, biggest } = JSON.parse((await run(['keys', '--json', '--url', redis.url])).out)

  t.match(namespaces, [{ namespace: 'session', keys: 20, withoutEnd: 0 }, { namespace: 'cache', keys: 1 }, { namespace: 'other', keys: 1, withoutEnd: 1 }])
  t.equal(biggest[0].key, 'api:cache:GET:/big:{1}')
})

t.test('purge, sessions and limits do what they say, to a service that runs', async (t) => {
  const app = await buildTestApp(t)
  const { redisUrl: url } = app.testConfig
  const visitor = await new Visitor(app).signIn('Ada')
  const me = await visitor.send('GET', '/session')
  const id = String(JSON.parse(me.body).id ?? await userOf(app))

  const listed = JSON.parse((await run(['sessions', id, '--json', '--url', url])).out)
  const used = JSON.parse((await run(['limits', '127.0.0.1', '--json', '--url', url])).out)
  const revoked = await run(['sessions', id, '--revoke', '--url', url])
  const reset = JSON.parse((await run(['limits', '127.0.0.1', '--reset', '--json', '--url', url])).out)
  const purged = await run(['purge', 'cities', '--url', url])

  t.equal(listed.devices.length, 1)
  t.ok(used.counters.some(({ used }: { used: number }) => used > 0))
  t.match(revoked.out, '1 device')
  t.equal((await visitor.send('GET', '/session')).statusCode, 401)
  t.ok(reset.reset > 0)
  t.equal(purged.code, 0)
  t.ok(await app.redisPool.get('api:cache:tag:cities'))
})

t.test('watch tells a line a second', async (t) => {
  const { url } = await startRedis(t)

  const { code, out } = await run(['watch', '--count', '1', '--json', '--url', url])

  t.equal(code, 0)
  t.match(JSON.parse(out), { memoryUsedBytes: Number, commandsASecond: Number, clients: Number })
})

t.test('the program helps who asks, and ends with 2 for who cannot be meant', async (t) => {
  const [help, more, unknown, flag, missing] = await Promise.all([run(['--help']), run(['keys', '--help']), run(['nothing']), run(['keys', '--wrong']), run(['purge'])])

  t.equal(help.code, 0)
  for (const name of ['doctor', 'keys', 'purge', 'sessions', 'limits', 'watch', 'rules', 'Exit code']) t.match(help.out, name)
  t.match(more, { code: 0, out: /SCAN/ })
  t.match(unknown, { code: 2, err: /There is no command nothing/ })
  t.match(flag, { code: 2, err: /--wrong/ })
  t.match(missing, { code: 2, err: /needs a tag/ })
})

t.test('the program runs as a process, and ends with its code', async (t) => {
  const child = spawnSync(process.execPath, [join(import.meta.dirname, '../../../cli.ts'), 'doctor', '--url', 'redis://127.0.0.1:1'], { encoding: 'utf8', env: { PATH: process.env.PATH } })

  t.equal(child.status, 1)
  t.match(child.stdout, 'Nothing listens at 127.0.0.1:1')
  t.notMatch(child.stdout, 'SESSION_SECRET') // whoever uses the package has an environment of their own
})

/** The id of the only user that has a session. */
async function userOf (app: Awaited<ReturnType<typeof buildTestApp>>): Promise<string> {
  const [, keys] = await app.redisPool.scan('0', 'MATCH', 'session:{*', 'COUNT', 1000)
  return keys.map((key) => key.slice('session:{'.length, -1)).find((id) => !id.startsWith('a:')) ?? ''
}

/** No Redis of that age is at hand: something that answers as one does. */
async function oldServer (t: Test): Promise<number> {
  const info = 'redis_version:6.2.14\r\nrole:master\r\nused_memory:1\r\nmaxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n'
  const replies: Record<string, string> = { info: `$${info.length}\r\n${info}\r\n`, ping: '+PONG\r\n', time: '*2\r\n$1\r\n1\r\n$1\r\n1\r\n', client: '$0\r\n\r\n', hello: '*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n' }
  const server = createServer((socket) => {
    socket.on('error', () => {}) // the client has gone
    socket.on('data', (chunk) => {
      for (const [, name = ''] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) socket.write(replies[name.toLowerCase()] ?? '-ERR unknown command\r\n')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}
