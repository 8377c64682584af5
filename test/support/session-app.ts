import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import redis from '../../plugins/redis.ts'
import session from '../../plugins/session.ts'
import type { SessionOptions, SignInOptions } from '../../plugins/session.ts'
import type { Browser } from './session-browser.ts'
import type { Owner } from './cleanup-scope.ts'
import { commandTimeout as patientTimeout } from './deadline.ts'
import { reached } from './wait-for-redis.ts'
import { until } from './until.ts'

declare module 'fastify' {
  interface SessionData { [key: `test-${string}`]: unknown }
}

type Key = `test-${string}`
interface TestRoute { Params: { key: Key, value: string }, Querystring: { gate?: string, throws?: string } }

/** The secret that session apps share, so that two on one Redis form one service. */
export const sessionSecrets = ['a secret of the tests, 32 or more']

/**
 * An app whose routes call one session method each. `?gate=x` makes a request wait, its session loaded, for `POST /gates/x`.
 *
 * @param url of its Redis
 */
export async function buildSessionApp (owner: Owner, url: string, { commandTimeout = patientTimeout, ...options }: Partial<SessionOptions> & { commandTimeout?: number } = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: process.env.TEST_LOG !== undefined })
  const gates = new Map<string, PromiseWithResolvers<void> & { waiting: number }>()
  const gateOf = (name: string) => {
    const gate = gates.get(name) ?? { ...Promise.withResolvers<void>(), waiting: 0 }
    gates.set(name, gate)
    return gate
  }
  await app.register(redis, { url, commandTimeout })
  await app.register(requestLifecycle)
  await app.register(session, { secrets: sessionSecrets, ...options })
  owner.after(() => app.close())

  app.addHook<TestRoute>('preHandler', async ({ query }) => {
    if (query.gate === undefined) return
    const gate = gateOf(query.gate)
    gate.waiting += 1
    await gate.promise
  })
  app.addHook<TestRoute>('preHandler', async (request) => { if (request.query.throws !== undefined) throw new Error('as told') })
  app.post<{ Params: { name: string } }>('/gates/:name', { config: { session: false } }, async (request) => { gateOf(request.params.name).resolve() })
  app.get<{ Params: { name: string } }>('/gates/:name', { config: { session: false } }, async (request) => gateOf(request.params.name).waiting)

  app.get('/me', async ({ session: { state, userId, id, isNew } }) => ({ state, userId, id, isNew }))
  app.get('/required', { config: { session: 'required' } }, async (request) => request.session.userId)
  app.get('/blind', async () => 'seen nothing')
  app.all('/off', { config: { session: false } }, async (request) => request.session.state)
  app.post('/off/sign-out', { config: { session: false } }, async (request) => await request.session.signOut())

  app.get<TestRoute>('/get/:key', async (request) => ({ value: request.session.get(request.params.key) }))
  app.post<TestRoute>('/set/:key/:value', async (request) => { request.session.set(request.params.key, request.params.value) })
  app.post<TestRoute>('/replace/:key/:value', async (request) => {
    const before = request.session.get(request.params.key)
    if (before !== request.params.value) request.session.set(request.params.key, request.params.value)
  })
  app.post<TestRoute>('/read-and-delete/:key', async (request) => {
    request.session.get(request.params.key)
    request.session.delete(request.params.key)
  })
  app.get('/saves', { config: { session: false } }, async () => app.sessions.counts.save)
  app.post<TestRoute>('/fail/:key/:value', async (request) => {
    request.session.set(request.params.key, request.params.value)
    throw new Error('as told')
  })
  app.post<TestRoute>('/delete/:key', async (request) => { request.session.delete(request.params.key) })
  app.post<TestRoute>('/push/:key/:value', async (request) => {
    const { key, value } = request.params
    return request.session.update(key, (list) => [...Array.isArray(list) ? list : [], value])
  })
  app.post<TestRoute>('/fill/:key/:value', async (request) => { request.session.set(request.params.key, 'x'.repeat(Number(request.params.value))) })

  app.post<TestRoute & { Body: SignInOptions<{ [key: Key]: unknown }> | undefined }>('/sign-in/:value', async (request) => {
    await request.session.signIn(request.params.value, request.body ?? {})
    return request.session.id
  })
  app.post('/sign-out', async (request) => { await request.session.signOut() })
  app.post('/rotate', async (request) => { await request.session.rotate() })
  app.get('/devices', async (request) => await request.session.devices())
  app.delete<TestRoute>('/devices/:value', async (request) => ({ done: await request.session.revoke(request.params.value) }))
  app.delete('/devices', async (request) => ({ count: await request.session.revokeOthers() }))
  app.post<TestRoute>('/revoke-all/:value', { config: { session: false } }, async (request) => ({ count: await app.sessions.revokeAll(request.params.value) }))
  await app.ready()
  await reached(app)
  return app
}

/** Opens a gate once this many requests wait at it in each of these processes. */
export async function openGates (homes: Browser[], name: string, count: number): Promise<void> {
  const waitingAt = async (home: Browser) => (await home.get(`/gates/${name}`)).body
  await until(async () => (await Promise.all(homes.map(waitingAt))).every((waiting) => waiting === count), { what: `${count} wait at ${name}` })
  for (const home of homes) await home.post(`/gates/${name}`)
}
