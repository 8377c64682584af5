import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import type { RateLimitOptions } from '../../plugins/rate-limit.ts'
import { buildLimitedApp } from '../support/limited-app.ts'
import { until } from '../support/until.ts'

process.on('unhandledRejection', (error) => { throw error })

interface Lines { lines: { msg: string, err?: { code?: string } }[] }

/** Counts by the request field `x-user`; all requests come from one address, unless `x-from` names another. */
async function build (t: Test, limit: RateLimitOptions, routes?: (app: FastifyInstance) => void): Promise<FastifyInstance & Lines> {
  const lines: Lines['lines'] = []
  const logger = { level: 'error', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const app = await buildLimitedApp(t, { server: { logger }, limit, ...(routes === undefined ? {} : { routes }) })
  return Object.assign(app, { lines })
}

const send = (app: FastifyInstance, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> => app.inject({ url: '/', headers, remoteAddress: headers['x-from'] ?? '192.0.2.1' })

async function statuses (app: FastifyInstance, all: Record<string, string>[]): Promise<number[]> {
  const seen: number[] = []
  for (const headers of all) seen.push((await send(app, headers)).statusCode)
  return seen
}

const users = ['alice', 'alice', 'bob', 'alice', 'bob', 'bob'].map((user) => ({ 'x-user': user }))

test('rate-limit awaits by, verify and quota if they return promises or thenables', async (t) => {
  const thenable = <Value>(value: Value) => ({ then: (resolve: (value: Value) => unknown) => { setImmediate(() => resolve(value)) } }) as PromiseLike<Value>
  const ways = { async: async <Value>(value: Value) => value, later: async <Value>(value: Value) => { await new Promise(setImmediate); return value }, thenable }

  for (const [name, way] of Object.entries(ways)) {
    const byUser = await build(t, { quota: 2, by: (request) => way(request.headers['x-user'] as string | undefined) })
    t.same(await statuses(byUser, users), [200, 200, 200, 429, 200, 429], `by: ${name}`)

    const byKey = await build(t, { quota: 2, by: { apiKey: 'x-user', verify: (key) => way(key !== 'invented') } })
    t.same(await statuses(byKey, [...users, ...Array.from({ length: 3 }, () => ({ 'x-user': 'invented' }))]), [200, 200, 200, 429, 200, 429, 200, 200, 429], `verify: ${name}`)
    t.same(await statuses(byKey, [{ 'x-user': 'invented', 'x-from': '192.0.2.7' }]), [200], 'an unknown key is counted by address')

    const quota = await build(t, { quota: (request) => way(Number(request.headers['x-quota'])) })
    t.same(await statuses(quota, [{ 'x-quota': '2' }, { 'x-quota': '2' }, { 'x-quota': '2' }]), [200, 200, 429], `quota: ${name}`)
  }
})

test('rate-limit counts by address if by returns no name, at once or later', async (t) => {
  for (const nothing of [null, undefined, '', Promise.resolve(null), Promise.resolve(undefined), Promise.resolve('')]) {
    const app = await build(t, { quota: 2, by: () => nothing })
    t.same(await statuses(app, [{}, {}, { 'x-from': '192.0.2.2' }, {}]), [200, 200, 200, 429])
  }
})

test('rate-limit rejects an invalid name, cost or quota with an error that names the function, logged once', async (t) => {
  const wrong: Record<string, unknown> = { NaN, Infinity, '-Infinity': -Infinity, object: { id: 1 }, list: ['a'], boolean: true, function: () => 'a', symbol: Symbol('a') }
  const functions: Record<string, (value: unknown) => RateLimitOptions> = {
    by: (value) => ({ quota: 9, by: () => value as string }),
    'by, later': (value) => ({ quota: 9, by: async () => value as string }),
    cost: (value) => ({ quota: 9, cost: () => value as number }),
    quota: (value) => ({ quota: () => value as number }),
    'quota, later': (value) => ({ quota: async () => value as number })
  }
  for (const [name, options] of Object.entries(functions)) {
    for (const [kind, value] of Object.entries(name === 'cost' ? { ...wrong, null: null, promise: Promise.resolve(1) } : wrong)) {
      const app = await build(t, options(value))
      const response = await send(app)
      t.match(response.json(), { statusCode: 500, code: 'PRISM_ERR_OPTION', message: new RegExp(`rateLimit\\.${name.split(',')[0]}\\(\\)`) }, `${name}: ${kind}`)
      t.same(app.lines.map(({ err }) => err?.code), ['PRISM_ERR_OPTION'], 'logged once')
    }
  }
})

test('a request ends with the error that a rate-limit function throws or rejects with, and the process stays up', async (t) => {
  const failure = Object.assign(new Error('expected failure'), { statusCode: 418 })
  const throwing = () => { throw failure }
  const rejecting = () => Promise.reject(failure)
  const limits: RateLimitOptions[] = [
    { quota: 9, by: throwing }, { quota: 9, by: rejecting },
    { quota: 9, by: { apiKey: 'x-user', verify: throwing } }, { quota: 9, by: { apiKey: 'x-user', verify: rejecting } },
    { quota: throwing }, { quota: rejecting }, { quota: 9, cost: throwing }, { quota: throwing, by: rejecting }
  ]
  for (const limit of limits) {
    const app = await build(t, limit)
    t.equal((await send(app, { 'x-user': 'a' })).statusCode, 418)
  }
  const promised = await build(t, { quota: 9, cost: rejecting as never })
  t.match((await send(promised)).json(), { code: 'PRISM_ERR_OPTION', message: /rateLimit\.cost\(\).*a promise/ })
  const several = await build(t, { quota: 9 }, (app) => {
    app.get('/', { config: { rateLimit: [{ name: 'one', quota: 9, by: rejecting }, { name: 'two', quota: 9, by: rejecting }, { name: 'three', quota: 9, cost: throwing }] } }, async () => 'fine')
  })
  t.equal((await send(several)).statusCode, 418)
})

test('rate-limit releases a slot that is granted after its client has disconnected', async (t) => {
  const named = Promise.withResolvers<string>()
  let called = () => {}
  const isCalled = new Promise<void>((resolve) => { called = resolve })
  const app = await build(t, { quota: 100 }, (app) => {
    app.get('/', { config: { rateLimit: { concurrency: 1, by: (request) => { if (request.headers['x-slow'] === undefined) return 'one'; called(); return named.promise } } } }, async () => 'fine')
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  const ending = new AbortController()
  const gone = fetch(`http://127.0.0.1:${port}/`, { headers: { 'x-slow': 'yes' }, signal: ending.signal })
  await isCalled
  ending.abort()
  await t.rejects(gone)
  named.resolve('one')

  t.ok(await until(async () => (await send(app)).statusCode === 200, { what: 'the slot is free' }))
})
