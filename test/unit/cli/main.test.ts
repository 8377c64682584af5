import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fastify } from 'fastify'
import t from 'tap'
import prism from '../../../plugins/index.ts'
import { main } from '../../../src/cli/main.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { buildTestApp, testSecret } from '../../support/app.ts'
import { run } from '../../support/cli.ts'
import { startCluster } from '../../support/cluster.ts'
import { startRedis } from '../../support/redis.ts'
import { reached } from '../../support/wait-for-redis.ts'
import { until } from '../../support/until.ts'
import { SignedInClient } from '../../support/signed-in-client.ts'

t.test('keys prints each namespace, the largest keys and keys without an expiry', async (t) => {
  const redis = await startRedis(t)
  for (let index = 0; index < 20; index++) await redis.client.set(`session:{u${index}}`, 'x', 'EX', 1800)
  await redis.client.set('api:cache:GET:/big:{1}', 'y'.repeat(50_000), 'EX', 300)
  await redis.client.set('foreign', '1')

  const { namespaces, biggest } = JSON.parse((await run(['keys', '--json', '--url', redis.url])).out)

  t.match(namespaces, [{ namespace: 'session', keys: 20, withoutEnd: 0 }, { namespace: 'cache', keys: 1 }, { namespace: 'other', keys: 1, withoutEnd: 1 }])
  t.equal(biggest[0].key, 'api:cache:GET:/big:{1}')
})

t.test('limits prints the requests in progress of a client', async (t) => {
  const { url, client } = await startRedis(t)
  await client.zadd('ratelimit:{ip:192.0.2.1}:GET:/%23concurrency', String(Date.now() + 30_000), 'a.1.1', String(Date.now() + 30_000), 'a.2.1')

  const { code, out } = await run(['limits', '192.0.2.1', '--json', '--url', url])

  t.equal(code, 0)
  t.match(JSON.parse(out).counters, [{ endpoint: 'GET:/#concurrency', used: 2 }])
})

t.test('limits prints used units, quota, window and reset of each policy', async (t) => {
  const redis = await startRedis(t)
  const { url } = redis
  const app = fastify()
  t.after(() => app.close())
  await app.register(prism, { redis: { url, commandTimeout }, session: { secrets: [testSecret] }, rateLimit: { quota: 100, window: '1h' } })
  app.get('/smooth', { config: { rateLimit: { quota: 60, window: '1m', algorithm: 'gcra', burst: 5 } } }, async () => 'ok')
  app.get('/daily', { config: { rateLimit: [{ quota: 50, window: '1d', algorithm: 'fixed' }, { name: 'second', quota: 7, window: '10s' }] } }, async () => 'ok')
  app.get('/own', { config: { rateLimit: { quota: () => 9 } } }, async () => 'ok')
  app.get('/code', async (request) => await app.rateLimits.check(`ip:${request.ip}`, { name: 'mails', quota: 20, window: '1h', cost: 3 }))
  await app.ready()
  await reached(app)
  for (const path of ['/smooth', '/smooth', '/daily', '/own', '/code']) await app.inject(path)

  const read = async () => JSON.parse((await run(['limits', '127.0.0.1', '--json', '--url', url])).out).counters as { endpoint: string, resetMs: number | null }[]
  const counters = new Map((await read()).map((counter) => [counter.endpoint, counter]))
  t.match(counters.get('all'), { policy: 'default', used: 5, quota: 100, windowMs: 3_600_000 })
  t.match(counters.get('GET:/smooth'), { policy: 'route', quota: 60, windowMs: 60_000 })
  t.match(counters.get('GET:/daily#route'), { used: 1, quota: 50, windowMs: 86_400_000 })
  t.match(counters.get('GET:/daily#second'), { policy: 'second', used: 1, quota: 7, windowMs: 10_000 })
  t.match(counters.get('GET:/own'), { policy: null, used: 1, quota: null, resetMs: null })
  const all = counters.get('all')?.resetMs ?? 0
  t.ok(all > 3_500_000 && all <= 3_660_000, `${all}`)
  // The name is known to the process once it was used: published within a minute.
  t.match(counters.get('mails'), { used: 3, quota: null })
  t.match((await run(['limits', '127.0.0.1', '--url', url])).out, /policy +endpoint +used +quota +window +resets in\n/)
  t.match(JSON.parse(await app.redisPool.get('prism:_quotas') ?? '{}'), { all: { name: 'default', quota: { quota: 100 } } })
  t.ok(await app.redisPool.pttl('prism:_quotas') > 0, 'the published quotas expire')
  await redis.restart()
  t.match(await until(async () => await app.redisPool.get('prism:_quotas'), { what: 'the quotas are published to the new server', deadlineMs: 30_000 }), /mails/)
})

t.test('sessions prints the device, and says that it needs a user ID when it finds nothing', async (t) => {
  const app = await buildTestApp(t)
  const { redisUrl: url } = app.testConfig
  const password = 'correct horse'
  const post = async (path: string, headers = {}) => await app.inject({ method: 'POST', url: path, headers, payload: { name: 'Ada', password } })
  await post('/users')
  await post('/session', { 'user-agent': 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0' })
  const id = await userOf(app)

  t.match(JSON.parse((await run(['sessions', id, '--json', '--url', url])).out).devices, [{ label: 'Firefox on Windows' }])
  const none = await run(['sessions', 'Ada', '--url', url])
  t.match(none, { code: 0, out: /No session is stored for the user ID Ada\.\n.*user ID that the app passes to signIn\(\), not a name/ })
  t.match(JSON.parse((await run(['sessions', 'Ada', '--json', '--url', url])).out), { user: 'Ada', devices: [] })
})

t.test('sessions reads the separate Redis of the sessions beside the service', async (t) => {
  const [shared, own] = [await startRedis(t), await startRedis(t)]
  const app = await buildTestApp(t, { redisUrl: shared.url, sessionRedisUrl: own.url })
  await new SignedInClient(app).signIn('Ada')
  const id = (await own.client.keys('session:{*')).map((key) => key.slice('session:{'.length, -1)).find((each) => !each.startsWith('a:')) ?? ''
  const environment = { REDIS_URL: shared.url, SESSION_REDIS_URL: own.url }

  t.equal(JSON.parse((await run(['sessions', id, '--json'], environment)).out).devices.length, 1)
  t.equal(JSON.parse((await run(['sessions', id, '--json', '--url', shared.url], environment)).out).devices.length, 0)
})

t.test('purge accepts more tags than one script call can have', async (t) => {
  const app = await buildTestApp(t)
  const tags = Array.from({ length: 1200 }, (_, index) => `tag:${index}`)

  t.match(await run(['purge', ...tags, '--url', app.testConfig.redisUrl]), { code: 0, out: 'Purged 1200 tags.\n' })
  t.ok(await app.redisPool.get('api:cache:tag:tag%3A1199'))
})

t.test('entry reports a service that does not respond, and inspects several URLs', async (t) => {
  const app = await buildTestApp(t, { adminToken: 'token' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await fetch(`${url}/cities/2988507`)

  const several = await run(['entry', `${url}/cities/2988507`, `${url}/session`], { ADMIN_TOKEN: 'token' })
  t.match(several, { code: 0, out: /cities\/2988507:\n[^]*session:\nNo route/ })
  t.match(await run(['entry', `${url}/cities`], { ADMIN_TOKEN: 'other' }), { code: 1, err: /token is wrong/ })
  t.match(await run(['entry', 'http://127.0.0.1:1/x']), { code: 1, err: /cannot be reached/ })
  t.match(await run(['entry', '/cities']), { code: 2, err: /npx fastify-prism entry https/ })
})

t.test('purge, sessions and limits act on a running service', async (t) => {
  const app = await buildTestApp(t)
  const { redisUrl: url } = app.testConfig
  const client = await new SignedInClient(app).signIn('Ada')
  const me = await client.send('GET', '/session')
  const id = String(JSON.parse(me.body).id ?? await userOf(app))

  const listed = JSON.parse((await run(['sessions', id, '--json', '--url', url])).out)
  const used = JSON.parse((await run(['limits', '127.0.0.1', '--json', '--url', url])).out)
  const revoked = await run(['sessions', id, '--revoke', '--url', url])
  const reset = JSON.parse((await run(['limits', '127.0.0.1', '--reset', '--json', '--url', url])).out)
  const purged = await run(['purge', 'cities', '--url', url])

  t.equal(listed.devices.length, 1)
  t.ok(used.counters.some(({ used }: { used: number }) => used > 0))
  t.match(revoked.out, '1 device')
  t.equal((await client.send('GET', '/session')).statusCode, 401)
  t.ok(reset.reset > 0)
  t.equal(purged.code, 0)
  t.ok(await app.redisPool.get('api:cache:tag:cities'))
})

t.test('watch prints one line per second', async (t) => {
  const { url } = await startRedis(t)

  const { code, out } = await run(['watch', '--count', '1', '--json', '--url', url])

  t.equal(code, 0)
  t.match(JSON.parse(out), { memoryUsedBytes: Number, commandsASecond: Number, clients: Number })
})

t.test('the program prints help, and exits with 2 for invalid arguments', async (t) => {
  const [help, more, unknown, flag, missing] = await Promise.all([run(['--help']), run(['keys', '--help']), run(['nothing']), run(['keys', '--wrong']), run(['purge'])])

  t.equal(help.code, 0)
  for (const name of ['doctor', 'keys', 'purge', 'sessions', 'limits', 'watch', 'rules', 'Exit code']) t.match(help.out, name)
  t.match(more, { code: 0, out: /npx fastify-prism keys\n[^]*SCAN[^]*Examples:[^]*Exit code/ })
  t.match(unknown, { code: 2, err: /Unknown command nothing/ })
  t.match(flag, { code: 2, err: /--wrong/ })
  t.match(missing, { code: 2, err: /needs a tag/ })
})

t.test('an address without --url is rejected, and not printed', async (t) => {
  const address = 'redis://app:hidden@127.0.0.1:1'
  for (const args of [[address], ['doctor', address], ['keys', address], ['watch', address], ['doctor', `--address=${address}`]]) {
    const { code, out, err } = await run(args, { REDIS_URL: 'redis://127.0.0.1:1' })
    t.equal(code, 2, `call ${args.length}`)
    t.notMatch(out + err, /hidden/)
  }
  t.match((await run(['doctor', address], { REDIS_URL: 'redis://127.0.0.1:1' })).err, /--url/)
})

t.test('the program runs as a process, and exits with its code', async (t) => {
  const child = spawnSync(process.execPath, [join(import.meta.dirname, '../../../src/cli/bin.ts'), 'doctor', '--url', 'redis://127.0.0.1:1'], { encoding: 'utf8', env: { PATH: process.env.PATH } })

  t.equal(child.status, 1)
  t.match(child.stdout, 'Nothing listens at 127.0.0.1:1')
  t.notMatch(child.stdout, 'SESSION_SECRET') // users of the package have their own environment
})

/** The ID of the only user with a session. */
async function userOf (app: Awaited<ReturnType<typeof buildTestApp>>): Promise<string> {
  const [, keys] = await app.redisPool.scan('0', 'MATCH', 'session:{*', 'COUNT', 1000)
  return keys.map((key) => key.slice('session:{'.length, -1)).find((id) => !id.startsWith('a:')) ?? ''
}

t.test('keys, limits and watch read every master of a Cluster', async (t) => {
  const cluster = await startCluster(t)
  const app = await buildTestApp(t, { redisUrl: cluster.url })
  const addresses = Array.from({ length: 6 }, (_, index) => `203.0.113.${index + 1}`)
  const send = async (remoteAddress: string) => await app.inject({ url: '/cities/2988507', remoteAddress })
  for (const address of addresses) await send(address)
  const held = async () => (await Promise.all(cluster.masters.map(async ({ control }) => await control.dbsize()))).reduce((sum, keys) => sum + keys)
  const counted = async () => (JSON.parse((await run(['keys', '--json', '--url', cluster.url])).out) as { namespaces: { keys: number }[] }).namespaces.reduce((sum, { keys }) => sum + keys, 0)

  // A response can be stored after it was sent, and Redis is sampled every 5 s.
  t.ok(await until(async () => await counted() === await held() && await held(), { what: 'all keys are counted' }) > 6)
  // Six clients have their own slots. A counter can expire just then: each sends another request first.
  for (const address of addresses) {
    await until(async () => {
      await send(address)
      return JSON.parse((await run(['limits', address, '--json', '--url', cluster.url])).out).counters[0]?.used
    }, { what: `the counter of ${address}` })
  }
  const { clients } = JSON.parse((await run(['watch', '--count', '1', '--json', '--url', cluster.url])).out) as { clients: number }
  t.ok(clients >= 3 * 2, `${clients}: ours and the app's at each of three masters`)
})

t.test('limits finds IPv6 clients by any address of their network', async (t) => {
  const app = await buildTestApp(t)
  const limits = async (...words: string[]) => await run(['limits', ...words, '--json', '--url', app.testConfig.redisUrl])
  /** A counter can expire with its window: the client sends a request before each read. */
  const afterRequest = async (...words: string[]) => {
    await app.inject({ url: '/cities/2988507', remoteAddress: '2001:db8:0:7::1' })
    return JSON.parse((await limits(...words)).out)
  }

  await until(async () => (await afterRequest('2001:db8:0:7::99')).counters[0]?.used, { what: 'the counter of the network' })
  t.same(JSON.parse((await limits('2001:db8:0:8::1')).out).counters, [])
  t.match(await limits('not-an-address'), { code: 2, err: /is not an IP address/ })
  await until(async () => (await afterRequest('2001:db8:0:7::1', '--reset')).reset === 1, { what: 'the counter is deleted' })
})

t.test('the program prints errors as JSON to a program', async (t) => {
  const [help, more, unknown, unreached] = await Promise.all([run(['--help', '--json']), run(['watch', '--help', '--json']), run(['nothing', '--json']), run(['keys', '--json', '--url', 'redis://127.0.0.1:1'])])

  t.match(JSON.parse(help.out).commands, [{ usage: 'doctor' }])
  t.match(JSON.parse(more.out), { usage: /watch/, help: Array })
  t.match({ code: unknown.code, ...JSON.parse(unknown.err) }, { code: 2, error: /Unknown command nothing/ })
  t.match({ code: unreached.code, ...JSON.parse(unreached.err) }, { code: 1, error: /Nothing listens/ })
  t.equal(unreached.out, '')
})

t.test('the program prints colours and progress only on a terminal', async (t) => {
  const redis = await startRedis(t)
  await redis.client.set('one', '1')
  const [out, err]: [string[], string[]] = [[], []]
  const terminal = (texts: string[], isTTY: boolean) => ({ isTTY, write: (text: string) => texts.push(text) })
  const on = async (command: string, isTTY: boolean, environment = {}) => await main([command, '--url', redis.url], environment, { out: terminal(out, isTTY), err: terminal(err, isTTY) })

  await on('doctor', false)
  await on('keys', false)
  await on('doctor', true, { NO_COLOR: '1' })
  t.notMatch(out.join('') + err.join(''), '\x1b')
  await on('doctor', true)
  await on('keys', true)

  t.match(out.join(''), '\x1b[32m')
  t.match(err.join(''), 'of about 1 keys')
})

t.test('alert sends a test message in the configured format and reports whether it was accepted', async (t) => {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    request.on('data', (chunk: Buffer) => bodies.push(String(chunk))).on('end', () => response.writeHead(request.url === '/taken' ? 200 : 404).end())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  const send = async (path: string, environment = {}) => await run(['alert'], { ALERT_WEBHOOK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/${path}`, ...environment })

  const taken = await send('taken', { ALERT_WEBHOOK_FORMAT: 'slack' })
  const refused = await send('hidden')
  const unset = await run(['alert'])

  t.match(taken, { code: 0, out: /accepted a test alert/ })
  t.match(JSON.parse(bodies[0] ?? ''), { text: /\[TEST\] PrismTest/ })
  t.match(refused, { code: 1, out: /status 404/ })
  t.notMatch(refused.out, 'hidden')
  t.match(unset, { code: 2, err: /ALERT_WEBHOOK_URL is unset/ })
  t.match(await run(['alert'], { ALERT_WEBHOOK_FORMAT: 'pagerduty' }), { code: 2, err: /ALERT_PAGERDUTY_KEY/ })
})

t.test('alert sends the login of the address as a header, and reports a redirect', async (t) => {
  const logins: (string | undefined)[] = []
  const server = createServer((request, response) => {
    logins.push(request.headers.authorization)
    response.writeHead(request.url === '/moved' ? 301 : 200, { location: '/' }).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  const send = async (login: string, path = '') => await run(['alert'], { ALERT_WEBHOOK_URL: `http://${login}127.0.0.1:${(server.address() as AddressInfo).port}/${path}` })

  t.match(await send('app:hid%40den@'), { code: 0 })
  t.match(await send('app:50%@'), { code: 0 })
  t.match(await send(''), { code: 0 })
  t.same(logins.map((login) => login && Buffer.from(login.replace('Basic ', ''), 'base64').toString()), ['app:hid@den', 'app:50%', undefined])
  const moved = await send('app:hidden@', 'moved')
  t.match(moved, { code: 1, out: /a redirect/ })
  t.notMatch(moved.out, 'hidden')
})
