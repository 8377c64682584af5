import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { main } from '../../../src/cli/main.ts'
import { readConfig } from '../../../service/config.ts'
import { testSecret } from '../../support/app.ts'
import { finding, run, well } from '../../support/cli.ts'
import { startClusterNode } from '../../support/cluster-node.ts'
import { startCluster } from '../../support/cluster.ts'
import { startRedis } from '../../support/redis.ts'
import { startRig } from '../../support/proxied-redis.ts'
import { startTls } from '../../support/tls.ts'

t.setTimeout(300_000)

t.test('doctor reports no problem for a healthy Redis', async (t) => {
  const { url } = await startRedis(t, { args: well })

  const { code, out } = await run(['doctor', '--url', url])

  t.equal(code, 0, out)
  t.match(out, 'No problem was found.')
  t.notMatch(out, '\x1b') // no terminal, no colours
})

t.test('doctor reports an unreachable Redis', async (t) => {
  t.match(await finding('redis://127.0.0.1:1', 'connection'), { code: 1, state: 'wrong', says: 'Nothing listens at 127.0.0.1:1.', change: /start Redis/ })
})

t.test('doctor reports a missing address, and exits with 2', async (t) => {
  const { code, err } = await run(['doctor'])

  t.equal(code, 2)
  t.match(err, 'REDIS_URL is unset')
})

t.test('doctor reports a wrong or missing password without printing it', async (t) => {
  const { port } = await startRedis(t, { args: [...well, '--requirepass', 'right'] })

  t.match(await finding(`redis://default:hidden@127.0.0.1:${port}`, 'connection'), { code: 1, state: 'wrong', says: /rejects the user or password/ })
  t.match(await finding(`redis://127.0.0.1:${port}`, 'connection'), { code: 1, state: 'wrong', says: /requires a password/ })
  t.notMatch((await run(['doctor', '--url', `redis://default:hidden@127.0.0.1:${port}`])).out, 'hidden')
})

t.test('doctor reports a database that the server does not have', async (t) => {
  const { url } = await startRedis(t, { args: well })

  t.match(await finding(`${url}/20`, 'connection'), { code: 1, state: 'wrong', says: /does not have the database/ })
})

t.test('doctor reports an untrusted certificate', async (t) => {
  const { url } = await startTls(t)

  t.match(await finding(url, 'connection'), { code: 1, state: 'wrong', says: /authority that this machine does not trust/, change: /NODE_EXTRA_CA_CERTS/ })
})

t.test('doctor reports a replica', async (t) => {
  const redis = await startRedis(t, { args: well })
  await redis.client.replicaof('127.0.0.1', 1)

  t.match(await finding(redis.url, 'role'), { code: 1, state: 'wrong', says: /replica of 127.0.0.1:1/, change: /master/ })
})

t.test('doctor reports a replica that accepts writes, and that they are lost', async (t) => {
  const redis = await startRedis(t, { args: [...well, '--replica-read-only', 'no'] })
  await redis.client.replicaof('127.0.0.1', 1)

  t.match(await finding(redis.url, 'role'), { code: 1, state: 'wrong', says: /accepts writes.* lost/ })
})

t.test('doctor reports a missing memory limit', async (t) => {
  const { url } = await startRedis(t)

  t.match(await finding(url, 'memory'), { code: 0, state: 'warning', says: /No maxmemory/, change: /CONFIG SET maxmemory/ })
})

t.test('doctor reports an eviction policy that rejects writes or can evict sessions', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '100mb'] })

  t.match(await finding(redis.url, 'policy'), { code: 1, state: 'wrong', says: /noeviction/ })
  await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  t.match(await finding(redis.url, 'policy'), { code: 0, state: 'warning', says: /may evict sessions/ })
})

t.test('doctor reports an outdated Redis', async (t) => {
  const port = await serverWithInfo(t, 'redis_version:6.2.14')

  t.match(await finding(`redis://127.0.0.1:${port}`, 'version'), { code: 1, state: 'wrong', says: /Redis 6.2.14 is too old/, change: /7.2/ })
})

t.test('doctor reports every error of the service\'s environment', async (t) => {
  const { url } = await startRedis(t, { args: well })

  const { code, out } = await run(['doctor', '--url', url], { PORT: 'many', SESSION_SECRET: 'short and hidden' })

  t.equal(code, 1)
  t.match(out, /PORT is a text of 4 characters/)
  t.match(out, /SESSION_SECRET must be/)
  t.notMatch(out, 'hidden')
})

t.test('doctor prints the certificate, and trusts the configured authority', async (t) => {
  const { url, paths } = await startTls(t, { authClients: true, args: well })
  const environment = { REDIS_TLS_CA: paths.ca, REDIS_TLS_CERT: paths.cert, REDIS_TLS_KEY: paths.key }

  t.match(await finding(url, 'connection', environment), { code: 0, state: 'fine' })
})

t.test('doctor reports an unknown host name, and how to percent-encode a password', async (t) => {
  const { port } = await startRedis(t, { args: ['--requirepass', 'right'] })

  t.match(await finding('redis://nowhere.invalid:6379', 'connection'), { code: 1, says: 'The host name in nowhere.invalid:6379 does not exist' })
  t.match(await finding(`redis://default:wrong@127.0.0.1:${port}`, 'connection'), { change: /percent-encode characters such as @ : \/ # %\)\.$/ })
})

t.test('doctor checks the separate Redis of the sessions, each server by its own requirements', async (t) => {
  const cache = await startRedis(t, { args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] })
  const sessions = await startRedis(t, { args: ['--maxmemory', '100mb', '--maxmemory-policy', 'noeviction'] })

  const { code, out } = await run(['doctor', '--json', '--url', cache.url], { SESSION_REDIS_URL: sessions.url })
  const { findings } = JSON.parse(out) as { findings: { check: string, state: string, says: string }[] }
  const swapped = await run(['doctor', '--json', '--url', sessions.url], { SESSION_REDIS_URL: cache.url })

  t.equal(code, 0)
  t.match(findings.filter(({ check }) => check === 'policy'), [{ state: 'fine', says: /separate Redis/ }, { state: 'fine', says: /no session is evicted/ }])
  t.equal(swapped.code, 1)
})

t.test('doctor says which of two faulty servers is that of the sessions', async (t) => {
  const sessions = await startRedis(t, { args: well })
  await sessions.client.replicaof('127.0.0.1', 1)
  const wrongOf = async (url: string) => (JSON.parse((await run(['doctor', '--json', '--url', 'redis://127.0.0.1:1'], { SESSION_REDIS_URL: url })).out) as { findings: { state: string, says: string, change?: string }[] }).findings.filter(({ state }) => state === 'wrong')

  for (const url of ['redis://127.0.0.1:2', sessions.url, 'redis://:hidden#@host']) {
    const found = await wrongOf(url)
    t.match(found.find(({ says }) => says.includes('127.0.0.1:1.')), { says: /^The connection/, change: /^Set REDIS_URL/ })
    t.match(found.at(-1), { says: /^SESSION_REDIS_URL/, change: /\bSESSION_REDIS_URL/ }, url)
  }
})

t.test('doctor checks each master of a Cluster', async (t) => {
  const cluster = await startCluster(t)
  await cluster.masters[1]?.control.config('SET', 'maxmemory', '1gb')

  const { out } = await run(['doctor', '--json', '--url', cluster.url])
  const { findings } = JSON.parse(out) as { findings: { check: string, state: string, says: string, node?: string }[] }

  t.match(findings.find(({ check }) => check === 'connection')?.says, /a Cluster of 3 masters/)
  t.same(findings.filter(({ check }) => check === 'policy').map(({ node, state }) => `${node} ${state}`).sort(), cluster.masters.map(({ server }, index) => `${server.host}:${server.port} ${index === 1 ? 'wrong' : 'fine'}`).sort())
})

t.test('doctor ends within its time limit when a server hangs, before and after the connection', async (t) => {
  t.setTimeout(300_000)
  const silent = createServer((socket) => socket.on('error', () => {}))
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.after(() => silent.close())
  const rig = await startRig(t, well)

  t.match(await finding(`redis://127.0.0.1:${(silent.address() as AddressInfo).port}`, 'connection'), { code: 1, state: 'wrong', reason: 'no_answer' })
  const printed: string[] = []
  const running = main(['doctor', '--url', rig.redis.url], { SESSION_SECRET: testSecret }, { readService: readConfig, out: { write: (text) => { printed.push(text); if (/role/.test(text)) rig.redis.signal('SIGSTOP') } }, err: { write () {} } })

  t.equal(await running, 1)
  rig.redis.signal('SIGCONT')
  t.ok(printed.findIndex((text) => /version/.test(text)) < printed.findIndex((text) => /does not reply/.test(text)), 'earlier findings are printed first')
})

t.test('doctor reports a rejected database, also in a Cluster', async (t) => {
  const { url } = await startRedis(t, { args: well })
  const node = await startClusterNode(t, well)

  t.match(await finding(`${url}/99`, 'connection'), { code: 1, state: 'wrong', reason: 'wrong_database', says: /does not have the database/ })
  t.match(await finding(`${node.server.url}/1`, 'connection'), { code: 1, reason: 'wrong_database' })
})

t.test('doctor reports round trips longer than the deadline', async (t) => {
  const rig = await startRig(t, well)
  await rig.proxy.fault('latency', { delayMs: 250, jitterMs: 0 })

  t.match(await finding(rig.url, 'latency'), { code: 1, state: 'wrong', says: /longer than the deadline of 200 ms/ })
})

t.test('doctor reports a Cluster node without peers or slots, and unserved slots', async (t) => {
  const node = await startClusterNode(t, well)
  const says = async () => (JSON.parse((await run(['doctor', '--json', '--url', node.server.url])).out) as { findings: { check: string, state: string, says: string }[] }).findings.filter(({ check }) => check === 'cluster').map(({ state, says }) => `${state}: ${says}`).join('\n')

  t.match(await says(), /wrong: 16384 of 16384 slots are assigned to no node/)
  t.match(await says(), /warning: This node knows no other node/)
  t.match(await says(), /warning: The master \S* serves no slots/)
  await node.control.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16382')
  t.match(await says(), /wrong: 1 of 16384 slots are assigned to no node/)
})

t.test('doctor reports why an address is invalid, with every error of the environment, and prints no secret', async (t) => {
  const addresses: readonly (readonly [address: string, says: RegExp])[] = [
    ['"redis://default:hidden@host:6379"', /quotation marks/],
    ['host:6379', /without a scheme/],
    ['http://hidden@host:6379', /with another scheme/],
    ['redis://default:hidden#1@host:6379', /%23/],
    ['redis://default:hid%zen@host:6379', /%25/],
    ['redis://default:hidden/1@host:6379', /%2F/],
    ['redis://default:hid@den@host:6379/x', /database/],
    ['redis://default:hidden@:6379', /without a host/],
    ['redis://host:port', /port is not a number/],
    ['redis://host:99999', /65535/],
    ['redis://host:6379/zero', /database/],
    ['redis://host:6379?timeout=1', /another parameter than family/],
    ['redis+sentinel://host:26379', /name of their master/],
    ['redis://a:7000/1,redis://b:7000', /name a database/],
    [`${'$'}{{Redis.REDIS_URL}}`, /reference/]
  ]
  for (const [address, says] of addresses) {
    const { code, out } = await run(['doctor', '--json'], { REDIS_URL: address, PORT: 'many', SESSION_SECRET: 'short and hidden' })
    const { findings } = JSON.parse(out) as { findings: { check: string, state: string, says: string }[] }
    t.equal(code, 1, address)
    t.match(findings.find(({ check }) => check === 'connection'), { state: 'wrong', says }, address)
    t.equal(findings.filter(({ check }) => check === 'environment').length, 3, 'REDIS_URL, PORT and SESSION_SECRET')
    t.notMatch(out, /hidden|hid%zen|hid@den/)
  }
})

t.test('doctor reports every error of the environment if no address is set', async (t) => {
  const { code, out, err } = await run(['doctor'], { PORT: 'many', LOG_LEVEL: 'loud' })

  t.equal(code, 2)
  t.match(err, 'REDIS_URL is unset')
  for (const variable of ['PORT', 'LOG_LEVEL']) t.match(out, variable)
})

/** What servers reply to `INFO server`, as recorded, up to their version. */
const products: [says: string, ...info: string[]][] = [
  ['Redis 7.0.15.', 'redis_version:7.0.15', 'redis_git_sha1:00000000', 'redis_mode:standalone'],
  ['Redis 8.0.2.', 'redis_version:8.0.2', 'redis_git_sha1:00000000', 'redis_mode:standalone'],
  ['Valkey 8.0.1.', 'redis_version:7.2.4', 'server_name:valkey', 'valkey_version:8.0.1', 'redis_git_sha1:00000000', 'server_mode:standalone'],
  ['Valkey 8.1.1.', 'redis_version:7.2.4', 'server_name:valkey', 'valkey_version:8.1.1', 'valkey_release_stage:ga', 'server_mode:standalone']
]

t.test('doctor accepts Redis 7, Redis 8 and Valkey, and reports the product with its own version', async (t) => {
  for (const [says, ...info] of products) {
    const port = await serverWithInfo(t, `# Server\r\n${info.join('\r\n')}`)
    t.match(await finding(`redis://127.0.0.1:${port}`, 'version'), { state: 'fine', says }, says)
  }
})

/** Other servers are not on every machine: a server that replies like one. `test/package/` runs the package on those that are. */
async function serverWithInfo (t: Test, server: string): Promise<number> {
  const info = `${server}\r\nrole:master\r\nused_memory:1\r\nmaxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n`
  const replies: Record<string, string> = { info: `$${info.length}\r\n${info}\r\n`, ping: '+PONG\r\n', time: '*2\r\n$1\r\n1\r\n$1\r\n1\r\n', client: '$0\r\n\r\n', hello: '*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n' }
  const listener = createServer((socket) => {
    socket.on('error', () => {}) // the client has disconnected
    socket.on('data', (chunk) => {
      for (const [, name = ''] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) socket.write(replies[name.toLowerCase()] ?? '-ERR unknown command\r\n')
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.after(() => listener.close())
  return (listener.address() as AddressInfo).port
}
