import fp from 'fastify-plugin'
import type { PooledRedis } from '../../src/redis/client.ts'
import type { UnreachableReason } from '../../src/redis/health/unreachable-reason.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Says that this process goes: readiness answers 503 from now on, and replies close their connections. */
    drain (): void
  }
}

type Phase = 'starting' | 'running' | 'draining'

const word = { type: 'string' } as const
const liveSchema = { summary: 'Whether the process answers', response: { 200: { type: 'object', properties: { status: word } } } } as const
const reasonSchema = { type: 'object', properties: { code: word, sentence: word, remedy: word, holds: word } } as const
const readyAnswer = { type: 'object', properties: { status: { ...word, enum: ['ready', 'degraded', 'starting', 'draining'] }, redis: { ...word, enum: ['ready', 'degraded'] }, reason: reasonSchema } } as const
const readySchema = { summary: 'Whether to send requests here', response: { 200: readyAnswer, 503: readyAnswer } } as const
const unshared = { config: { rateLimit: false, cache: false } } as const

/** What readiness asks for. */
export interface HealthOptions {
  /** whether readiness answers 503 while Redis cannot be used, so that a deployment with wrong settings stops; default false */
  requiresRedis?: boolean
}

/**
 * `GET /healthz/live`: the process answers. `GET /healthz/ready`: `ready`, or `degraded` with the reason while Redis cannot be used, which is still served;
 * 503 while starting or draining. Taking an instance out for its Redis would take out all of them: `requiresRedis` does so all the same.
 */
export default fp<HealthOptions>(async (fastify, { requiresRedis = false }) => {
  let phase: Phase = 'starting'

  fastify.decorate('drain', () => { phase = 'draining' })
  fastify.addHook('onReady', async () => { if (phase === 'starting') phase = 'running' })
  fastify.addHook('preClose', async () => { phase = 'draining' })
  fastify.addHook('onSend', function settle (_request, reply, _payload, done) {
    if (phase === 'draining') reply.header('connection', 'close')
    done()
  })

  fastify.get('/healthz/live', { ...unshared, schema: liveSchema }, async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    return { status: 'live' }
  })

  fastify.get('/healthz/ready', { ...unshared, schema: readySchema }, async (_request, reply) => {
    const reason = unusable(fastify.redisPool)
    const redis = reason === undefined ? 'ready' : 'degraded'
    const isServed = phase === 'running' && (redis === 'ready' || !requiresRedis)
    reply.code(isServed ? 200 : 503).header('cache-control', 'no-store')
    return { status: phase === 'running' ? redis : phase, redis, reason }
  })
}, { name: 'fastify-prism/health', fastify: '5.x', dependencies: ['fastify-prism/redis'] })

/** Why Redis cannot be used, or the one that another part of the stack has for itself. The text shows no address: anybody may ask. */
function unusable ({ reason, others }: PooledRedis): UnreachableReason & { holds?: string } | undefined {
  if (reason !== undefined) return reason
  for (const [holds, { reason }] of others) if (reason !== undefined) return { ...reason, holds }
  return undefined
}
