import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { finding, run, well } from '../../helpers/cli.ts'
import { startCluster } from '../../helpers/cluster.ts'
import { startRedis } from '../../helpers/redis.ts'
import { startTls } from '../../helpers/tls.ts'

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

t.test('doctor says that the server does not have the database', async (t) => {
  const { url } = await startRedis(t, { args: well })

  t.match(await finding(`${url}/20`, 'connection'), { code: 1, state: 'wrong', says: /has no such database/ })
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
  t.match(out, /PORT is a text of 4 characters/)
  t.match(out, /SESSION_SECRET must be/)
  t.notMatch(out, 'hidden')
})

t.test('doctor shows the certificate and trusts the authority that the service is told of', async (t) => {
  const { url, paths } = await startTls(t, { authClients: true, args: well })
  const environment = { REDIS_TLS_CA: paths.ca, REDIS_TLS_CERT: paths.cert, REDIS_TLS_KEY: paths.key }

  t.match(await finding(url, 'connection', environment), { code: 0, state: 'fine' })
})

t.test('doctor says that a name is not known, and what to do about a password in full', async (t) => {
  const { port } = await startRedis(t, { args: ['--requirepass', 'right'] })

  t.match(await finding('redis://nowhere.invalid:6379', 'connection'), { code: 1, says: 'The name in nowhere.invalid:6379 is not known.' })
  t.match(await finding(`redis://default:wrong@127.0.0.1:${port}`, 'connection'), { change: /percent-encode signs such as @ : \/ # %\)\.$/ })
})

t.test('doctor looks at the sessions\' own Redis too, and judges each by what it holds', async (t) => {
  const cache = await startRedis(t, { args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] })
  const sessions = await startRedis(t, { args: ['--maxmemory', '100mb', '--maxmemory-policy', 'noeviction'] })

  const { code, out } = await run(['doctor', '--json', '--url', cache.url], { SESSION_REDIS_URL: sessions.url })
  const { findings } = JSON.parse(out) as { findings: { check: string, state: string, says: string }[] }
  const swapped = await run(['doctor', '--json', '--url', sessions.url], { SESSION_REDIS_URL: cache.url })

  t.equal(code, 0)
  t.match(findings.filter(({ check }) => check === 'policy'), [{ state: 'fine', says: /elsewhere/ }, { state: 'fine', says: /no session gives way/ }])
  t.equal(swapped.code, 1)
})

t.test('doctor looks at each master of a Cluster', async (t) => {
  const cluster = await startCluster(t)
  await cluster.masters[1]?.control.config('SET', 'maxmemory', '1gb')

  const { out } = await run(['doctor', '--json', '--url', cluster.url])
  const { findings } = JSON.parse(out) as { findings: { check: string, state: string, says: string, node?: string }[] }

  t.match(findings.find(({ check }) => check === 'connection')?.says, /a Cluster of 3 masters/)
  t.same(findings.filter(({ check }) => check === 'policy').map(({ node, state }) => `${node} ${state}`).sort(), cluster.masters.map(({ server }, index) => `${server.host}:${server.port} ${index === 1 ? 'wrong' : 'fine'}`).sort())
})

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
