import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Says that this process goes: readiness answers 503 from now on, and replies close their connections. */
    drain (): void
  }
}

type Phase = 'starting' | 'running' | 'draining'

const word = { type: 'string' } as const
const liveSchema = { summary: 'Whether the process answers', response: { 200: { type: 'object', properties: { status: word } } } } as const
const readyAnswer = { type: 'object', properties: { status: { ...word, enum: ['ready', 'degraded', 'starting', 'draining'] }, redis: { ...word, enum: ['ready', 'degraded'] } } } as const
const readySchema = { summary: 'Whether to send requests here', response: { 200: readyAnswer, 503: readyAnswer } } as const
const unshared = { config: { rateLimit: false, cache: false } } as const

/**
 * `GET /healthz/live`: the process answers. `GET /healthz/ready`: `ready`, or `degraded` while Redis does not answer, which is still served;
 * 503 only while starting or draining, because taking an instance out for its Redis would take out all of them.
 */
export default fp(async (fastify) => {
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
    const { status, code } = readiness(fastify, phase)
    reply.code(code).header('cache-control', 'no-store')
    return { status, redis: fastify.redisPool.state }
  })
}, { name: 'fastify-prism/health', fastify: '5.x', dependencies: ['fastify-prism/redis'] })

function readiness (fastify: FastifyInstance, phase: Phase): { status: string, code: 200 | 503 } {
  return phase === 'running' ? { status: fastify.redisPool.state, code: 200 } : { status: phase, code: 503 }
}
