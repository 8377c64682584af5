import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, connect, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { holdRequest } from '../support/held-request.ts'
import { launchService, readiness, startListening, startService, type Service } from '../support/service.ts'
import { startRedis } from '../support/redis.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { testDatabase } from '../support/app.ts'
import { freePort } from '../support/ports.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000) // real processes, one after the other

const user = JSON.stringify({ name: 'ada', password: 'correct horse battery' })

/** An idle connection. */
async function holdConnection (t: Test, { port }: Service): Promise<(path: string) => Promise<string>> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => { socket.destroy() })
  await once(socket, 'connect')
  return async (path) => {
    let text = ''
    socket.on('data', (chunk) => { text += String(chunk) })
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    await once(socket, 'close')
    return text
  }
}

t.test('an invalid environment is rejected before listening, with every error at once', async (t) => {
  const { exit, logs } = launchService(t, { NODE_ENV: 'production', PORT: 'eighty', TRUST_PROXY: 'true', SESSION_SECRET: 'hunter2', REDIS_URL: 'redis://u:hunter2@h:x' })

  t.same(await exit, { code: 1, signal: null })
  t.equal(logs[0], 'Invalid environment:')
  t.equal(logs.length, 5)
  for (const variable of ['PORT', 'TRUST_PROXY', 'SESSION_SECRET', 'REDIS_URL']) t.ok(logs.some((line) => line.startsWith(`  ${variable} must be `)), variable)
  t.notMatch(logs.join('\n'), 'hunter2')
})

t.test('an occupied port is named', async (t) => {
  const blocker = createServer().listen(0, '127.0.0.1')
  await once(blocker, 'listening')
  t.after(() => { blocker.close() })
  const { port } = blocker.address() as AddressInfo
  const { url } = await startRedis(t)

  const { exit, logs } = launchService(t, { PORT: String(port), HOST: '127.0.0.1', REDIS_URL: url, DATABASE_PATH: testDatabase(t) })

  t.same(await exit, { code: 1, signal: null })
  t.match(logs.at(-1), `Port ${port} is in use: set PORT to another`)

  const { logs: metricsLogs } = launchService(t, { PORT: '0', METRICS_PORT: String(port), HOST: '127.0.0.1', REDIS_URL: url, DATABASE_PATH: testDatabase(t) })

  await until(() => metricsLogs.some((line) => line.includes(`The metrics port ${port} is in use: set METRICS_PORT`)), { what: 'the log names the port of the metrics' })
})

/** Shared by the tests that leave it running; ends by SIGTERM. */
const service = await startService(t)

t.test('the start prints three addresses to try, and they work', async (t) => {
  const urls = await until(() => service.logs.map((line) => JSON.parse(line).urls).find(Boolean) as string[] | undefined, { what: 'the addresses' })

  t.equal(urls.length, 3)
  t.match(await (await fetch(urls[0] ?? '', { headers: { accept: 'text/html' } })).text(), '<h1>fastify-prism</h1>', 'the page is first')
  for (const url of urls) t.equal((await fetch(url)).status, 200, url)
})

t.test('each request is logged in one line, with the cache\'s outcome', async (t) => {
  const cacheStatus = async () => (await fetch(`${service.url}/cities/5128581`)).headers.get('cache-status') ?? ''

  await fetch(`${service.url}/nowhere`)
  await cacheStatus()
  await until(async () => (await cacheStatus()).includes('hit'), { what: 'a hit' })
  const logged = () => service.logs.map((line) => JSON.parse(line)).filter(({ message }) => message === 'request completed').map(({ method, route, status, cache }) => [method, route, status, cache])
  const facts = () => logged().slice(logged().findIndex(([,, status]) => status === 404))
  await until(() => facts().length > 1 && facts().at(-1)?.at(-1) === 'hit', { what: 'the hit is logged' })

  t.same(facts()[0], ['GET', null, 404, undefined])
  t.same(facts()[1], ['GET', '/cities/:id', 200, 'miss'])
  t.same(facts().at(-1), ['GET', '/cities/:id', 200, 'hit'])
})

t.test('SIGTERM lets requests in progress finish, makes the service not ready, and exits with 0', async (t) => {
  const held = await holdRequest(t, service, 'POST /users', user)
  const sendRequest = await holdConnection(t, service)
  await fetch(`${service.url}/healthz/live`) // served after the other connection was made

  const exit = service.stop('SIGTERM')
  await until(() => service.logs.some((line) => line.includes('"Stopping"')), { what: 'the signal is seen' })
  const refusal = await sendRequest('/healthz/ready')
  const response = await held.finish()

  t.match(refusal, /^HTTP\/1.1 503 .*"draining"/s)
  t.match(response, /^HTTP\/1.1 201 /)
  t.match(response, /connection: close/i)
  t.same(await exit, { code: 0, signal: null })
  t.match(service.logs.at(-1), '"Stopped"')
})

t.test('a request that never ends is cut, and the service exits with 0 in time', async (t) => {
  const service = await startService(t)
  await holdRequest(t, service, 'POST /users', user)
  const startedAt = Date.now()

  t.same(await service.stop('SIGTERM'), { code: 0, signal: null })
  t.ok(Date.now() - startedAt < 9_500, 'a busy machine needs longer than the 5 s, and a connection that is not cut ends after 10 s')
})

t.test('a second signal exits at once', async (t) => {
  const service = await startService(t)
  await holdRequest(t, service, 'POST /users', user)
  const exit = service.stop('SIGTERM')
  await until(() => service.logs.some((line) => line.includes('"Stopping"')), { what: 'the signal is seen' })

  const second = setInterval(() => { service.stop('SIGTERM') }, 100)
  const { code } = await exit.finally(() => clearInterval(second))

  t.equal(code, 1)
})

t.test('the service starts degraded when Redis is down, and recovers', async (t) => {
  const port = await freePort()
  const service = await startListening(t, { REDIS_URL: `redis://127.0.0.1:${port}` })

  t.match(await readiness(service), { status: 'degraded' })
  t.equal((await fetch(`${service.url}/cities/2988507`)).status, 200)

  await startRedisProcess(t, { port })
  await until(async () => (await readiness(service)).status === 'ready', { what: 'ready' })
})

t.test('an unhandled promise rejection is logged and ends the process', async (t) => {
  const reject = encodeURIComponent('process.on("SIGUSR2", () => { Promise.reject(new Error("lost")) })')
  const service = await startService(t, { NODE_OPTIONS: `--import=data:text/javascript,${reject}` })

  t.same(await service.stop('SIGUSR2'), { code: 1, signal: null })

  t.match(JSON.parse(service.logs.at(-1) ?? ''), { level: 'fatal', error: { message: 'lost', stack: String }, message: /^Unhandled promise rejection/ })
})

t.test('the service starts its own Redis, and stops it on exit', async (t) => {
  const service = await startService(t, { REDIS_URL: '' })
  const children = readFileSync(`/proc/${service.pid}/task/${service.pid}/children`, 'utf8').trim().split(' ').map(Number)

  t.match(await (await fetch(`${service.url}/healthz/ready`)).json(), { status: 'ready' })
  t.ok(children.length > 0)
  t.same(await service.stop('SIGINT'), { code: 0, signal: null })
  for (const pid of children) t.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
})

t.test('no log line contains a secret, wherever it is sent', async (t) => {
  const service = await startService(t, { ADMIN_TOKEN: 'hunter2-admin', LOG_LEVEL: 'trace' })
  const secret = 'hunter2-hunter2-hunter2'
  const headers = { cookie: `session=${secret}; other=${secret}`, authorization: `Bearer ${secret}`, 'x-api-key': secret, 'content-type': 'application/json' }
  const send = async (method: string, path: string, body?: string) => {
    const reply = await fetch(service.url + path, { method, headers, ...(body === undefined ? {} : { body }) })
    await reply.text()
    return reply.headers.getSetCookie()
  }
  const account = JSON.stringify({ name: 'eve', password: secret })

  await send('POST', '/users', account)
  const cookies = await send('POST', '/session', account)
  await send('POST', '/session', JSON.stringify({ name: 'eve', password: `${secret}-wrong` }))
  await send('POST', '/session', `{"name":"eve","password":"${secret}`)
  await send('POST', '/session', JSON.stringify({ name: 'eve', password: secret, [secret]: secret }))
  await send('GET', `/cities?q=${secret}&token=${secret}`)
  await send('GET', `/cities/${secret}`)
  await send('GET', `/nowhere/${secret}?password=${secret}`)
  await send('GET', `/cities/%zz${secret}`)
  await send('PUT', '/cities/2988507/notes', JSON.stringify({ text: secret }))
  await service.stop('SIGTERM')

  const log = service.logs.join('\n')
  t.notMatch(log, 'hunter2')
  t.ok(cookies.length > 0, 'signed in')
  for (const cookie of cookies) t.notOk(log.includes(cookie.split(';')[0]?.split('=')[1] ?? '-'), 'no cookie')
  const lines = service.logs.map((line) => JSON.parse(line)).filter(({ message }) => message === 'request completed')
  t.equal(lines.length, 9)
  t.match(lines[0], { level: 'info', requestId: /^[0-9a-f-]{36}$/, method: 'POST', route: '/users', status: 201, durationMs: Number })
})

t.end() // the shared Redis would keep the process alive
