import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import createError from '@fastify/error'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { defaultDeadlineMs } from '../../src/redis/health/deadline.ts'
import { cachingApp, stored } from '../support/caching.ts'
import type { CachingOptions } from '../support/caching.ts'
import { faults, startRig } from '../support/faults.ts'
import { until } from '../support/until.ts'

type Work = (run: number, request: FastifyRequest, reply: FastifyReply) => unknown
interface World { app: FastifyInstance, runs: number, running: number, most: number, open: () => void, work: Work }

/** An app whose cached handler waits at a gate, counts its runs, and then does the `work`. */
async function startWorld (t: Test, cache: object | true, options: CachingOptions = {}): Promise<World> {
  const app = await cachingApp(t, options)
  const gate = Promise.withResolvers<void>()
  const world: World = { app, runs: 0, running: 0, most: 0, open: gate.resolve, work: () => 'made' }
  app.get('/', { config: { cache } }, async (request, reply) => {
    const run = ++world.runs
    world.most = Math.max(world.most, ++world.running)
    await gate.promise
    await new Promise((resolve) => { setTimeout(resolve, 20) })
    world.running -= 1
    return await world.work(run, request, reply)
  })
  return world
}

/** So many requests that wait for one run; it goes on once they do. */
async function crowd (world: World, count: number, headers: (index: number) => Record<string, string> = () => ({})) {
  const { app } = world
  const waits = app.cache.counts.wait + count - 1
  const replies = Array.from({ length: count }, (_, index) => app.inject({ url: '/', headers: headers(index) }))
  await until(() => app.cache.counts.wait === waits, { what: 'all but one wait' })
  world.open()
  return await Promise.all(replies)
}

class Teapot extends Error {
  readonly code = 'TEAPOT'
  readonly statusCode = 418
  readonly details = { list: ['short', 'stout'] }
  override readonly name = 'Teapot'
}

class Sealed extends Error {
  readonly #status = 418
  get statusCode () { return this.#status }
}

const PackageError = createError<[string]>('E_PACKAGE', 'package %s', 418)

t.test('requests that waited for a failed handler fail with a copy of its error, each in its own lifecycle', async (t) => {
  const world = await startWorld(t, true)
  const { app } = world
  const seen: { error: Teapot & { headers?: object }, id: string }[] = []
  app.setErrorHandler<Teapot & { headers?: object, count?: number }>((error, request, reply) => {
    seen.push({ error, id: request.id })
    error.count = (error.count ?? 0) + 1
    error.details.list.push(request.id)
    error.headers = { 'x-of': request.id }
    return reply.code(error.statusCode).send({ id: request.id, count: error.count, list: error.details.list, ...(error.cause as object) })
  })
  world.work = () => { throw new Teapot('short and stout', { cause: { reason: 'tea' } }) }
  const replies = await crowd(world, 20)

  t.equal(world.runs, 1)
  t.equal(new Set(seen.map(({ error }) => error)).size, 20)
  t.equal(new Set(seen.map(({ id }) => id)).size, 20)
  t.ok(seen.every(({ error }) => error instanceof Teapot && error.code === 'TEAPOT' && error.message === 'short and stout' && error.stack === seen[0]?.error.stack))
  for (const { statusCode, body } of replies) {
    const { id, count, list, reason } = JSON.parse(body) as { id: string, count: number, list: string[], reason: string }
    t.same([statusCode, count, list, reason], [418, 1, ['short', 'stout', id], 'tea'])
  }
  t.equal(replies.filter(({ headers }) => /fwd=miss; collapsed; detail=error/.test(String(headers['cache-status']))).length, 19)
})

for (const [name, thrown, isShared] of [
  ['an error of @fastify/error', () => new PackageError('of tea'), true],
  ['an object', () => ({ statusCode: 418, message: 'an object' }), true],
  ['a text', () => 'a text', true],
  ['an error that refers to itself', () => { const error: Error & { self?: Error } = new Error('itself'); error.self = error; return error }, true],
  ['an error with private fields', () => new Sealed('sealed'), false],
  ['an error with a getter of its own', () => Object.defineProperty(new Error('computed'), 'user', { enumerable: true, get: () => 'of the first' }), false],
  ['an error that computes its JSON', () => Object.assign(new Error('computed'), { details: { toJSON: () => 'of the first' } }), false],
  ['an AbortError', () => new DOMException('aborted', 'AbortError'), false],
  ['a TimeoutError', () => AbortSignal.timeout(0) && new DOMException('late', 'TimeoutError'), false],
  ['an error that an abort has caused', () => new Error('fetch failed', { cause: new DOMException('aborted', 'AbortError') }), false]
] as const) {
  t.test(`requests that waited for a handler that throws ${name} ${isShared ? 'fail with it' : 'run it side by side'}`, async (t) => {
    const world = await startWorld(t, true)
    world.work = () => { throw thrown() }
    const replies = await crowd(world, 10)

    t.equal(world.runs, isShared ? 1 : 10)
    t.equal(world.most, isShared ? 1 : 9)
    t.equal(new Set(replies.map(({ statusCode, body }) => `${statusCode} ${body}`)).size, 1)
    t.equal((await world.app.inject('/')).statusCode, replies[0]?.statusCode, 'nothing was stored')
    t.equal(world.runs, isShared ? 2 : 11)
  })
}

for (const [name, cache, work] of [
  ['reads a header and throws', true, (_run: number, request: FastifyRequest) => { if (request.headers['x-user'] === '0') throw Object.assign(new Error('forbidden'), { statusCode: 403 }); return 'made' }],
  ['is not tracked and throws', { ttl: 'response' }, (_run: number, request: FastifyRequest) => { if (request.headers['x-user'] === '0') throw Object.assign(new Error('forbidden'), { statusCode: 403 }); return 'made' }],
  ['responds with 503', true, (run: number, _request: FastifyRequest, reply: FastifyReply) => run === 1 ? reply.code(503).send('down') : 'made'],
  ['sends a stream that fails', true, (run: number, _request: FastifyRequest, reply: FastifyReply) => run > 1 ? 'made' : reply.type('text/plain').send(new Readable({ read () { this.destroy(new Error('cut')) } }))],
  ['returns what cannot be serialized', true, (run: number) => run === 1 ? { toJSON () { throw new Error('not serializable') } } : 'made']
] as [string, object | true, Work][]) {
  t.test(`requests that waited for a handler that ${name} run it side by side`, async (t) => {
    const world = await startWorld(t, cache)
    world.work = work
    const [first, ...others] = await crowd(world, 10, (index) => ({ 'x-user': String(index) }))

    t.not(first?.statusCode === 200 && first.body === 'made', true)
    t.ok(others.every(({ statusCode, body }) => statusCode === 200 && body === 'made'))
    t.equal(world.runs, 10)
    t.equal(world.most, 9)
  })
}

t.test('requests that waited for a failed handler run it up to maxConcurrency', async (t) => {
  const world = await startWorld(t, { maxConcurrency: 3 })
  world.work = (_run, _request, reply) => reply.code(503).send('down')
  const replies = await crowd(world, 10)

  t.equal(world.runs, 4)
  t.equal(world.most, 3)
  t.equal(replies.filter(({ body }) => /PRISM_ERR_CACHE_CONCURRENCY/.test(body)).length, 6)
})

t.test('a stale response is served to each request that waited for a failed handler, within staleIfError', async (t) => {
  const world = await startWorld(t, { ttl: '30s', staleIfError: '1h' })
  world.work = (run, _request, reply) => { if (run > 1) throw new Error('down'); return reply.header('age', '60').send('made') }
  world.open()
  await world.app.inject('/')
  await stored(world.app)
  const replies = await Promise.all(Array.from({ length: 10 }, () => world.app.inject('/')))

  t.same(new Set(replies.map(({ statusCode, body }) => `${statusCode} ${body}`)), new Set(['200 made']))
  t.equal(world.runs, 2)
})

t.test('requests that waited for a failed handler fail with its error while Redis is unavailable', async (t) => {
  const rig = await startRig(t)
  const world = await startWorld(t, true, { url: rig.url })
  world.work = () => { throw new Error('down') }
  await faults.down.inject(rig)
  await until(() => world.app.redisPool.state === 'degraded', { what: 'Redis is away' })

  t.same(new Set((await crowd(world, 10)).map(({ statusCode }) => statusCode)), new Set([500]))
  t.equal(world.runs, 1)
})

for (const how of ['disconnects', 'is late'] as const) {
  t.test(`requests that waited run the handler side by side when the client of its run ${how}`, async (t) => {
    const app = await cachingApp(t)
    let [runs, running, most] = [0, 0, 0]
    app.get('/', { config: { cache: true }, ...(how === 'is late' ? { handlerTimeout: 1500 } : {}) }, async (request) => {
      const run = ++runs
      most = Math.max(most, ++running)
      if (run === 1) await new Promise((_resolve, reject) => { request.signal.addEventListener('abort', () => reject(new Error('the run ends'))) }).finally(() => { running -= 1 })
      await new Promise((resolve) => { setTimeout(resolve, 20) })
      running -= 1
      return 'made'
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const client = connect((app.server.address() as AddressInfo).port, '127.0.0.1', () => client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))
    client.on('error', () => {}).resume()
    t.after(() => client.destroy())
    await until(() => runs === 1, { what: 'the handler runs' })
    const begunAt = performance.now()
    // The time of the others must end later than that of the first.
    if (how === 'is late') await until(() => performance.now() - begunAt > 700, { what: 'half of its time is over' })
    const replies = Array.from({ length: 9 }, () => app.inject('/'))
    await until(() => app.cache.counts.wait === 9, { what: 'the others wait' })
    if (how === 'disconnects') client.destroy()

    t.same(new Set((await Promise.all(replies)).map(({ body }) => body)), new Set(['made']))
    t.equal(most, 9)
  })
}

t.test('a request waits for another process\'s run no longer than lockTimeout', async (t) => {
  const rig = await startRig(t)
  const apps = [await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs }), await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, lockTimeout: '30s' })] as const
  let runs = 0
  for (const app of apps) app.get('/', { config: { cache: { lockTimeout: '300ms' } } }, async () => ++runs === 1 ? await new Promise(() => {}) : `run ${runs}`)
  apps[0].inject('/').catch(() => {}) // never settles
  await until(() => runs === 1, { what: 'the handler hangs' })
  const begunAt = performance.now()
  const bodies = await Promise.all(Array.from({ length: 10 }, (_, index) => apps[index % 2 === 0 ? 0 : 1].inject('/').then(({ body }) => body)))

  t.ok(performance.now() - begunAt < 4000, 'not the default of 5 s')
  t.ok(runs <= 3, `${runs} runs: at most one in each process besides`)
  t.ok(bodies.every((body) => /^run [23]$/.test(body)), bodies.join())
  const fresh = await cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs })
  for (const lockTimeout of ['31s', '0s'] as const) {
    await t.rejects(cachingApp(t, { url: rig.url, commandTimeout: defaultDeadlineMs, lockTimeout }), { code: 'PRISM_ERR_OPTION', message: /cache\.lockTimeout/ })
    t.throws(() => fresh.get('/wrong', { config: { cache: { lockTimeout } } }, () => ''), { code: 'PRISM_ERR_OPTION', message: /cache\.lockTimeout/ })
  }
})

t.end() // every test starts its own app
