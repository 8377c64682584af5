import t from 'tap'
import { startCachingProcess } from '../support/caching-process.ts'
import type { TestReply, FirstRun } from '../support/caching-process.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

const redis = await startRedis(t)
const processes = await Promise.all([1, 2, 3].map(() => startCachingProcess(t, redis.url)))

async function runs (id: string): Promise<number> {
  return Number(await redis.client.get(`test:runs:${id}`))
}

/** Concurrent requests, spread over the processes; requests to a killed process are omitted. */
async function crowd (count: number, id: string, options: { ms?: number, first?: FirstRun }): Promise<TestReply[]> {
  const requests = Array.from({ length: count }, (_, index) => processes[index % processes.length]?.get(id, options))
  const settled = await Promise.allSettled(requests)
  return settled.flatMap((each) => each.status === 'fulfilled' && each.value !== undefined ? [each.value] : [])
}

t.test('cache runs a handler once for a thousand concurrent requests in three processes', async (t) => {
  // A process that pauses for longer than its Redis timeout or its lock's lifetime counts as dead, and commands of its handler fail: such a round is repeated.
  for (let round = 1, isConclusive = false; !isConclusive && round <= 10; round++) {
    const id = `cold-${round}`
    await Promise.all(processes.map((each) => each.stall()))
    const replies = await crowd(1000, id, { ms: 300 })
    const stalls = await Promise.all(processes.map((each) => each.stall()))

    t.equal(replies.length, 1000)
    isConclusive = Math.max(...stalls) < 150 && !replies.some(({ cache }) => /bypass/.test(cache))
    if (!isConclusive) continue
    t.ok(replies.every(({ status }) => status === 200))
    t.equal(await runs(id), 1)
    t.same(new Set(replies.map(({ run }) => run)), new Set([1]))
    t.equal(replies.filter(({ cache }) => !/collapsed|hit/.test(cache)).length, 1)
  }
})

t.test('a handler that throws fails the requests that waited for it in its process, and each other process runs it once, at once', async (t) => {
  // On a busy machine some requests arrive after the run has failed: such a round is repeated.
  for (let round = 1, failed = 0; failed < 20 && round <= 10; round++) {
    const id = `thrown-${round}`
    const replies = await crowd(60, id, { ms: 300, first: 'throw' })
    failed = replies.filter(({ status }) => status === 500).length

    t.ok(failed >= 1 && failed <= 20, `${failed} failed`)
    t.equal(replies.filter(({ status }) => status === 200).length, 60 - failed)
    if (failed < 20 && round < 10) continue
    t.equal(failed, 20)
    t.equal(await runs(id), 3)
    const begun = (await redis.client.lrange(`test:begun:${id}`, 1, 2)).map(Number)
    t.ok(Math.abs((begun[0] ?? 0) - (begun[1] ?? Infinity)) < 300, `the other two began at ${begun.join(' and ')} ms`)
  }
})

t.test('cache runs handlers side by side for a response that is not shared', async (t) => {
  const replies = await crowd(60, 'unshared', { ms: 100, first: 'private' })

  t.equal(replies.length, 60)
  t.equal(replies.filter(({ run }) => run === 1).length, 1)
  t.ok(await runs('unshared') > 30, 'waiting requests ran side by side')
  await until(async () => (await redis.client.keys('api:cache:lock:*')).length === 0, { what: 'the first storable response ends that' })
})

t.test('cache does not wait for a run in another process that started before a purge', async (t) => {
  const [one, other, third] = processes
  await other?.get('warm')
  await until(async () => /hit/.test((await other?.get('warm'))?.cache ?? ''), { what: 'tag versions and sequence exist' })

  const old = one?.get('raced', { first: 'held' })
  await until(() => redis.client.get('test:runs:raced'), { what: 'the handler runs' })
  await purge()
  const replies = await Promise.all([other?.get('raced', { first: 'held' }), third?.get('raced', { first: 'held' })])
  await redis.client.set('test:go:raced', 1)

  t.same(replies.map((reply) => reply?.run), [2, 2])
  t.equal((await old)?.run, 1)
  t.equal((await one?.get('raced', { first: 'held' }))?.run, 2)
  t.equal(await runs('raced'), 2)
})

// The last test with three processes: it leaves two.
t.test('cache runs the handler in exactly one other process when the filling process is killed', async (t) => {
  const replies = crowd(300, 'killed', { ms: 50, first: 'hang' })
  const pid = await until(() => redis.client.lindex('test:pids:killed', 0), { what: 'one process fills' })
  processes.find((each) => String(each.pid) === pid)?.kill()
  const killedAt = performance.now()
  const responses = await replies

  t.comment(`the other requests had a response ${Math.round(performance.now() - killedAt)} ms after the kill`)
  t.equal(responses.length, 200)
  t.same(new Set(responses.map(({ status, run }) => `${status} ${run}`)), new Set(['200 2']))
  t.equal(await runs('killed'), 2)
})

/** Runs `fastify.cache.purge('all')` in another process. */
async function purge (): Promise<void> {
  const { client } = redis
  const next = Number(await client.get('api:cache:seq')) + 1
  await client.mset('api:cache:seq', next, 'api:cache:tag:all', next)
}

t.end() // this closes what all processes share
