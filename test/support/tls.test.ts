import { Redis, type RedisOptions } from 'ioredis'
import t, { type Test } from 'tap'
import { startProxy } from './proxy.ts'
import { disconnectTimeout } from './redis-process.ts'
import { startTls } from './tls.ts'

function open (t: Test, url: string, options: RedisOptions = {}): Redis {
  const client = new Redis(url, { retryStrategy: null, maxRetriesPerRequest: 0, disconnectTimeout, ...options })
  client.on('error', () => {}) // each test looks at its own call's error
  t.after(() => client.disconnect())
  return client
}

t.test('TLS accepts clients that trust its authority', async (t) => {
  const redis = await startTls(t)

  t.equal(await open(t, redis.url, { tls: { ca: redis.ca } }).ping(), 'PONG')
  await t.rejects(open(t, redis.url).ping(), 'the authority is unknown')
  await t.rejects(open(t, redis.url.replace('rediss', 'redis')).ping(), 'no TLS')
})

t.test('TLS requires a client certificate if configured', async (t) => {
  const redis = await startTls(t, { authClients: true })

  t.equal(await open(t, redis.url, { tls: { ca: redis.ca, ...redis.client } }).ping(), 'PONG')
  await t.rejects(open(t, redis.url, { tls: { ca: redis.ca } }).ping())
})

t.test('TLS passes the fault proxy unread', async (t) => {
  const redis = await startTls(t)
  const proxy = await startProxy(t, redis)
  const url = proxy.url.replace('redis', 'rediss')

  t.equal(await open(t, url, { tls: { ca: redis.ca } }).ping(), 'PONG')

  t.ok(proxy.bytes > 0)
  t.equal(proxy.commandCount, 0)
})
