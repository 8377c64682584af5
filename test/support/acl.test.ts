import { Redis, type RedisOptions } from 'ioredis'
import t, { type Test } from 'tap'
import { aclUser, noDefaultUser } from './acl.ts'
import { disconnectTimeout, startRedisProcess } from './redis-process.ts'

function open (t: Test, port: number, options: RedisOptions = {}): Redis {
  const client = new Redis({ port, retryStrategy: null, maxRetriesPerRequest: 0, enableReadyCheck: false, disconnectTimeout, ...options })
  client.on('error', () => {}) // each test looks at its own call's error
  t.after(() => client.disconnect())
  return client
}

t.test('ACL users are accepted with their password, within their rules; other users are rejected', async (t) => {
  const { port } = await startRedisProcess(t, {
    args: [...noDefaultUser(), ...aclUser({ name: 'app', password: 'p:a@ss', rules: ['~app:*', '&*', '+@all', '-@dangerous'] })]
  })
  const app = open(t, port, { username: 'app', password: 'p:a@ss' })

  t.equal(await app.set('app:k', 'v'), 'OK')
  await t.rejects(app.get('other'), { message: /^NOPERM/ })
  await t.rejects(app.flushall(), { message: /^NOPERM/ })
  await t.rejects(open(t, port).get('app:k'))
  await t.rejects(open(t, port, { username: 'app', password: 'wrong' }).get('app:k'))
})
