import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { UnreachableReason } from '../../plugins/redis.ts'

const word = { type: 'string' } as const
const liveSchema = { summary: 'Liveness: the process responds', tags: ['service'], response: { 200: { type: 'object', properties: { status: word } } } } as const
const reasonSchema = { type: 'object', properties: { code: word, sentence: word, remedy: word, holds: word } } as const
const readyResponse = { type: 'object', properties: { status: { ...word, enum: ['ready', 'degraded', 'starting', 'draining'] }, redis: { ...word, enum: ['ready', 'degraded'] }, reason: reasonSchema } } as const
const readySchema = { summary: 'Readiness: the process accepts requests', tags: ['service'], response: { 200: readyResponse, 503: readyResponse } } as const
const unshared = { config: { rateLimit: false, cache: false } } as const

/** Conditions of readiness. */
interface HealthOptions {
  /** whether readiness responds 503 while Redis is unusable, so that a misconfigured deployment fails; default false */
  requiresRedis?: boolean
}

/**
 * `GET /healthz/live`: liveness. `GET /healthz/ready`: 200 with `ready`, or with `degraded` and the reason while Redis is unusable; 503 while starting or draining.
 *
 * A degraded instance stays ready because a Redis outage affects all instances, and removing all of them would stop the service. `requiresRedis` overrides this.
 */
export default fp<HealthOptions>(async (fastify, { requiresRedis = false }) => {
  let isReady = false

  fastify.addHook('onReady', async () => { isReady = true })

  fastify.get('/healthz/live', { ...unshared, schema: liveSchema }, async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    return { status: 'live' }
  })

  fastify.get('/healthz/ready', { ...unshared, schema: readySchema }, async (_request, reply) => {
    const reason = unusable(fastify.redisPool)
    const redis = reason === undefined ? 'ready' : 'degraded'
    const phase = fastify.isDraining ? 'draining' : isReady ? 'running' : 'starting'
    const isServed = phase === 'running' && (redis === 'ready' || !requiresRedis)
    reply.code(isServed ? 200 : 503).header('cache-control', 'no-store')
    return { status: phase === 'running' ? redis : phase, redis, reason }
  })
}, { name: 'fastify-prism/health', fastify: '5.x', dependencies: ['fastify-prism/redis', 'fastify-prism/drain'] })

/** @returns why Redis, or a dedicated Redis such as the sessions', is unusable. The text contains no address because the endpoint is public. */
function unusable ({ reason, namedPools }: FastifyInstance['redisPool']): UnreachableReason & { holds?: string } | undefined {
  if (reason !== undefined) return reason
  for (const [holds, { reason }] of namedPools) if (reason !== undefined) return { ...reason, holds }
  return undefined
}
