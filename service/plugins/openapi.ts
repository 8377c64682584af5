import swagger from '@fastify/swagger'
import type { FastifySchema, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { RoutePolicies } from '../../plugins/index.ts'

/**
 * Generates an OpenAPI 3.1 document (`fastify.swagger()`) from the route schemas.
 *
 * The resolved policies of a route are included in its `description` and, machine-readable, as `x-prism`.
 */
export default fp(async (fastify) => {
  await fastify.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'fastify-prism atlas', description: 'The cities of GeoNames, with notes.', version: '1' }
    },
    transform: ({ schema, url, route }) => ({ url, schema: described(schema, fastify.requestLifecycle.describe(route.config), route) })
  })
}, { name: 'fastify-prism/openapi', fastify: '5.x' })

/** Policies of a route as documented. */
interface Choices {
  readonly rateLimit: readonly { name: string, quota: number, unit: string, windowMs: number | null, failure: string }[]
  readonly cache: { ttlMs: number | null, tags: readonly string[], partition: string | null } | false
  readonly session: unknown
}

function described (schema: FastifySchema | undefined, { rateLimit = [], cache = false, session }: RoutePolicies, route: RouteOptions): FastifySchema {
  const isRead = [route.method].flat().includes('GET')
  const choices = { rateLimit: rateLimit.map(({ failureMode: failure, ...limit }) => ({ ...limit, failure })), cache: isRead && cacheOf(cache), session: session?.use }
  const extension = { 'x-prism': choices, description: sentences(choices).join(' ') }
  return { ...schema, ...extension, response: { ...responsesOf(schema), default: problem } }
}

function cacheOf (cache: NonNullable<RoutePolicies['cache']>): Choices['cache'] {
  if (cache === false) return false
  return { ...cache, partition: cache.partition === 'function' ? 'by request' : cache.partition }
}

function sentences ({ rateLimit, cache, session }: Choices): string[] {
  return [
    ...rateLimit.map(({ quota, unit, windowMs, name }) => `At most ${quota} ${unit === 'content-bytes' ? 'bytes' : 'requests'} ${windowMs === null ? 'at once' : `in ${spoken(windowMs)}`} (${name}).`),
    cache === false ? 'Not cached.' : `Cached ${cache.ttlMs === null ? 'as the response specifies' : `for ${spoken(cache.ttlMs)}`}${cache.partition === null ? '' : `, each ${cache.partition} alone`}.`,
    ...session === 'required' ? ['Requires a signed-in user.'] : []
  ]
}

function spoken (ms: number): string {
  const [count, unit] = ms % 60_000 === 0 ? [ms / 60_000, 'minute'] : [ms / 1000, 'second']
  return count === 1 ? `a ${unit}` : `${count} ${unit}s`
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
          instance: { type: 'string', description: 'Request ID' }
        }
      }
    }
  }
}
