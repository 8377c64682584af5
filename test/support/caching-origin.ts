import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { Test } from 'tap'
import type { CacheChoice } from '../../plugins/cache.ts'
import { cachingApp, stored } from './caching.ts'

/** Fields of a response. */
export type Fields = Record<string, string | string[]>

/** The response of a route with `ttl: 'response'`, and its received requests. */
export interface Origin {
  app: FastifyInstance
  /** fields and status of the next responses */
  fields: Fields
  status: number
  /** number of handler runs, and the request fields of each */
  runs: number
  requestHeaders: Record<string, unknown>
  /** sends a request, and waits until pending stores are done */
  get: (options?: InjectOptions) => Promise<LightMyRequestResponse>
}

/** A date this many seconds ago. */
export const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toUTCString()

/** An app that is one cached route, for every method and path. */
export async function originOf (t: Test, route: Exclude<CacheChoice, boolean> = {}): Promise<Origin> {
  const app = await cachingApp(t)
  const origin: Origin = {
    app,
    fields: {},
    status: 200,
    runs: 0,
    requestHeaders: {},
    get: async (options = {}) => {
      const reply = await app.inject({ url: '/a', ...options })
      await stored(app)
      return reply
    }
  }
  app.all('/*', { config: { cache: { ...route, ttl: 'response' } } }, async (request, reply) => {
    origin.runs++
    origin.requestHeaders = { ...request.headers }
    for (const [name, value] of Object.entries(origin.fields)) reply.header(name, value)
    return reply.code(origin.status).send(origin.status === 304 ? undefined : `run ${origin.runs}`)
  })
  return origin
}

/** Whether a second request was a hit. */
export async function isStored (origin: Origin, first: InjectOptions = {}, second: InjectOptions = first): Promise<boolean> {
  await origin.get(first)
  const { runs } = origin
  await origin.get(second)
  return origin.runs === runs
}

/** Asserts for each case whether its response is stored. */
export async function expectStored (t: Test, cases: Record<string, [stored: boolean, fields: Fields, status?: number, request?: InjectOptions]>, route?: Exclude<CacheChoice, boolean>): Promise<void> {
  const origin = await originOf(t, route)
  let path = 0
  for (const [name, [stored, fields, status = 200, request = {}]] of Object.entries(cases)) {
    Object.assign(origin, { fields, status })
    t.equal(await isStored(origin, { ...request, url: `/${path++}` }), stored, name)
  }
}
