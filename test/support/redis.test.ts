import t from 'tap'
import { startRedis } from './redis.ts'

t.test('startRedis gives each test a server of its own', async t => {
  const [one, two] = await Promise.all([startRedis(t), startRedis(t)])

  await one.client.set('key', 'one')

  t.not(one.port, two.port)
  t.equal(await two.client.get('key'), null)
  t.match(await one.client.info('server'), `process_id:${one.pid}`)
})

t.test('startRedis passes options on, and restarts empty on the same port', async t => {
  const redis = await startRedis(t, { args: ['--maxmemory', '64mb'] })
  const before = redis.pid
  await redis.client.set('key', 'value')

  await redis.restart()

  t.not(redis.pid, before)
  t.equal(await redis.client.get('key'), null)
  t.strictSame(await redis.client.config('GET', 'maxmemory'), ['maxmemory', String(64 * 1024 * 1024)])
})
