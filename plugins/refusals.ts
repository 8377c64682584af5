import fp from 'fastify-plugin'
import { refusalOf } from '../src/http/refusal.ts'

/**
 * Turns away, before anybody else sees them, requests that no server should answer: see {@link refusalOf}.
 */
export default fp(async (fastify) => {
  fastify.addHook('onRequest', function ask (request, reply, done) {
    const refusal = refusalOf(request.raw)
    if (refusal !== undefined) reply.header('connection', 'close') // what follows on it cannot be trusted
    done(refusal)
  })
}, { name: 'refusals', fastify: '5.x' })
