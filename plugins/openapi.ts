import swagger from '@fastify/swagger'
import type { FastifySchema, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'

/**
 * Describes the service as an OpenAPI 3.1 document (`fastify.swagger()`), made from the routes' own schemas.
 *
 * What a route chose of the stack, or inherited, stands in its `description` and, for machines, as `x-prism`.
 */
export default fp(async (fastify) => {
  await fastify.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'fastify-prism atlas', description: 'The cities of GeoNames, with notes.', version: '1' }
    },
    transform: ({ schema, url, route }) => ({ url, schema: described(schema, fastify.journey.resolvedFrom(route.config), route) })
  })
}, { name: 'openapi', fastify: '5.x' })

type Policies = Readonly<Record<string, unknown>>

function described (schema: FastifySchema | undefined, policies: Policies, route: RouteOptions): FastifySchema {
  const isCacheable = [route.method].flat().includes('GET')
  const choices = { ...plain(policies), ...(isCacheable ? {} : { cache: false }) }
  const extension = { 'x-prism': choices, description: sentences(choices).join(' ') }
  return { ...schema, ...extension, response: { ...responsesOf(schema), default: problem } }
}

// What JSON can say of the policies: of a tag that a function makes for each request it can say nothing.
function plain (policies: Policies): Policies {
  return JSON.parse(JSON.stringify(policies, (_key, value) => Array.isArray(value) ? value.filter((each) => typeof each !== 'function') : value))
}

function sentences ({ cache, rateLimit, session }: Policies): string[] {
  const ttlMs = numberIn(cache, 'ttlMs')
  const quota = numberIn(rateLimit, 'quota')
  const windowMs = numberIn(rateLimit, 'windowMs')
  return [
    ttlMs === undefined ? 'Not cached.' : `Cached for ${spoken(ttlMs)}.`,
    quota === undefined || windowMs === undefined ? 'Not limited.' : `At most ${quota} requests in ${spoken(windowMs)}.`,
    JSON.stringify(session)?.includes('"required"') ? 'Only for who is signed in.' : 'Open to everybody.'
  ]
}

function numberIn (policy: unknown, field: string): number | undefined {
  if (typeof policy !== 'object' || policy === null) return undefined
  const value: unknown = Reflect.get(policy, field)
  return typeof value === 'number' ? value : undefined
}

function spoken (ms: number): string {
  const [count, unit] = ms % 60_000 === 0 ? [ms / 60_000, 'minute'] : [ms / 1000, 'second']
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

function responsesOf (schema: FastifySchema | undefined): object {
  const responses = schema?.response
  return typeof responses === 'object' && responses !== null ? responses : {}
}

const problem = {
  description: 'What went wrong (RFC 9457)',
  content: {
    'application/problem+json': {
      schema: {
        type: 'object',
        required: ['type', 'title', 'status', 'detail', 'code', 'instance'],
        properties: {
          type: { type: 'string' },
          title: { type: 'string' },
          status: { type: 'integer' },
          detail: { type: 'string' },
          code: { type: 'string', description: 'Stable: branch on it' },
          instance: { type: 'string', description: 'The id of the request' }
        }
      }
    }
  }
}
