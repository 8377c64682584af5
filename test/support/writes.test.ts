import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { startProxy } from './proxy.ts'
import { startRedisProcess } from './redis-process.ts'
import { startTls } from './tls.ts'
import { countWrites } from './writes.ts'

async function connected (t: Test, port: number): Promise<Redis> {
  const client = new Redis({ port })
  t.after(() => client.disconnect())
  await client.ping()
  return client
}

t.test('a write counter distinguishes single commands from a pipeline', async (t) => {
  const { port } = await startRedisProcess(t)
  const client = await connected(t, port)
  const counted = countWrites(t, port)

  await Promise.all([client.get('a'), client.get('b'), client.get('c')])
  t.equal(counted.writes, 3)
  counted.clear()
  await client.pipeline().get('a').mget('b', 'c').exec()

  t.equal(counted.writes, 1)
  t.equal(counted.commandCount, 2)
  t.strictSame(Object.fromEntries(counted.commands), { GET: 1, MGET: 1 })
  t.equal(counted.bytes, '*2\r\n$3\r\nget\r\n$1\r\na\r\n*3\r\n$4\r\nmget\r\n$1\r\nb\r\n$1\r\nc\r\n'.length)
})

t.test('a write counter includes connections opened later, and no other port', async (t) => {
  const mine = await startRedisProcess(t)
  const other = await startRedisProcess(t)
  const counted = countWrites(t, mine.port)

  const otherClient = await connected(t, other.port)
  await otherClient.ping()
  t.equal(counted.writes, 0)
  const client = await connected(t, mine.port)
  counted.clear()
  await client.ping()

  t.equal(counted.writes, 1)

  const both = countWrites(t, mine.port, other.port)
  await Promise.all([client.ping(), otherClient.ping()])
  t.equal(both.writes, 2, 'two servers together')
  t.equal(counted.writes, 2, 'two counts side by side')
})

t.test('a write counter reads commands before TLS encrypts them', async (t) => {
  const redis = await startTls(t)
  const client = new Redis(redis.url, { tls: { ca: redis.ca } })
  t.after(() => client.disconnect())
  await client.ping()
  const counted = countWrites(t, redis.port)

  await client.pipeline().get('a').set('b', 'c').exec()

  t.equal(counted.writes, 1)
  t.strictSame(Object.fromEntries(counted.commands), { GET: 1, SET: 1 })
})

t.test('a write counter and a proxy agree on large commands', async (t) => {
  const redis = await startRedisProcess(t)
  const proxy = await startProxy(t, redis)
  const client = await connected(t, proxy.port)
  const counted = countWrites(t, proxy.port)

  proxy.clearCounts()
  await client.pipeline().set('k', Buffer.alloc(2_000_000, '\r\n$3')).get('k').exec()

  t.equal(counted.bytes, proxy.bytes)
  t.strictSame(counted.commands, proxy.commands)
})

t.test('a write counter ends with its test', async (t) => {
  const { port } = await startRedisProcess(t)
  const client = await connected(t, port)
  const ends: Array<() => Promise<void> | void> = []
  const counted = countWrites({ after: (end) => ends.push(end) }, port)

  for (const end of ends) await end()
  await client.ping()

  t.equal(counted.writes, 0)
})
