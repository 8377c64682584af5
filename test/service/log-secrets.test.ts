import t from 'tap'
import { startRedisProcess } from '../support/redis-process.ts'
import { readiness, startService, type Service } from '../support/service.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

const secret = 'hunter2-hunter2-hunter2'
const account = JSON.stringify({ name: 'eve', password: secret })

/** Secrets in every part of a request that can contain one. */
async function attack ({ url }: Service, cookie: string): Promise<void> {
  const send = async (method: string, path: string, body?: string, fields: Record<string, string> = {}) => {
    const headers = { cookie, authorization: `Bearer ${secret}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...fields }
    await (await fetch(url + path, { method, headers, ...(body === undefined ? {} : { body }) })).text()
  }
  for (const path of ['/session', '/session/devices', '/me/places', `/metrics?token=${secret}`, `/live?token=${secret}`, `/cities?near=${secret}`]) await send('GET', path)
  await send('GET', '/metrics', undefined, { authorization: 'Bearer hunter2-admin' })
  await send('GET', '/cities/1', undefined, { cookie: `session=${secret}; ${cookie}x`, 'if-none-match': secret, 'user-agent': secret, referer: `http://x/?${secret}`, origin: `http://${secret}` })
  await send('PUT', '/me/places/2988507', undefined, { origin: `http://${secret}` })
  await send('PUT', '/cities/2988507/notes', JSON.stringify({ text: secret }))
  await send('DELETE', `/session/devices/${secret}`)
  for (const body of [JSON.stringify({ name: 'x', password: secret.repeat(20) }), JSON.stringify({ name: `${secret}\n`, password: [secret] }), `{"password":"${secret}`, `{"__proto__":"${secret}"}`]) await send('POST', '/users', body)
  await send('POST', '/session', account, { 'content-type': secret })
}

t.test('the log contains no secret while Redis is ready, down, and back with another password', async (t) => {
  const redis = await startRedisProcess(t, { args: ['--requirepass', 'hunter2-redis'] })
  const service = await startService(t, { LOG_LEVEL: 'trace', ADMIN_TOKEN: 'hunter2-admin', SESSION_SECRET: 'hunter2'.repeat(6), REDIS_URL: `redis://:hunter2-redis@127.0.0.1:${redis.port}` })
  const post = async (path: string) => await fetch(service.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: account })
  await post('/users')
  const cookie = (await post('/session')).headers.getSetCookie()[0]?.split(';')[0] ?? ''
  const degraded = async () => await until(async () => (await readiness(service)).status === 'degraded', { what: 'readiness is degraded' })

  await attack(service, cookie)
  await redis.kill()
  await attack(service, cookie)
  await degraded()
  await redis.start({ args: ['--requirepass', 'another'] })
  await attack(service, cookie)
  await service.stop()

  const log = service.logs.join('\n')
  t.match(cookie, /=.{32}/)
  t.ok(service.logs.length > 30)
  t.notMatch(log, 'hunter2')
  t.notOk(log.includes(cookie.split('=')[1] ?? '='))
})
