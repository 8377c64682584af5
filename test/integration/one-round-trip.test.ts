import t from 'tap'
import type { Test } from 'tap'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'
import type { Stack } from '../support/stack.ts'
import { until } from '../support/until.ts'
import { atRest, countWrites } from '../support/writes.ts'
import type { Writes } from '../support/writes.ts'

async function start (t: Test): Promise<{ stack: Stack, written: Writes, url: string }> {
  const { url, port } = await startRedis(t)
  const stack = await startStack(t, { url }, { events: false })
  await stack.page()
  await until(async () => /hit/.test((await stack.page()).cache), { what: 'a stored page' })
  const written = countWrites(t, port)
  await atRest(written, stack.app.redisPool.batch)
  return { stack, written, url }
}

t.test('a hit with session and limit sends Redis one write', async (t) => {
  const { stack, written } = await start(t)

  const { status, cache } = await stack.page()

  t.equal(status, 200)
  t.match(cache, /^prism; hit/)
  t.equal(written.writes, 1)
})

t.test('a miss with session and limit sends Redis one write before the handler, and stores after the response', async (t) => {
  const { stack, written } = await start(t)
  const writesBefore: number[] = []
  stack.onRun = () => writesBefore.push(written.writes)

  const { cache } = await stack.page('another')
  await until(async () => /hit/.test((await stack.page('another')).cache), { what: 'a stored page' })

  t.match(cache, /fwd=miss; stored/)
  t.equal(writesBefore[0], 1)
})

t.test('a hit of a page that is new to the process sends Redis one write', async (t) => {
  const { stack, written, url } = await start(t)
  const other = await startStack(t, { url }, { events: false })
  await until(async () => /hit/.test((await other.page('seen elsewhere')).cache), { what: 'a stored page' })
  await atRest(written, other.app.redisPool.batch)

  const { cache } = await stack.page('seen elsewhere')

  t.match(cache, /^prism; hit/)
  t.equal(written.writes, 1)
})

t.test('an expected page that is missing is looked up a second time before its handler', async (t) => {
  const { stack, written } = await start(t)
  let writesBefore = 0
  stack.onRun = () => { writesBefore = written.writes }
  await stack.purge()
  await atRest(written, stack.app.redisPool.batch)

  t.match((await stack.page()).cache, /fwd=miss/)

  t.equal(writesBefore, 2)
})

t.test('a request that only reads its session sends Redis one write without a writing command', async (t) => {
  const { stack, written } = await start(t)

  t.equal(await stack.read(), 'begun')

  t.equal(written.writes, 1)
  t.equal(written.commandCount, written.commands.get('EVALSHA') ?? 0)
})

t.test('a rejected request sends Redis one write, and none once the rejection is known', async (t) => {
  const { stack, written } = await start(t)
  t.same([await stack.few(), await stack.few()], [200, 200])
  await atRest(written, stack.app.redisPool.batch)

  t.equal(await stack.few(), 429)
  t.equal(written.writes, 1)
  t.equal(await stack.few(), 429)
  // Commands of the rejected request would be before this one.
  await stack.app.redisPool.batch.command('PING', [], 'background')

  t.equal(written.writes, 2)
  t.equal(written.commandCount, (written.commands.get('EVALSHA') ?? 0) + (written.commands.get('MGET') ?? 0) + 1)
})

t.test('a rejected request for an unknown page receives a response after one write to Redis', async (t) => {
  const { stack, written } = await start(t)
  const remoteAddress = '203.0.113.9'
  const few = (n: number) => stack.app.inject({ url: `/few?n=${n}`, remoteAddress, headers: { cookie: stack.cookie } })
  t.same([(await few(1)).statusCode, (await few(2)).statusCode], [200, 200])
  await atRest(written, stack.app.redisPool.batch)
  const writesBefore: number[] = []
  stack.onReply = () => writesBefore.push(written.writes)

  const { statusCode } = await few(3)

  t.equal(statusCode, 429)
  t.same(writesBefore, [1], 'its prefetched lock is released after the response')
})

t.test('fifty concurrent requests share commands: at most a fifth of a Redis command each', async (t) => {
  const { stack, written } = await start(t)
  const clients = 50
  const rounds = 20

  await Promise.all(Array.from({ length: clients }, async () => {
    for (let round = 0; round < rounds; round++) await stack.page()
  }))

  const commands = written.commandCount / (clients * rounds)
  t.ok(commands <= 0.2, `${commands} commands a request: ${JSON.stringify([...written.commands])}`)
})

t.test('fifty concurrent clients with different pages share commands: at most a fifth of a Redis command each', async (t) => {
  const { stack, written } = await start(t)
  const clients = await Promise.all(Array.from({ length: 50 }, async (_, index) => {
    const { cookies: [cookie] } = await stack.app.inject({ method: 'PUT', url: '/note', payload: { note: `${index}` }, remoteAddress: `10.0.0.${index}` })
    await until(async () => /hit/.test((await stack.page(index)).cache), { what: 'a stored page' })
    return { url: `/page?n=${index}`, headers: { cookie: `${cookie?.name}=${cookie?.value}` }, remoteAddress: `10.0.0.${index}` }
  }))
  const rounds = 20
  await atRest(written, stack.app.redisPool.batch)

  await Promise.all(clients.map(async (request) => {
    for (let round = 0; round < rounds; round++) t.match((await stack.app.inject(request)).headers['cache-status'], /hit/)
  }))

  const commands = written.commandCount / (clients.length * rounds)
  t.ok(commands <= 0.2, `${commands} commands a request: ${JSON.stringify([...written.commands])}`)
})
